/* Canary: gives a share of a cell's calls to another table than the current one.
 *
 * Guarantees, all under the GIL:
 * - From its making until it is ended a share of the cell's calls runs in the candidate, each wholly; other cells of the same
 *   table (a pin's) aren't concerned, nor are stable pointers.
 * - A call from inside a call into one of the two stays where that one runs, and one that is given a Pointer runs where that
 *   comes from: what belongs together isn't torn apart.
 * - Nobody waits for anything.
 */
#include "observer.h"

#include <structmember.h>

PyTypeObject *CanaryType;

struct Canary {
    PyObject_HEAD
    Cell *cell;       /* owned; NULL: it has ended */
    Table *current;   /* owned: hidden meanwhile, so that calls come here */
    Table *candidate; /* owned */
    Share share;
    Py_ssize_t given; /* calls */
};

static Table *
home_of_pointer(const Canary *self, PyObject *const *args, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        const Table *from = args[i] != NULL && Py_IS_TYPE(args[i], PointerType) ? pointer_table(args[i]) : NULL;
        if (from != NULL && (from == self->candidate || from == self->current)) {
            return from == self->candidate ? self->candidate : self->current;
        }
    }
    return NULL;
}

static Table *
choose(Canary *self, PyObject *const *args, Py_ssize_t count)
{
    if (table_entered_here(self->candidate)) {
        return self->candidate;
    }
    if (table_entered_here(self->current)) {
        return self->current;
    }
    Table *home = home_of_pointer(self, args, count);
    return home != NULL ? home : share_takes(&self->share) ? self->candidate : self->current;
}

Table *
canary_choose(Canary *self, Table *current, Py_ssize_t slot, PyObject *const *args, Py_ssize_t count)
{
    /* Whoever misses a function is to hear it from the version that is current. */
    bool there = slot < self->candidate->size && self->candidate->bindings[slot] != NULL;
    if (current != self->current || !there || slot >= current->size || current->bindings[slot] == NULL) {
        return current;
    }
    Table *chosen = choose(self, args, count);
    self->given += chosen == self->candidate;
    return chosen;
}

static void
end(Canary *self)
{
    Cell *cell = self->cell;
    if (cell != NULL) {
        self->cell = NULL;
        self->current->diverted = false;
        table_show(self->current);
        cell->canary = NULL;
        Py_DECREF(cell);
        Py_DECREF(self); /* the cell's */
    }
}

static PyObject *
canary_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"cell", "candidate", "share", NULL};
    Cell *cell;
    Table *candidate;
    double share;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!O!d", names, CellType, &cell, TableType, &candidate, &share)) {
        return NULL;
    }
    if (cell->current == NULL || cell->canary != NULL || candidate == cell->current) {
        PyErr_SetString(PyExc_ValueError, "this cell has no version to share calls with, or shares them already");
        return NULL;
    }
    Canary *self = (Canary *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->cell = (Cell *)Py_NewRef(cell);
        self->current = (Table *)Py_NewRef(cell->current);
        self->candidate = (Table *)Py_NewRef(candidate);
        self->share = share_of(share, false);
        cell->canary = (Canary *)Py_NewRef(self);
        self->current->diverted = true;
        table_show(self->current);
    }
    return (PyObject *)self;
}

static PyObject *
canary_end(PyObject *object, PyObject *Py_UNUSED(unused))
{
    end((Canary *)object);
    Py_RETURN_NONE;
}

static int
canary_traverse(PyObject *object, visitproc visit, void *arg)
{
    Canary *self = (Canary *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->cell);
    Py_VISIT(self->current);
    Py_VISIT(self->candidate);
    return 0;
}

static int
canary_clear(PyObject *object)
{
    end((Canary *)object);
    return 0;
}

static void
canary_dealloc(PyObject *object)
{
    Canary *self = (Canary *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->current);
    Py_CLEAR(self->candidate);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"given", T_PYSSIZET, offsetof(Canary, given), READONLY, "Calls that the candidate has got."},
    {NULL},
};

static PyMethodDef methods[] = {
    {"end", canary_end, METH_NOARGS, "Give all calls to the current version again."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Gives a share of a cell's calls to another table than the current one."},
    {Py_tp_new, canary_new},
    {Py_tp_traverse, canary_traverse},
    {Py_tp_clear, canary_clear},
    {Py_tp_dealloc, canary_dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Canary",
    .basicsize = sizeof(Canary),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
canary_ready(PyObject *module)
{
    CanaryType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return CanaryType != NULL ? PyModule_AddType(module, CanaryType) : -1;
}
