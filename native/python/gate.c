/* Gate: holds calls back while a version's state moves.
 *
 * Guarantees, all under the GIL:
 * - From its making until it is opened a gate hides the slots of its tables (table_show), so that calls come here.  A call
 *   that doesn't meet a gate pays nothing for it.
 * - A thread that is inside a table of the gate goes through, or it could never come out.  So does one that is inside a
 *   table of another gate that isn't empty yet: two gates may not wait for each other's callers.
 * - Everybody else waits, without the GIL; a signal handler may end that with an exception.  The thread that moves the
 *   state itself gets an error: it would wait for itself.
 * - Once wait() has returned True nobody but a hook is inside, until the gate is opened: nothing else changes the state.
 * - In a fork's child every gate is open.
 */
#include "core.h"

#include <structmember.h>

#include "../channel.h"
#include "../entry.h"

PyTypeObject *GateType;

enum { UNHEARD_WAIT = 200 * 1000 }; /* nanoseconds until it is looked again */

typedef struct Gate {
    PyObject_HEAD
    PyObject *tables;      /* a tuple, owned; each of them refers back here until the gate opens */
    unsigned long owner;   /* the thread that moves the state */
    Py_ssize_t waiting;    /* threads that it holds back */
    bool empty;            /* nobody was inside, and nobody has come in since */
    _Atomic uint32_t open;
    _Atomic uint32_t left; /* counts up whenever the last call leaves a table */
} Gate;

static Py_ssize_t
table_count(const Gate *self)
{
    return PyTuple_GET_SIZE(self->tables);
}

static Table *
table_at(const Gate *self, Py_ssize_t index)
{
    return (Table *)PyTuple_GET_ITEM(self->tables, index);
}

/* Calls under way. */
static Py_ssize_t
inside(const Gate *self)
{
    Py_ssize_t count = 0;
    for (Py_ssize_t i = 0; i < table_count(self); i++) {
        count += table_at(self, i)->inside + entries_inside(table_at(self, i));
    }
    return count;
}

/* ---- closing and opening ------------------------------------------------------------------------------------------- */

static void
set_gate(Table *table, Gate *gate)
{
    table->gate = gate;
    table_show(table);
    table->watched = gate != NULL || table->on_idle != NULL;
    entries_gate(table);
}

static void
open_gate(Gate *self)
{
    for (Py_ssize_t i = 0; i < table_count(self); i++) {
        if (table_at(self, i)->gate == self) {
            set_gate(table_at(self, i), NULL);
        }
    }
    atomic_store(&self->open, 1);
    mf_wake(&self->open);
}

void
gate_forget(Gate *self)
{
    open_gate(self);
}

static int
check_tables(PyObject *tables)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tables); i++) {
        Table *table = (Table *)PyTuple_GET_ITEM(tables, i);
        if (!Py_IS_TYPE((PyObject *)table, TableType)) {
            PyErr_SetString(PyExc_TypeError, "a gate takes Tables");
            return -1;
        }
        if (table->gate != NULL) {
            PyErr_SetString(PyExc_ValueError, "a table has a closed gate already");
            return -1;
        }
        if (table_entered_here(table)) {
            raise_error(errors.swap_inside, NULL, "its state can't move from inside a call into it");
            return -1;
        }
    }
    return 0;
}

static PyObject *
gate_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"tables", NULL};
    PyObject *given;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O", names, &given)) {
        return NULL;
    }
    PyObject *tables = PySequence_Tuple(given);
    if (tables == NULL || check_tables(tables) != 0) {
        Py_XDECREF(tables);
        return NULL;
    }
    Gate *self = (Gate *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(tables);
        return NULL;
    }
    self->tables = tables;
    self->owner = PyThread_get_thread_ident();
    for (Py_ssize_t i = 0; i < table_count(self); i++) {
        set_gate(table_at(self, i), self);
    }
    return (PyObject *)self;
}

