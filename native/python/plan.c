/* Plan: native/plan.h for Python.  The GIL is released while a plan runs. */
#include "moving.h"

#include <stdlib.h>

#include "../plan.h"

static PyTypeObject *PlanType;

typedef struct Plan {
    PyObject_HEAD
    mf_plan plan;
} Plan;

/* Copies one table; -1 with an exception set. */
static int
fill_table(mf_table *table, PyObject *object)
{
    Py_buffer data;
    if (PyObject_GetBuffer(object, &data, PyBUF_SIMPLE) != 0) {
        return -1;
    }
    int problem = -1;
    if (data.len % (Py_ssize_t)sizeof(mf_pair) != 0) {
        PyErr_SetString(PyExc_ValueError, "a table has 16 bytes for each value");
    } else if ((table->pair = malloc((size_t)data.len + 1)) == NULL) {
        PyErr_NoMemory();
    } else {
        memcpy(table->pair, data.buf, (size_t)data.len);
        table->count = (size_t)data.len / sizeof(mf_pair);
        problem = 0;
    }
    PyBuffer_Release(&data);
    return problem;
}

static int
fill_tables(mf_plan *plan, PyObject *tables)
{
    PyObject *fast = PySequence_Fast(tables, "the tables are a sequence");
    if (fast == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    int problem = 0;
    plan->table = calloc((size_t)count + 1, sizeof *plan->table);
    if (plan->table == NULL) {
        PyErr_NoMemory();
        problem = -1;
    }
    for (Py_ssize_t i = 0; problem == 0 && i < count; i++) {
        problem = fill_table(&plan->table[i], PySequence_Fast_GET_ITEM(fast, i));
        plan->table_count++;
    }
    Py_DECREF(fast);
    return problem;
}

static PyObject *
plan_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"ops", "from_size", "to_size", "tables", NULL};
    uint64_t from_size, to_size;
    Py_buffer ops;
    PyObject *tables = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*O&O&|O", names, &ops, convert_word, &from_size,
                                     convert_word, &to_size, &tables)) {
        return NULL;
    }
    Plan *self = (Plan *)type->tp_alloc(type, 0);
    if (self != NULL && tables != NULL && fill_tables(&self->plan, tables) != 0) {
        Py_CLEAR(self);
    }
    if (self != NULL) {
        const char *problem = mf_plan_make(&self->plan, ops.buf, (size_t)ops.len, from_size, to_size,
                                           self->plan.table, self->plan.table_count);
        if (problem != NULL) {
            PyErr_SetString(PyExc_ValueError, problem);
            Py_CLEAR(self);
        }
    }
    PyBuffer_Release(&ops);
    return (PyObject *)self;
}

static void
plan_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    mf_plan_free(&((Plan *)object)->plan);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
value_of(const mf_number *number)
{
    if (number->floating) {
        return PyFloat_FromDouble(number->real);
    }
    return number->integer < 0 ? PyLong_FromLongLong((long long)number->integer)
                               : PyLong_FromUnsignedLongLong((unsigned long long)number->integer);
}

/* (index, path, iterations, kind, value) */
static PyObject *
loss_of(const mf_loss *loss)
{
    static const char *const kinds[] = {"range", "inexact", "lost", "dangling", "locked", "enum"};
    PyObject *at = tuple_of(loss->at, loss->depth);
    PyObject *value = at != NULL ? value_of(&loss->value) : NULL;
    if (value == NULL) {
        Py_XDECREF(at);
        return NULL;
    }
    return Py_BuildValue("(KINsN)", (unsigned long long)loss->index, (unsigned)loss->path, at, kinds[loss->kind], value);
}

static PyObject *
plan_run(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"source", "target", "count", "mapping", NULL};
    const mf_plan *plan = &((Plan *)object)->plan;
    uint64_t source, target, count = 1, size = plan->from_size > plan->to_size ? plan->from_size : plan->to_size;
    PyObject *mapping = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O&O&|O&O&", names, convert_word, &source, convert_word,
                                     &target, convert_word, &count, convert_mapping, &mapping)) {
        return NULL;
    }
    if (count > PY_SSIZE_T_MAX / (size + 1)) {
        PyErr_SetString(PyExc_ValueError, "there can't be that many elements");
        return NULL;
    }
    mf_loss loss;
    bool done;
    Py_XINCREF(mapping);
    Py_BEGIN_ALLOW_THREADS
    done = mf_plan_run(plan, (const char *)(uintptr_t)source, (char *)(uintptr_t)target, count, mapping_of(mapping), &loss);
    Py_END_ALLOW_THREADS
    Py_XDECREF(mapping);
    if (done) {
        Py_RETURN_NONE;
    }
    return loss_of(&loss);
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))plan_run, METH_VARARGS | METH_KEYWORDS,
     "Fill elements from others; return the first value that is lost, or None."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "How elements of one layout become elements of another."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Plan",
    .basicsize = sizeof(Plan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
plan_ready(PyObject *module)
{
    PlanType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return PlanType != NULL ? PyModule_AddType(module, PlanType) : -1;
}
