/* Table: all functions of one version, and the count of what holds that version loaded.
 *
 * Guarantees, all under the GIL:
 * - `inside`, `pins` and `pointers` are exact: each is raised before what it counts can reach the version's code, and
 *   lowered after.
 * - Once close() has returned True nothing can enter again: it answers True only for a table that nothing holds, and
 *   the caller has made sure that no cell offers it.
 * - on_idle is called at least once after the last holder has left, if it was set before that.
 * - Calls through stable pointers are counted outside of the GIL, and are the only ones that leave without telling.
 * - While a gate is closed, or somebody observes calls or shares them out, calls see no slot, and so come to what is in
 *   their way; everybody else sees them all.
 */
#include "observer.h"

#include <structmember.h>

PyTypeObject *TableType;

static Table *all_tables; /* linked by previous and next, protected by the GIL */

static void
enlist(Table *self)
{
    self->previous = NULL;
    self->next = all_tables;
    if (all_tables != NULL) {
        all_tables->previous = self;
    }
    all_tables = self;
}

static void
delist(Table *self)
{
    if (self->previous != NULL) {
        self->previous->next = self->next;
    } else if (all_tables == self) {
        all_tables = self->next;
    }
    if (self->next != NULL) {
        self->next->previous = self->previous;
    }
}

void
table_show(Table *self)
{
    self->count = self->gate == NULL && self->observer == NULL && !self->diverted ? self->size : 0;
}

void
table_after_fork(void)
{
    for (Table *table = all_tables; table != NULL; table = table->next) {
        table->inside = 0;
        if (table->gate != NULL) {
            gate_forget(table->gate);
        }
    }
    for (Frame *frame = innermost; frame != NULL; frame = frame->outer) {
        frame->table->inside++;
    }
    observers_after_fork();
}

void
table_left(Table *self)
{
    if (self->gate != NULL && self->inside == 0) {
        gate_left(self->gate);
    }
    if (self->on_idle == NULL || !table_idle(self)) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *callback = Py_NewRef(self->on_idle);
    PyObject *result = PyObject_CallNoArgs(callback);
    if (result == NULL) {
        PyErr_WriteUnraisable(callback);
    }
    Py_XDECREF(result);
    Py_DECREF(callback);
    PyErr_Restore(type, value, traceback);
}

/* Lets the table have at least `count` slots. */
static int
grow(Table *self, Py_ssize_t count)
{
    if (count <= self->size) {
        return 0;
    }
    Binding **bindings = PyMem_Realloc(self->bindings, (size_t)count * sizeof *bindings);
    if (bindings == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(bindings + self->size, 0, (size_t)(count - self->size) * sizeof *bindings);
    self->bindings = bindings;
    self->size = count;
    table_show(self);
    return 0;
}

static int
fill(Table *self, PyObject *items)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    if (grow(self, count) != 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(items, i);
        if (item != Py_None && !Py_IS_TYPE(item, BindingType)) {
            PyErr_SetString(PyExc_TypeError, "bindings holds something that is neither a Binding nor None");
            return -1;
        }
        self->bindings[i] = item != Py_None ? (Binding *)Py_NewRef(item) : NULL;
    }
    return 0;
}

static PyObject *
table_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"label", "bindings", NULL};
    PyObject *label, *bindings;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "UO", names, &label, &bindings)) {
        return NULL;
    }
    PyObject *items = PySequence_Fast(bindings, "bindings is no sequence");
    if (items == NULL) {
        return NULL;
    }
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->label = Py_NewRef(label);
        enlist(self);
        if (fill(self, items) != 0) {
            Py_CLEAR(self);
        }
    }
    Py_DECREF(items);
    return (PyObject *)self;
}

static PyObject *
table_put(PyObject *object, PyObject *arguments)
{
    Table *self = (Table *)object;
    Py_ssize_t slot;
    PyObject *binding;
    if (!PyArg_ParseTuple(arguments, "nO!", &slot, BindingType, &binding)) {
        return NULL;
    }
    /* A binding that is there may be in the middle of a call: it stays for the table's life. */
    if (slot < 0 || (slot < self->size && self->bindings[slot] != NULL)) {
        PyErr_SetString(PyExc_ValueError, "this slot is taken");
        return NULL;
    }
    if (grow(self, slot + 1) != 0) {
        return NULL;
    }
    self->bindings[slot] = (Binding *)Py_NewRef(binding);
    Py_RETURN_NONE;
}

static int
table_traverse(PyObject *object, visitproc visit, void *arg)
{
    Table *self = (Table *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->on_idle);
    Py_VISIT(self->observer);
    Py_VISIT(self->on_crash);
    for (Py_ssize_t i = 0; i < self->size; i++) {
        Py_VISIT(self->bindings[i]);
    }
    return 0;
}

static void
set_observer(Table *self, PyObject *observer)
{
    PyObject *before = (PyObject *)self->observer;
    self->observer = (Observer *)Py_XNewRef(observer);
    table_show(self);
    Py_XDECREF(before);
}

static int
table_clear(PyObject *object)
{
    Table *self = (Table *)object;
    Py_CLEAR(self->on_idle);
    set_observer(self, NULL);
    Py_CLEAR(self->on_crash);
    return 0;
}

