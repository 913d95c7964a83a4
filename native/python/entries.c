/* Entries: stable function pointers (native/entry.h) to the functions of a cell.
 *
 * Guarantees, all under the GIL:
 * - An entry leads to its function in the version that is current; while a gate is closed its calls wait, without the GIL,
 *   as calls from Python do.  Where the version has no such function, or one that is called in another way, it leads
 *   nowhere: a caller that was compiled for the one must not reach the other.
 * - A table counts the calls that its seats have, and can't be closed before they have ended.
 * - The record of an entry lives as long as the process, as the entry itself does.
 */
#include "core.h"

#include <structmember.h>

#include "../entry.h"

/* One function of a cell as a stable pointer. */
struct Entry {
    mf_entry *entry;
    Py_ssize_t slot;
    PyObject *name;  /* "module.function" */
    PyObject *shape; /* how it is called, as shape_of says */
    Seat *seat;      /* where it leads; NULL: nowhere */
    bool gone;       /* the module has ended */
    Entry *next;     /* of the cell's */
};

/* An entry's place in a version. */
struct Seat {
    mf_seat *seat;
    Entry *of;
    Table *table; /* whose list this is in, by `next` */
    Seat *next;
};

/* ---- how a function is called ---------------------------------------------------------------------------------------- */

static PyObject *
shape_of_value(int kind, PyObject *target, size_t size)
{
    if (kind == KIND_STRUCT) {
        return PyUnicode_FromFormat("%U %zu", target, size);
    }
    return PyUnicode_FromFormat("%d", kind == KIND_CALLBACK || kind == KIND_STRING ? KIND_POINTER : kind);
}

/* The same text for functions that the same machine code can call. */
static PyObject *
shape_of(const Binding *binding)
{
    PyObject *shape = shape_of_value(binding->result, binding->result_target, binding->result_size);
    for (Py_ssize_t i = 0; shape != NULL && i < binding->param_count; i++) {
        const Param *param = &binding->params[i];
        PyObject *value = shape_of_value(param->kind, param->target, param->item_size);
        Py_SETREF(shape, value != NULL ? PyUnicode_FromFormat("%U, %U", shape, value) : NULL);
        Py_XDECREF(value);
    }
    return shape;
}

/* Of a struct that is returned in memory. */
static size_t
size_in_memory(const Binding *binding)
{
    const char *target = binding->result == KIND_STRUCT ? PyUnicode_AsUTF8(binding->result_target) : NULL;
    return target != NULL && target[0] == 'M' ? strtoul(target + 1, NULL, 10) : 0;
}

/* Whether it is code of this process that takes its arguments as C passes them. */
static bool
can_lead_to(const Binding *binding)
{
    return binding->worker == NULL && !binding->raw && binding->unusable == NULL && binding->address != 0;
}

/* ---- leading --------------------------------------------------------------------------------------------------------- */

static Seat *
seat_in(Table *table, Entry *entry, uintptr_t target)
{
    Seat *seat = PyMem_Malloc(sizeof *seat);
    mf_seat *place = seat != NULL ? mf_seat_new(target, table) : NULL;
    if (place == NULL) {
        PyMem_Free(seat);
        return NULL;
    }
    *seat = (Seat){place, entry, table, table->seats};
    table->seats = seat;
    return seat;
}

static void
lead_nowhere(Entry *self, PyObject *why)
{
    PyObject *text = why != NULL ? PyUnicode_FromFormat("%U was called by its stable pointer, but %U", self->name, why) : NULL;
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    self->seat = NULL;
    mf_entry_end(self->entry, utf8 != NULL ? utf8 : "a stable pointer leads nowhere");
    Py_XDECREF(text);
    Py_XDECREF(why);
}

static void
lead_to(Entry *self, Table *table)
{
    const Binding *binding = self->slot < table->size ? table->bindings[self->slot] : NULL;
    if (binding == NULL || !can_lead_to(binding)) {
        lead_nowhere(self, PyUnicode_FromFormat("version %U has no such function in this process", table->label));
        return;
    }
    PyObject *shape = shape_of(binding);
    bool same = shape != NULL && PyUnicode_Compare(shape, self->shape) == 0;
    Py_XDECREF(shape);
    self->seat = same ? seat_in(table, self, binding->address) : NULL;
    if (self->seat == NULL) {
        lead_nowhere(self, PyUnicode_FromFormat("it has other parameters or another result in version %U", table->label));
        return;
    }
    mf_entry_set(self->entry, table->gate == NULL ? self->seat->seat : NULL);
}

void
entries_follow(Cell *cell)
{
    for (Entry *entry = cell->entries; entry != NULL; entry = entry->next) {
        entry->gone = cell->current == NULL;
        if (!entry->gone) {
            lead_to(entry, cell->current);
        } else {
            lead_nowhere(entry, cell->ended != NULL ? Py_NewRef(cell->ended)
                                                    : PyUnicode_FromString("nothing is left of its module"));
        }
    }
    if (cell->entries != NULL) {
        mf_entry_settle();
    }
}

/* ---- a new one ------------------------------------------------------------------------------------------------------- */

static Entry *
find(const Cell *cell, Py_ssize_t slot)
{
    for (Entry *entry = cell->entries; entry != NULL; entry = entry->next) {
        if (entry->slot == slot) {
            return entry;
        }
    }
    return NULL;
}

