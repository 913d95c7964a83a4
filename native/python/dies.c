/* Dies: native/dies.h for Python.  The GIL is held: a walk makes a list as it goes. */
#include "core.h"

#include <stdlib.h>

#include "../dies.h"

static PyTypeObject *DiesType;

typedef struct Dies {
    PyObject_HEAD
    mf_dies dies;
    PyObject *list; /* owns the tuples that the shapes were made of; each shape's owner is one */
} Dies;

/* MOST_AT_A_TIME bounds the memory that a file of tiny entries takes. */
enum { TAG_BYTES = 32, MOST_SHAPES = 1 << 20, MOST_WIDTHS = 1 << 24, MOST_AT_A_TIME = 4096 };

/* Copies one (code, tag, children, chosen, sibling, widths, names, implicit, owner); -1 with an exception set. */
static int
fill_shape(mf_dies *dies, size_t index, size_t *used, PyObject *item)
{
    unsigned long long code;
    unsigned int tag;
    int children, chosen, sibling;
    Py_buffer widths;
    PyObject *names, *implicit, *owner;
    if (!PyArg_ParseTuple(item, "KIppiy*O!O!O", &code, &tag, &children, &chosen, &sibling, &widths, &PyTuple_Type,
                          &names, &PyTuple_Type, &implicit, &owner)) {
        return -1;
    }
    size_t count = (size_t)widths.len / sizeof(int16_t);
    if (PyTuple_GET_SIZE(names) != (Py_ssize_t)count || PyTuple_GET_SIZE(implicit) != (Py_ssize_t)count) {
        PyBuffer_Release(&widths);
        PyErr_SetString(PyExc_ValueError, "each attribute has a width, a name and an implicit value");
        return -1;
    }
    int16_t *grown = *used + count < MOST_WIDTHS ? realloc(dies->widths, (*used + count + 1) * sizeof *grown) : NULL;
    if (grown == NULL) {
        PyBuffer_Release(&widths);
        PyErr_NoMemory();
        return -1;
    }
    dies->widths = grown;
    memcpy(dies->widths + *used, widths.buf, count * sizeof *grown);
    PyBuffer_Release(&widths);
    dies->shapes[index] = (mf_die_shape){code, item, tag, children != 0, chosen != 0, sibling, *used, count, 0};
    *used += count;
    return 0;
}

static int
fill(mf_dies *dies, PyObject *list, PyObject *forms)
{
    size_t count = (size_t)PyList_GET_SIZE(list), used = 0;
    Py_buffer data;
    dies->shapes = count < MOST_SHAPES ? calloc(count + 1, sizeof *dies->shapes) : NULL;
    if (dies->shapes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (; dies->count < count; dies->count++) {
        if (fill_shape(dies, dies->count, &used, PyList_GET_ITEM(list, (Py_ssize_t)dies->count)) != 0) {
            return -1;
        }
    }
    if (PyObject_GetBuffer(forms, &data, PyBUF_SIMPLE) != 0) {
        return -1;
    }
    bool fits = data.len == (Py_ssize_t)sizeof dies->forms;
    if (fits) {
        memcpy(dies->forms, data.buf, sizeof dies->forms);
    } else {
        PyErr_SetString(PyExc_ValueError, "there are 64 forms, of two bytes each");
    }
    PyBuffer_Release(&data);
    mf_dies_finish(dies);
    return fits ? 0 : -1;
}

static PyObject *
dies_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"shapes", "forms", NULL};
    PyObject *list, *forms;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!O", names, &PyList_Type, &list, &forms)) {
        return NULL;
    }
    Dies *self = (Dies *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->list = PyList_GetSlice(list, 0, PyList_GET_SIZE(list));
        if (self->list == NULL || fill(&self->dies, self->list, forms) != 0) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static void
dies_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    mf_dies_free(&((Dies *)object)->dies);
    Py_CLEAR(((Dies *)object)->list);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- walks -------------------------------------------------------------------------------------------------------- */

/* Says whether there may be more. */
static bool
append(PyObject *list, PyObject *item)
{
    bool done = item != NULL && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return done && PyList_GET_SIZE(list) < MOST_AT_A_TIME;
}

static bool
append_both(void *list, size_t offset, size_t after)
{
    return append(list, Py_BuildValue("nn", (Py_ssize_t)offset, (Py_ssize_t)after));
}

static bool
append_offset(void *list, size_t offset, size_t after)
{
    (void)after;
    return append(list, PyLong_FromSize_t(offset));
}

/* Returns (list, the offset reached, whether that is behind the level), taking the list; NULL with an exception set. */
static PyObject *
finish(mf_die_result result, const mf_die_range *range, PyObject *list)
{
    if (!PyErr_Occurred() && result != MF_DIE_DAMAGED) {
        return Py_BuildValue("NnO", list, (Py_ssize_t)range->at, result == MF_DIE_DONE ? Py_True : Py_False);
    }
    if (result == MF_DIE_DAMAGED) {
        PyErr_Format(PyExc_ValueError, "an entry at %#zx has no shape, or lies outside its unit", range->at);
    }
    Py_DECREF(list);
    return NULL;
}

static bool
is_range(const Py_buffer *data, const mf_die_range *range)
{
    bool fits = range->unit <= range->at && range->at <= range->end && range->end <= (size_t)data->len;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "entries lie outside their section");
    }
    return fits;
}

