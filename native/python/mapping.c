/* Mapping: native/mapping.h for Python. */
#include "moving.h"

#include <stdlib.h>

static PyTypeObject *MappingType;

typedef struct Mapping {
    PyObject_HEAD
    mf_mapping mapping;
} Mapping;

int
convert_word(PyObject *object, void *result)
{
    uint64_t value = PyLong_Check(object) ? PyLong_AsUnsignedLongLong(object) : 0;
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "an int is wanted, not %.100s", Py_TYPE(object)->tp_name);
    }
    *(uint64_t *)result = value;
    return PyErr_Occurred() ? 0 : 1;
}

PyObject *
tuple_of(const uint64_t *numbers, uint32_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (uint32_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(numbers[i]);
        if (number == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, number);
        }
    }
    return tuple;
}

int
items_from(PyObject *sequence, const char *what, size_t size, item_from *item, void *closure, void **items,
           size_t *count)
{
    PyObject *fast = PySequence_Fast(sequence, what);
    size_t wanted = fast != NULL ? (size_t)PySequence_Fast_GET_SIZE(fast) : 0;
    char *made = fast != NULL ? calloc(wanted + 1, size) : NULL; /* the native part frees it */
    if (fast != NULL && made == NULL) {
        PyErr_NoMemory();
    }
    for (size_t i = 0; made != NULL && i < wanted; i++) {
        if (item(PySequence_Fast_GET_ITEM(fast, (Py_ssize_t)i), made + i * size, closure) != 0) {
            free(made);
            made = NULL;
        }
    }
    Py_XDECREF(fast);
    *items = made;
    *count = made != NULL ? wanted : 0;
    return made != NULL ? 0 : -1;
}

static int
exact_item(PyObject *object, void *item, void *Py_UNUSED(closure))
{
    mf_exact *exact = item;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a pair is a tuple");
        return -1;
    }
    return PyArg_ParseTuple(object, "O&O&", convert_word, &exact->from, convert_word, &exact->to) ? 0 : -1;
}

static int
run_item(PyObject *object, void *item, void *Py_UNUSED(closure))
{
    mf_run *run = item;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a field is a tuple");
        return -1;
    }
    return PyArg_ParseTuple(object, "O&O&O&", convert_word, &run->from, convert_word, &run->to, convert_word, &run->size)
               ? 0
               : -1;
}

/* Appends a block's fields to the mapping's. */
static int
add_runs(mf_mapping *mapping, mf_moved *moved, PyObject *fields)
{
    void *items;
    if (items_from(fields, "the fields are a sequence", sizeof(mf_run), run_item, NULL, &items, &moved->run_count) != 0) {
        return -1;
    }
    moved->run = mapping->run_count;
    mf_run *grown = realloc(mapping->run, (mapping->run_count + moved->run_count + 1) * sizeof *grown);
    if (grown != NULL) {
        memcpy(grown + mapping->run_count, items, moved->run_count * sizeof *grown);
        mapping->run = grown;
        mapping->run_count += moved->run_count;
    }
    free(items);
    return grown != NULL ? 0 : (PyErr_NoMemory(), -1);
}

static int
moved_item(PyObject *object, void *item, void *closure)
{
    mf_moved *moved = item;
    PyObject *fields;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a block is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(object, "O&O&O&O&O&O", convert_word, &moved->start, convert_word, &moved->end, convert_word,
                          &moved->to, convert_word, &moved->stride, convert_word, &moved->to_stride, &fields)) {
        return -1;
    }
    return add_runs(closure, moved, fields);
}

static int
fill(mf_mapping *mapping, PyObject *exact, PyObject *blocks)
{
    if (exact != NULL && items_from(exact, "the exact values are a sequence", sizeof(mf_exact), exact_item, NULL,
                                    (void **)&mapping->exact, &mapping->exact_count) != 0) {
        return -1;
    }
    if (blocks != NULL && items_from(blocks, "the blocks are a sequence", sizeof(mf_moved), moved_item, mapping,
                                     (void **)&mapping->moved, &mapping->moved_count) != 0) {
        return -1;
    }
    const char *problem = mf_mapping_ready(mapping);
    if (problem != NULL) {
        PyErr_SetString(PyExc_ValueError, problem);
    }
    return problem != NULL ? -1 : 0;
}

static PyObject *
mapping_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"low", "high", "exact", "blocks", NULL};
    uint64_t low, high;
    PyObject *exact = NULL, *blocks = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O&O&|OO", names, convert_word, &low, convert_word, &high,
                                     &exact, &blocks)) {
        return NULL;
    }
    Mapping *self = (Mapping *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->mapping.low = low;
        self->mapping.high = high;
        if (fill(&self->mapping, exact, blocks) != 0) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static void
mapping_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    mf_mapping_free(&((Mapping *)object)->mapping);
    type->tp_free(object);
    Py_DECREF(type);
}

const mf_mapping *
mapping_of(PyObject *mapping)
{
    return mapping != NULL ? &((Mapping *)mapping)->mapping : NULL;
}

int
convert_mapping(PyObject *object, void *result)
{
    if (object != Py_None && !Py_IS_TYPE(object, MappingType)) {
        PyErr_Format(PyExc_TypeError, "a Mapping or None is wanted, not %.100s", Py_TYPE(object)->tp_name);
        return 0;
    }
    *(PyObject **)result = object != Py_None ? object : NULL;
    return 1;
}

static PyObject *
mapping_find(PyObject *object, PyObject *value)
{
    uint64_t from, to;
    if (!convert_word(value, &from)) {
        return NULL;
    }
    if (mf_mapping_find(mapping_of(object), from, &to) == MF_DANGLES) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(to);
}

static PyMethodDef methods[] = {
    {"find", mapping_find, METH_O, "Return what a pointer is now, None if it dangles."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Where pointers into the old version, or into memory that has moved, point to now."},
    {Py_tp_new, mapping_new},
    {Py_tp_dealloc, mapping_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Mapping",
    .basicsize = sizeof(Mapping),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
mapping_ready(PyObject *module)
{
    MappingType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return MappingType != NULL ? PyModule_AddType(module, MappingType) : -1;
}