static void
gate_dealloc(PyObject *object)
{
    Gate *self = (Gate *)object;
    PyTypeObject *type = Py_TYPE(object);
    open_gate(self);
    Py_CLEAR(self->tables);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
gate_open(PyObject *object, PyObject *Py_UNUSED(unused))
{
    open_gate((Gate *)object);
    Py_RETURN_NONE;
}

/* ---- callers ------------------------------------------------------------------------------------------------------- */

static bool
lets_through(const Gate *self, const Table *entered)
{
    const Gate *own = entered->gate;
    return own != NULL && (own == self || (!self->empty && !own->empty));
}

static bool
goes_through(const Gate *self)
{
    for (const Frame *frame = innermost; frame != NULL; frame = frame->outer) {
        if (lets_through(self, frame->table)) {
            return true;
        }
    }
    for (const mf_visit *visit = mf_entry_innermost(); visit != NULL; visit = visit->outer) {
        const mf_seat *seat = atomic_load(&visit->seat);
        const Table *entered = seat != NULL ? seat->holder : NULL;
        if (entered != NULL && lets_through(self, entered)) {
            return true;
        }
    }
    return false;
}

int
gate_pass(Table *table)
{
    Gate *self = table->gate;
    if (goes_through(self)) {
        return 1;
    }
    if (self->owner == PyThread_get_thread_ident()) {
        raise_error(errors.swap_inside, table->label, "it was called by what moves its state, which this call would wait for");
        return -1;
    }
    Py_INCREF(self);
    self->waiting++;
    int problem = 0;
    while (problem == 0 && !atomic_load(&self->open)) {
        Py_BEGIN_ALLOW_THREADS
        mf_sleep(&self->open, 0, 0);
        Py_END_ALLOW_THREADS
        problem = PyErr_CheckSignals();
    }
    self->waiting--;
    Py_DECREF(self);
    return problem;
}

GateAnswer
gate_hold(Table *table)
{
    Gate *self = table->gate;
    if (goes_through(self)) {
        return GATE_PASS;
    }
    if (self->owner == PyThread_get_thread_ident()) {
        return GATE_OWN;
    }
    Py_INCREF(self);
    Py_BEGIN_ALLOW_THREADS
    while (!atomic_load(&self->open)) {
        mf_sleep(&self->open, 0, 0);
    }
    Py_END_ALLOW_THREADS
    Py_DECREF(self);
    return GATE_OPENED;
}

/* ---- whoever waits for them ---------------------------------------------------------------------------------------- */

void
gate_left(Gate *self)
{
    atomic_fetch_add(&self->left, 1);
    mf_wake(&self->left);
}

/* Calls through stable pointers leave without telling anybody. */
static bool
hears_all(const Gate *self)
{
    for (Py_ssize_t i = 0; i < table_count(self); i++) {
        if (entries_inside(table_at(self, i)) != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t
soonest(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static PyObject *
gate_wait(PyObject *object, PyObject *timeout)
{
    Gate *self = (Gate *)object;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    uint64_t deadline = mf_now() + (uint64_t)(seconds > 0 ? seconds * 1e9 : 0);
    for (;;) {
        uint32_t seen = atomic_load(&self->left);
        if (inside(self) == 0) {
            self->empty = true;
            Py_RETURN_TRUE;
        }
        if (mf_now() >= deadline) {
            Py_RETURN_FALSE;
        }
        uint64_t until = hears_all(self) ? deadline : soonest(deadline, mf_now() + UNHEARD_WAIT);
        Py_BEGIN_ALLOW_THREADS
        mf_sleep(&self->left, seen, until);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() != 0) {
            return NULL;
        }
    }
}

/* ---- who is inside ------------------------------------------------------------------------------------------------- */

static bool
is_held(const Frame *frame, const void *gate)
{
    return frame->table->gate == gate;
}

static PyObject *
gate_callers(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return callers_of(is_held, object);
}

static PyObject *
gate_inside(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(inside((Gate *)object));
}

/* ---- the object ------------------------------------------------------------------------------------------------------ */

static PyMemberDef members[] = {
    {"waiting", T_PYSSIZET, offsetof(Gate, waiting), READONLY, "Threads that it holds back."},
    {NULL},
};

static PyGetSetDef getters[] = {
    {"inside", gate_inside, NULL, "Calls under way.", NULL},
    {NULL},
};

static PyMethodDef methods[] = {
    {"wait", gate_wait, METH_O, "Wait until nobody is inside; return whether that came in so many seconds."},
    {"open", gate_open, METH_NOARGS, "Let everybody go on."},
    {"callers", gate_callers, METH_NOARGS, "Who is inside: (thread, [functions, innermost first]) for each thread."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Holds calls back while a version's state moves."},
    {Py_tp_new, gate_new},
    {Py_tp_dealloc, gate_dealloc},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Gate",
    .basicsize = sizeof(Gate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
gate_ready(PyObject *module)
{
    GateType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return GateType != NULL ? PyModule_AddType(module, GateType) : -1;
}