static PyObject *
dies_level(PyObject *object, PyObject *arguments)
{
    Py_buffer data, tags;
    Py_ssize_t unit, at, end;
    if (!PyArg_ParseTuple(arguments, "y*nnny*", &data, &unit, &at, &end, &tags)) {
        return NULL;
    }
    mf_die_range range = {data.buf, (size_t)unit, (size_t)at, (size_t)end};
    PyObject *list = NULL, *found = NULL;
    if (tags.len != TAG_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a set of tags has 256 bits");
    } else if (is_range(&data, &range) && (list = PyList_New(0)) != NULL) {
        found = finish(mf_dies_level(&((Dies *)object)->dies, &range, tags.buf, append_both, list), &range, list);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&tags);
    return found;
}

static PyObject *
dies_below(PyObject *object, PyObject *arguments)
{
    Py_buffer data;
    Py_ssize_t unit, at, end;
    if (!PyArg_ParseTuple(arguments, "y*nnn", &data, &unit, &at, &end)) {
        return NULL;
    }
    mf_die_range range = {data.buf, (size_t)unit, (size_t)at, (size_t)end};
    PyObject *list = NULL, *found = NULL;
    if (is_range(&data, &range) && (list = PyList_New(0)) != NULL) {
        found = finish(mf_dies_below(&((Dies *)object)->dies, &range, append_offset, list), &range, list);
    }
    PyBuffer_Release(&data);
    return found;
}

/* ---- one entry ---------------------------------------------------------------------------------------------------- */

enum { NAMES = 6, IMPLICIT = 7, OWNER = 8 }; /* where they are in a shape's tuple */

static PyObject *
value_of(const mf_die_value *value, int width)
{
    if (value->bytes != NULL && width > 8) {
        return PyObject_CallMethod((PyObject *)&PyLong_Type, "from_bytes", "y#s", (const char *)value->bytes,
                                   (Py_ssize_t)value->size, "little");
    }
    if (value->bytes != NULL) {
        return PyBytes_FromStringAndSize((const char *)value->bytes, (Py_ssize_t)value->size);
    }
    return value->is_signed ? PyLong_FromLongLong((int64_t)value->number) : PyLong_FromUnsignedLongLong(value->number);
}

/* Sets one attribute of an entry: a value, or (form, value) where its form is told by the entry. */
static bool
set_value(const mf_dies *dies, mf_die_range *range, const mf_die_shape *shape, size_t index, PyObject *values)
{
    PyObject *tuple = shape->owner, *made;
    int width = dies->widths[shape->first + index];
    mf_die_value value;
    if (!mf_dies_value(dies, range, width, &value)) {
        PyErr_Format(PyExc_ValueError, "an entry's value at %#zx lies outside its unit", range->at);
        return false;
    }
    if (width == 0) {
        made = Py_NewRef(PyTuple_GET_ITEM(PyTuple_GET_ITEM(tuple, IMPLICIT), (Py_ssize_t)index));
    } else if (value.form != 0) {
        made = Py_BuildValue("KN", (unsigned long long)value.form, value_of(&value, dies->forms[value.form]));
    } else {
        made = value_of(&value, width);
    }
    bool done = made != NULL && PyDict_SetItem(values, PyTuple_GET_ITEM(PyTuple_GET_ITEM(tuple, NAMES), (Py_ssize_t)index), made) == 0;
    Py_XDECREF(made);
    return done;
}

static PyObject *
read_entry(const mf_dies *dies, mf_die_range *range)
{
    size_t start = range->at;
    const mf_die_shape *shape = mf_dies_shape(dies, range);
    if (shape == NULL) {
        return PyErr_Format(PyExc_ValueError, "an entry at %#zx has no shape", start);
    }
    PyObject *values = PyDict_New();
    for (size_t i = 0; values != NULL && i < shape->count; i++) {
        if (!set_value(dies, range, shape, i, values)) {
            Py_CLEAR(values);
        }
    }
    return values != NULL ? Py_BuildValue("ONn", PyTuple_GET_ITEM((PyObject *)shape->owner, OWNER), values, (Py_ssize_t)range->at) : NULL;
}

static PyObject *
dies_entry(PyObject *object, PyObject *arguments)
{
    Py_buffer data;
    Py_ssize_t at, end;
    if (!PyArg_ParseTuple(arguments, "y*nn", &data, &at, &end)) {
        return NULL;
    }
    mf_die_range range = {data.buf, (size_t)at, (size_t)at, (size_t)end};
    PyObject *found = is_range(&data, &range) ? read_entry(&((Dies *)object)->dies, &range) : NULL;
    PyBuffer_Release(&data);
    return found;
}

static PyMethodDef methods[] = {
    {"entry", dies_entry, METH_VARARGS, "Return an entry's shape, its values, and where they end."},
    {"level", dies_level, METH_VARARGS, "Return the next entries of a level with some tags, and where they end."},
    {"below", dies_below, METH_VARARGS, "Return the first chosen entries of a level and of all below it, and where it ends."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "How to step over the entries of a unit of debug information."},
    {Py_tp_new, dies_new},
    {Py_tp_dealloc, dies_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Dies",
    .basicsize = sizeof(Dies),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
dies_ready(PyObject *module)
{
    DiesType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return DiesType != NULL ? PyModule_AddType(module, DiesType) : -1;
}
