/* From Python numbers to argument registers: everything but the commonest ones, which function.c does in line. */
#include "core.h"

int
wrong_type(const Param *param, PyObject *value, PyObject *function, const char *detail)
{
    raise_error(errors.argument_type, function, "parameter %R is %U, and %s can't be passed to it%s%s", param->name,
                param->type_name, Py_TYPE(value)->tp_name, detail[0] != '\0' ? ": " : "", detail);
    return -1;
}

/* Which numbers fit a parameter, for people; "" where its type says all. */
static PyObject *
describe_range(const Param *param)
{
    switch ((Kind)param->kind) {
    case KIND_BOOL: return PyUnicode_FromString(" (True or False)");
    case KIND_FLOAT32:
    case KIND_FLOAT64: return PyUnicode_FromString("");
    case KIND_UINT64: return PyUnicode_FromFormat(" (0 to %llu)", (unsigned long long)UINT64_MAX);
    default: return PyUnicode_FromFormat(" (%lld to %lld)", (long long)param->low, (long long)param->high);
    }
}

static int
out_of_range(const Param *param, PyObject *value, PyObject *function)
{
    PyObject *range = describe_range(param);
    PyObject *shown = range != NULL ? PyObject_Repr(value) : NULL;
    if (range != NULL && shown == NULL) {
        PyErr_Clear(); /* Python refuses to write numbers of thousands of digits */
        shown = PyUnicode_FromFormat("a number (%s) as big as that", Py_TYPE(value)->tp_name);
    }
    if (shown != NULL) {
        raise_error(errors.argument_range, function, "parameter %R is %U%U, and %U doesn't fit it", param->name,
                    param->type_name, range, shown);
    }
    Py_XDECREF(range);
    Py_XDECREF(shown);
    return -1;
}

/* Turns a TypeError of a value's own __index__ or __float__ (an array of several numbers, for example) into ours; its
 * other exceptions stay as they are. */
static int
explain_number(const Param *param, PyObject *value, PyObject *function, const char *detail)
{
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
        return -1;
    }
    PyObject *type, *cause, *traceback, *error;
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    wrong_type(param, value, function, detail);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (error != NULL) {
        PyException_SetCause(error, cause); /* takes the cause over */
    } else {
        Py_XDECREF(cause);
    }
    PyErr_Restore(type, error, traceback);
    return -1;
}

static int
store_long(const Param *param, PyObject *number, PyObject *value, PyObject *function, uint64_t *out)
{
    if (param->kind == KIND_UINT64) {
        unsigned long long wide = PyLong_AsUnsignedLongLong(number);
        if (wide == (unsigned long long)-1 && PyErr_Occurred()) {
            PyErr_Clear();
            return out_of_range(param, value, function);
        }
        *out = wide;
        return 0;
    }
    int overflow;
    long long wide = PyLong_AsLongLongAndOverflow(number, &overflow);
    bool limited = param->kind != KIND_INT64;
    if (overflow != 0 || (limited && (wide < param->low || wide > param->high))) {
        return out_of_range(param, value, function);
    }
    *out = (uint64_t)wide;
    return 0;
}

static int
convert_integer(const Param *param, PyObject *value, PyObject *function, uint64_t *out)
{
    if (PyFloat_Check(value) || !PyIndex_Check(value)) {
        return wrong_type(param, value, function, "an integer is expected");
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL) {
        return explain_number(param, value, function, "an integer is expected");
    }
    int problem = store_long(param, number, value, function, out);
    Py_DECREF(number);
    return problem;
}

static int
convert_bool(const Param *param, PyObject *value, PyObject *function, uint64_t *out)
{
    if (PyBool_Check(value)) {
        *out = value == Py_True;
        return 0;
    }
    /* numpy's bool, and the integers 0 and 1, which C programmers write. */
    if (!PyIndex_Check(value) && strcmp(Py_TYPE(value)->tp_name, "numpy.bool") != 0 &&
        strcmp(Py_TYPE(value)->tp_name, "numpy.bool_") != 0) {
        return wrong_type(param, value, function, "True or False is expected");
    }
    if (!PyIndex_Check(value)) {
        int truth = PyObject_IsTrue(value);
        *out = truth > 0;
        return truth < 0 ? -1 : 0;
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL) {
        return explain_number(param, value, function, "True or False is expected");
    }
    int overflow;
    long long wide = PyLong_AsLongLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow != 0 || wide < 0 || wide > 1) {
        return out_of_range(param, value, function);
    }
    *out = (uint64_t)wide;
    return 0;
}

static int
convert_floating(const Param *param, PyObject *value, PyObject *function, double *out)
{
    PyNumberMethods *number = Py_TYPE(value)->tp_as_number;
    if (number == NULL || (number->nb_float == NULL && number->nb_index == NULL)) {
        return wrong_type(param, value, function, "a number is expected");
    }
    double wide = PyFloat_AsDouble(value);
    if (wide == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return explain_number(param, value, function, "a number is expected");
        }
        PyErr_Clear();
        return out_of_range(param, value, function);
    }
    if (param->kind == KIND_FLOAT32) {
        float narrow = (float)wide;
        if (isinf(narrow) && !isinf(wide)) {
            return out_of_range(param, value, function);
        }
        wide = 0;
        memcpy(&wide, &narrow, sizeof narrow); /* its 32 bits in the low half of the register */
    }
    *out = wide;
    return 0;
}

int
convert_number(const Param *param, PyObject *value, PyObject *function, mf_registers *registers, uint64_t *stack)
{
    if (param->kind == KIND_FLOAT32 || param->kind == KIND_FLOAT64) {
        double floating = 0;
        if (convert_floating(param, value, function, &floating) != 0) {
            return -1;
        }
        memcpy(param->on_stack ? (void *)&stack[param->index] : (void *)&registers->doubles[param->index], &floating,
               sizeof floating);
        return 0;
    }
    uint64_t *where = param->on_stack ? &stack[param->index] : &registers->integers[param->index];
    return param->kind == KIND_BOOL ? convert_bool(param, value, function, where)
                                    : convert_integer(param, value, function, where);
}