static void
table_dealloc(PyObject *object)
{
    Table *self = (Table *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    delist(self);
    entries_free(self);
    table_clear(object);
    Py_CLEAR(self->label);
    for (Py_ssize_t i = 0; i < self->size; i++) {
        Py_CLEAR(self->bindings[i]);
    }
    PyMem_Free(self->bindings);
    type->tp_free(object);
    Py_DECREF(type);
}

static void
set_on_idle(Table *self, PyObject *callback)
{
    Py_XSETREF(self->on_idle, Py_XNewRef(callback));
    self->watched = self->on_idle != NULL || self->gate != NULL;
}

static PyObject *
table_get_on_idle(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *callback = ((Table *)object)->on_idle;
    return Py_NewRef(callback != NULL ? callback : Py_None);
}

static int
table_put_on_idle(PyObject *object, PyObject *callback, void *Py_UNUSED(closure))
{
    set_on_idle((Table *)object, callback != Py_None ? callback : NULL);
    return 0;
}

static PyObject *
table_get_observer(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *observer = (PyObject *)((Table *)object)->observer;
    return Py_NewRef(observer != NULL ? observer : Py_None);
}

static int
table_put_observer(PyObject *object, PyObject *observer, void *Py_UNUSED(closure))
{
    if (observer == NULL || (observer != Py_None && !Py_IS_TYPE(observer, ObserverType))) {
        PyErr_SetString(PyExc_TypeError, "observer must be an Observer or None");
        return -1;
    }
    set_observer((Table *)object, observer != Py_None ? observer : NULL);
    return 0;
}

static PyObject *
table_get_on_crash(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *callback = ((Table *)object)->on_crash;
    return Py_NewRef(callback != NULL ? callback : Py_None);
}

static int
table_put_on_crash(PyObject *object, PyObject *callback, void *Py_UNUSED(closure))
{
    Py_XSETREF(((Table *)object)->on_crash, callback != NULL && callback != Py_None ? Py_NewRef(callback) : NULL);
    return 0;
}

static PyObject *
table_close(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Table *self = (Table *)object;
    if (!self->closed && table_idle(self)) {
        self->closed = true;
        set_on_idle(self, NULL);
        Py_RETURN_TRUE;
    }
    return PyBool_FromLong(self->closed);
}

static PyObject *
table_pin(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Table *self = (Table *)object;
    if (self->closed) {
        raise_error(errors.unloaded, self->label, "this version has been unloaded and can't be pinned");
        return NULL;
    }
    self->pins++;
    Py_RETURN_NONE;
}

static PyObject *
table_unpin(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Table *self = (Table *)object;
    self->pins--;
    table_left(self);
    Py_RETURN_NONE;
}

/* For what uses a version's data without calling it: counted like a call, so that data don't move meanwhile. */
static PyObject *
table_enter(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Table *self = (Table *)object;
    int passed = self->gate != NULL ? gate_pass(self) : 1;
    if (passed == 1) {
        self->inside++;
    }
    return passed >= 0 ? PyBool_FromLong(passed) : NULL;
}

static PyObject *
table_leave(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Table *self = (Table *)object;
    self->inside--;
    if (self->watched) {
        table_left(self);
    }
    Py_RETURN_NONE;
}

bool
table_entered_here(const Table *self)
{
    for (const Frame *frame = innermost; frame != NULL; frame = frame->outer) {
        if (frame->table == self) {
            return true;
        }
    }
    return entries_entered_here(self);
}

static PyObject *
table_is_entered_here(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(table_entered_here((Table *)object));
}

static bool
is_in(const Frame *frame, const void *table)
{
    return frame->table == table;
}

static PyObject *
table_callers(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return callers_of(is_in, object);
}

static PyMemberDef members[] = {
    {"pins", T_PYSSIZET, offsetof(Table, pins), READONLY, "Pins that are held."},
    {"pointers", T_PYSSIZET, offsetof(Table, pointers), READONLY, "Pointer objects that are alive."},
    {"closed", T_BOOL, offsetof(Table, closed), READONLY, "Whether nothing may enter it again."},
    {"label", T_OBJECT, offsetof(Table, label), READONLY, "Its name for people."},
    {NULL},
};

static PyObject *
table_get_inside(PyObject *object, void *Py_UNUSED(closure))
{
    const Table *self = (Table *)object;
    return PyLong_FromSsize_t(self->inside + entries_inside(self));
}

static PyObject *
table_get_unheard(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(entries_inside((Table *)object));
}

static PyGetSetDef getters[] = {
    {"inside", table_get_inside, NULL, "Calls under way.", NULL},
    {"unheard", table_get_unheard, NULL, "Those of them that end without telling anybody: through stable pointers.", NULL},
    {"observer", table_get_observer, table_put_observer, "What notes its calls, or None.", NULL},
    {"on_idle", table_get_on_idle, table_put_on_idle, "Called without arguments when the last holder leaves.", NULL},
    {"on_crash", table_get_on_crash, table_put_on_crash, "Given a function's name and its crash, returns what to raise.",
     NULL},
    {NULL},
};

static PyMethodDef methods[] = {
    {"close", table_close, METH_NOARGS, "Close the table if nothing holds it; return whether it is closed."},
    {"put", table_put, METH_VARARGS, "Give an empty slot a binding."},
    {"enter", table_enter, METH_NOARGS, "Count in what uses its data; False: it had to wait, look again what is current."},
    {"leave", table_leave, METH_NOARGS, "Count it out."},
    {"pin", table_pin, METH_NOARGS, "Hold the version."},
    {"unpin", table_unpin, METH_NOARGS, "Let go of it."},
    {"callers", table_callers, METH_NOARGS, "Who is inside, by calls from Python."},
    {"entered_here", table_is_entered_here, METH_NOARGS, "Return whether this thread is inside a call of this version."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "All functions of one version, and what holds it."},
    {Py_tp_new, table_new},
    {Py_tp_traverse, table_traverse},
    {Py_tp_clear, table_clear},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Table",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
table_ready(PyObject *module)
{
    TableType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return TableType != NULL ? PyModule_AddType(module, TableType) : -1;
}
