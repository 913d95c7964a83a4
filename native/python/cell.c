/* Cell: which version of a module is current.
 *
 * Guarantee: a switch is one store, under the GIL, of a table that holds every function of the version; a call reads
 * it once.  switch() stores for several cells without giving up the GIL in between.
 */
#include "core.h"

#include <structmember.h>

PyTypeObject *CellType;

PyObject *cell_entry(PyObject *object, PyObject *slot);

static PyObject *
cell_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "current", "owner", NULL};
    PyObject *name, *current, *owner = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "UO!|O", names, &name, TableType, &current, &owner)) {
        return NULL;
    }
    Cell *self = (Cell *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->name = Py_NewRef(name);
        self->current = (Table *)Py_NewRef(current);
        self->owner = Py_XNewRef(owner);
    }
    return (PyObject *)self;
}

static int
cell_traverse(PyObject *object, visitproc visit, void *arg)
{
    Cell *self = (Cell *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->current);
    Py_VISIT(self->owner);
    Py_VISIT(self->canary);
    return 0;
}

static int
cell_clear(PyObject *object)
{
    Cell *self = (Cell *)object;
    Table *before = self->current;
    self->current = NULL;
    entries_follow(self);
    Py_XDECREF(before);
    Py_CLEAR(self->owner);
    Py_CLEAR(self->canary);
    return 0;
}

static void
cell_dealloc(PyObject *object)
{
    Cell *self = (Cell *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    cell_clear(object);
    Py_CLEAR(self->name);
    Py_CLEAR(self->ended);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Stores `table` (or nothing) and lets go of what was there. */
static void
store(Cell *self, Table *table)
{
    Table *before = self->current;
    self->current = (Table *)Py_XNewRef((PyObject *)table);
    entries_follow(self);
    Py_XDECREF(before);
}

static PyObject *
cell_end(PyObject *object, PyObject *why)
{
    Cell *self = (Cell *)object;
    if (!PyUnicode_Check(why)) {
        PyErr_SetString(PyExc_TypeError, "the reason must be a str");
        return NULL;
    }
    Py_XSETREF(self->ended, Py_NewRef(why));
    store(self, NULL);
    Py_RETURN_NONE;
}

PyObject *
cell_switch(PyObject *Py_UNUSED(module), PyObject *pairs)
{
    PyObject *items = PySequence_Fast(pairs, "switch takes a sequence of (cell, table)");
    if (items == NULL) {
        return NULL;
    }
    /* All are checked before the first is stored. */
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(items, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !Py_IS_TYPE(PyTuple_GET_ITEM(pair, 0), CellType) ||
            !Py_IS_TYPE(PyTuple_GET_ITEM(pair, 1), TableType)) {
            PyErr_SetString(PyExc_TypeError, "switch takes a sequence of (cell, table)");
            Py_DECREF(items);
            return NULL;
        }
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(items, i);
        store((Cell *)PyTuple_GET_ITEM(pair, 0), (Table *)PyTuple_GET_ITEM(pair, 1));
    }
    Py_DECREF(items);
    Py_RETURN_NONE;
}

static PyObject *
cell_current(PyObject *object, void *Py_UNUSED(closure))
{
    Cell *self = (Cell *)object;
    return Py_NewRef(self->current != NULL ? (PyObject *)self->current : Py_None);
}

/* What is done in there is one with the calls that it makes: no data move in between. */
static PyObject *
cell_run(PyObject *object, PyObject *function)
{
    Cell *self = (Cell *)object;
    Table *table;
    int passed = 0;
    while ((table = self->current) != NULL && table->gate != NULL && passed == 0) {
        passed = gate_pass(table);
    }
    if (table == NULL) {
        raise_error(errors.unloaded, self->name, "%V", self->ended, "it has been unloaded");
        return NULL;
    }
    if (passed < 0) {
        return NULL;
    }
    Frame frame;
    enter(&frame, table, NULL);
    PyObject *result = PyObject_CallOneArg(function, (PyObject *)table);
    if (frame.pending != NULL && result != NULL) {
        Py_CLEAR(result);
        PyErr_SetObject((PyObject *)Py_TYPE(frame.pending), frame.pending);
    }
    Py_CLEAR(frame.pending);
    leave(&frame);
    return result;
}

static PyGetSetDef getters[] = {
    {"current", cell_current, NULL, "The current version's table, or None once ended.", NULL},
    {NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Cell, weakrefs), READONLY, NULL},
    {"name", T_OBJECT, offsetof(Cell, name), READONLY, "The module's name."},
    {NULL},
};

static PyMethodDef methods[] = {
    {"run", cell_run, METH_O, "Call a function with the current table, counted as a call that is inside it."},
    {"entry", cell_entry, METH_O, "Return a function pointer to a slot's function that stays valid; 0 if it isn't native."},
    {"end", cell_end, METH_O, "Take the current version away; calls then raise UnloadedError with this reason."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Which version of a module is current."},
    {Py_tp_new, cell_new},
    {Py_tp_traverse, cell_traverse},
    {Py_tp_clear, cell_clear},
    {Py_tp_dealloc, cell_dealloc},
    {Py_tp_getset, getters},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Cell",
    .basicsize = sizeof(Cell),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
cell_ready(PyObject *module)
{
    CellType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return CellType != NULL ? PyModule_AddType(module, CellType) : -1;
}