static Entry *
entry_new(Cell *cell, Py_ssize_t slot, const Binding *binding)
{
    PyObject *shape = shape_of(binding);
    Entry *self = shape != NULL ? PyMem_RawMalloc(sizeof *self) : NULL;
    if (self == NULL) {
        Py_XDECREF(shape);
        return (Entry *)PyErr_NoMemory();
    }
    *self = (Entry){.slot = slot, .name = Py_NewRef(binding->name), .shape = shape, .next = cell->entries};
    self->entry = mf_entry_new(self, size_in_memory(binding));
    if (self->entry == NULL) {
        Py_DECREF(self->name);
        Py_DECREF(shape);
        PyMem_RawFree(self);
        raise_error(errors.base, binding->name, "%d functions have stable pointers already, for the life of this process",
                    MF_ENTRIES);
        return NULL;
    }
    cell->entries = self;
    return self;
}

PyObject *
cell_entry(PyObject *object, PyObject *number)
{
    Cell *cell = (Cell *)object;
    Py_ssize_t slot = PyLong_AsSsize_t(number);
    if (slot == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Entry *entry = find(cell, slot);
    Table *table = cell->current;
    const Binding *binding = table != NULL && slot >= 0 && slot < table->size ? table->bindings[slot] : NULL;
    if (entry == NULL) {
        if (binding == NULL || !can_lead_to(binding)) {
            return PyLong_FromLong(0);
        }
        entry = entry_new(cell, slot, binding);
        if (entry == NULL) {
            return NULL;
        }
        lead_to(entry, table);
    }
    return PyLong_FromUnsignedLongLong(mf_entry_address(entry->entry));
}

/* ---- what a table has to know ----------------------------------------------------------------------------------------- */

Py_ssize_t
entries_inside(const Table *table)
{
    return table->seats != NULL ? (Py_ssize_t)mf_entry_inside(table) : 0;
}

bool
entries_entered_here(const Table *table)
{
    for (const mf_visit *visit = mf_entry_innermost(); visit != NULL; visit = visit->outer) {
        const mf_seat *seat = atomic_load(&visit->seat);
        if (seat != NULL && seat->holder == table) {
            return true;
        }
    }
    return false;
}

void
entries_free(Table *table)
{
    while (table->seats != NULL) {
        Seat *seat = table->seats;
        table->seats = seat->next;
        if (seat->of->seat == seat) {
            lead_nowhere(seat->of, PyUnicode_FromString("its version is gone"));
        }
        mf_seat_free(seat->seat);
        PyMem_Free(seat);
    }
}

/* ---- the gate --------------------------------------------------------------------------------------------------------- */

void
entries_gate(Table *table)
{
    for (Seat *seat = table->seats; seat != NULL; seat = seat->next) {
        if (seat->of->seat == seat) {
            mf_entry_set(seat->of->entry, table->gate == NULL ? seat->seat : NULL);
        }
    }
    if (table->seats != NULL && table->gate != NULL) {
        mf_entry_settle();
    }
}

/* Called without the GIL, unless the caller is one who never gave it up. */
static bool
wait_for_gate(mf_entry *entry, mf_visit *visit)
{
    PyGILState_STATE state = PyGILState_Ensure();
    const Entry *self = entry->data;
    Table *table = self->seat != NULL ? self->seat->table : NULL;
    bool goes = false;
    if (table != NULL && table->gate != NULL) {
        switch (gate_hold(table)) {
        case GATE_OPENED: break; /* look again */
        case GATE_PASS:
            atomic_store(&visit->seat, self->seat->seat);
            goes = true;
            break;
        case GATE_OWN:
            mf_entry_refuse(entry, visit, "a stable pointer was called by what moves its module's state, which the call "
                                          "would wait for");
            goes = true;
            break;
        }
    }
    PyGILState_Release(state);
    return goes;
}

/* A thread that is in a call from Python gets an exception when that returns. */
static bool
report(mf_entry *entry, const char *text)
{
    if (innermost == NULL) {
        return false;
    }
    PyGILState_STATE state = PyGILState_Ensure();
    const Entry *self = entry->data;
    raise_error(self->gone ? errors.unloaded : errors.missing, NULL, "%s", text);
    leave_behind();
    PyGILState_Release(state);
    return true;
}

/* ---- forwards --------------------------------------------------------------------------------------------------------- */

PyTypeObject *ForwardType;

typedef struct Forward {
    PyObject_HEAD
    unsigned long long address;
} Forward;

static PyObject *
forward_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"target", NULL};
    unsigned long long target;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "K", names, &target)) {
        return NULL;
    }
    Forward *self = (Forward *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->address = mf_forward_new((uintptr_t)target);
    if (self->address == 0) {
        Py_DECREF(self);
        raise_error(errors.base, NULL, "%d functions are provided to libraries at the same time already", MF_FORWARDS);
        return NULL;
    }
    return (PyObject *)self;
}

static void
forward_dealloc(PyObject *object)
{
    Forward *self = (Forward *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->address != 0) {
        mf_forward_free((uintptr_t)self->address);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
forward_lead(PyObject *object, PyObject *target)
{
    unsigned long long address = PyLong_AsUnsignedLongLong(target);
    if (PyErr_Occurred()) {
        return NULL;
    }
    mf_forward_set((uintptr_t)((Forward *)object)->address, (uintptr_t)address);
    Py_RETURN_NONE;
}

static PyMemberDef members[] = {
    {"address", T_ULONGLONG, offsetof(Forward, address), READONLY, "The address that goes on to the target."},
    {NULL},
};

static PyMethodDef methods[] = {
    {"lead", forward_lead, METH_O, "Go on to another function from now on."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A function pointer that goes on to wherever it is told to."},
    {Py_tp_new, forward_new},
    {Py_tp_dealloc, forward_dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Forward",
    .basicsize = sizeof(Forward),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
entries_ready(PyObject *module)
{
    mf_entry_wait = wait_for_gate;
    mf_entry_report = report;
    ForwardType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return ForwardType != NULL ? PyModule_AddType(module, ForwardType) : -1;
}
