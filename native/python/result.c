/* From a register to a Python object. */
#include "core.h"

static PyObject *
from_string(uint64_t value)
{
    const char *text = (const char *)(uintptr_t)value;
    if (text == NULL) {
        Py_RETURN_NONE;
    }
    /* Bytes that aren't UTF-8 come as surrogates, so that nothing is lost and nothing fails. */
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

/* The member of an enumeration, or the plain number where no enumerator has that value. */
static PyObject *
from_enum(const Binding *binding, PyObject *number)
{
    if (number == NULL || !PyDict_CheckExact(binding->result_extra)) {
        return number;
    }
    PyObject *member = PyDict_GetItemWithError(binding->result_extra, number);
    if (member == NULL) {
        if (PyErr_Occurred()) {
            Py_CLEAR(number);
        }
        return number;
    }
    Py_DECREF(number);
    return Py_NewRef(member);
}

PyObject *
result_from_integer(const Binding *binding, Table *table, uint64_t value, PyObject *link)
{
    switch ((Kind)binding->result) {
    case KIND_VOID: Py_RETURN_NONE;
    case KIND_BOOL: return PyBool_FromLong((uint8_t)value != 0);
    case KIND_INT8: return from_enum(binding, PyLong_FromLong((int8_t)value));
    case KIND_INT16: return from_enum(binding, PyLong_FromLong((int16_t)value));
    case KIND_INT32: return from_enum(binding, PyLong_FromLong((int32_t)value));
    case KIND_INT64: return from_enum(binding, PyLong_FromLongLong((int64_t)value));
    case KIND_UINT8: return from_enum(binding, PyLong_FromLong((uint8_t)value));
    case KIND_UINT16: return from_enum(binding, PyLong_FromLong((uint16_t)value));
    case KIND_UINT32: return from_enum(binding, PyLong_FromUnsignedLong((uint32_t)value));
    case KIND_UINT64: return from_enum(binding, PyLong_FromUnsignedLongLong(value));
    case KIND_STRING: return from_string(value);
    case KIND_POINTER:
    case KIND_CALLBACK:
        return pointer_new(table, (uintptr_t)value, binding->result_type, binding->result_target,
                           binding->result_extra, link);
    case KIND_FLOAT32:
    case KIND_FLOAT64:
    case KIND_STRUCT: break;
    }
    PyErr_SetString(PyExc_ValueError, "this result is no integer and no address");
    return NULL;
}

PyObject *
result_from_double(const Binding *binding, double value)
{
    if (binding->result == KIND_FLOAT32) {
        float narrow;
        memcpy(&narrow, &value, sizeof narrow); /* it travels in the low half of the register */
        value = narrow;
    }
    return PyFloat_FromDouble(value);
}
