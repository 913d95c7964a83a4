/* From Python objects to argument registers: everything but the commonest numbers, which function.c does in line. */
#include "core.h"

static PyTypeObject *ctypes_pointer, *ctypes_function, *ctypes_simple, *ctypes_array, *ctypes_data;

int
convert_ready(void)
{
    static const struct {
        PyTypeObject **where;
        const char *name;
    } names[] = {
        {&ctypes_pointer, "_Pointer"}, {&ctypes_function, "CFuncPtr"}, {&ctypes_simple, "_SimpleCData"},
        {&ctypes_array, "Array"},      {&ctypes_data, NULL},
    };
    PyObject *module = PyImport_ImportModule("_ctypes");
    if (module == NULL) {
        return -1;
    }
    for (size_t i = 0; names[i].name != NULL; i++) {
        *names[i].where = (PyTypeObject *)PyObject_GetAttrString(module, names[i].name);
        if (*names[i].where == NULL) {
            Py_DECREF(module);
            return -1;
        }
    }
    Py_DECREF(module);
    ctypes_data = (PyTypeObject *)Py_NewRef((PyObject *)ctypes_simple->tp_base); /* _ctypes._CData isn't exported */
    return 0;
}

static int
wrong_type(const Param *param, PyObject *value, PyObject *function, const char *detail)
{
    raise_error(errors.argument_type, function, "parameter %R is %U, and %s can't be passed to it%s%s", param->name,
                param->type_name, Py_TYPE(value)->tp_name, detail[0] != '\0' ? ": " : "", detail);
    return -1;
}

/* ---- numbers -------------------------------------------------------------------------------------------------------- */

static int
out_of_range(const Param *param, PyObject *value, PyObject *function)
{
    raise_error(errors.argument_range, function, "parameter %R is %U, and %R doesn't fit it", param->name,
                param->type_name, value);
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
        return -1;
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
    PyObject *number = PyIndex_Check(value) ? PyNumber_Index(value) : PyBool_FromLong(PyObject_IsTrue(value));
    if (number == NULL) {
        return -1;
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
            return -1;
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
        double floating;
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

/* ---- what a buffer holds ---------------------------------------------------------------------------------------------- */

/* The class of one item of a buffer: a letter of _core.pyi's list, or 0 where the format is none of ours. */
static char
class_of_format(const char *format)
{
    if (format == NULL) {
        return 'u'; /* PEP 3118: no format means unsigned bytes */
    }
    if (format[0] == '<' || format[0] == '=' || format[0] == '@') {
        format++;
    }
    if (format[0] == 'T' && format[1] == '{') {
        return 'r';
    }
    if (format[0] == '&' || format[0] == 'X') {
        return 'p';
    }
    if (format[0] == '\0' || format[1] != '\0') {
        return 0;
    }
    return strchr("bhilqn", format[0]) != NULL   ? 'i'
           : strchr("BHILQN", format[0]) != NULL ? 'u'
           : strchr("efd", format[0]) != NULL    ? 'f'
           : strchr("PzZO", format[0]) != NULL   ? 'p'
           : format[0] == '?'                    ? 'b'
           : format[0] == 'c' || format[0] == 's' ? 'c'
                                                 : 0;
}

static bool
is_bytes(char class, Py_ssize_t size)
{
    return size == 1 && (class == 'i' || class == 'u' || class == 'c');
}

/* Whether an array of (class, size) may be read as the parameter's items. */
static bool
items_fit(const Param *param, char class, const Py_buffer *view)
{
    char wanted = param->item;
    if (wanted == 'v') {
        return true;
    }
    if (wanted == 'r') {
        /* Structured data, or plain bytes in whole structs. */
        bool whole = param->item_size != 0 && view->len % (Py_ssize_t)param->item_size == 0 && view->len != 0;
        return (class == 'r' && view->itemsize == (Py_ssize_t)param->item_size) || (is_bytes(class, view->itemsize) && whole);
    }
    if (param->item_size == 1 && (wanted == 'i' || wanted == 'u' || wanted == 'c')) {
        return is_bytes(class, view->itemsize);
    }
    return class == wanted && view->itemsize == (Py_ssize_t)param->item_size;
}

static int
check_view(const Param *param, PyObject *value, PyObject *function, const Py_buffer *view)
{
    if (view->readonly && !param->constant) {
        return wrong_type(param, value, function,
                          "it is read-only, and the function may write there; pass a writable buffer (a bytearray, a "
                          "numpy array), or declare the parameter const");
    }
    if (!PyBuffer_IsContiguous(view, 'C')) {
        return wrong_type(param, value, function,
                          "its items aren't contiguous in memory; pass a copy (numpy.ascontiguousarray)");
    }
    if (!items_fit(param, class_of_format(view->format), view)) {
        char detail[160];
        snprintf(detail, sizeof detail, "its items have the format '%.60s' (%zd bytes each)",
                 view->format != NULL ? view->format : "B", view->itemsize);
        return wrong_type(param, value, function, detail);
    }
    return 0;
}

static int
convert_buffer(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    Py_buffer *view = &views->view[views->count];
    if (PyObject_GetBuffer(value, view, PyBUF_RECORDS_RO) != 0) {
        PyErr_Clear();
        return wrong_type(param, value, function, "it offers no memory that can be shared");
    }
    views->count++; /* from here on it is released with the others */
    if (check_view(param, value, function, view) != 0) {
        return -1;
    }
    *address = (uint64_t)(uintptr_t)view->buf;
    return 0;
}

/* ---- pointers ----------------------------------------------------------------------------------------------------------- */

static int
convert_text(const Param *param, PyObject *value, PyObject *function, uint64_t *address)
{
    if (param->item != 'c' || !param->constant) {
        return wrong_type(param, value, function, "a str can be passed to a `const char *` only");
    }
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text == NULL) {
        PyErr_Clear();
        return wrong_type(param, value, function, "it has surrogates, which UTF-8 can't hold");
    }
    if (strlen(text) != (size_t)size) {
        return wrong_type(param, value, function, "it contains a NUL character, where C would see its end");
    }
    *address = (uint64_t)(uintptr_t)text;
    return 0;
}

/* Whether the pointer of a ctypes object points to what the parameter wants. */
static bool
target_fits(const Param *param, PyObject *value)
{
    if (param->item == 'v') {
        return true;
    }
    PyObject *target = PyObject_GetAttrString((PyObject *)Py_TYPE(value), "_type_");
    if (target == NULL) {
        PyErr_Clear();
        return false;
    }
    bool fits = target == param->extra;
    if (!fits && PyUnicode_Check(target)) {
        /* c_void_p goes anywhere, as in C; c_char_p to characters. */
        fits = PyUnicode_CompareWithASCIIString(target, "P") == 0 ||
               (PyUnicode_CompareWithASCIIString(target, "z") == 0 && param->item == 'c');
    }
    Py_DECREF(target);
    return fits;
}

/* A ctypes pointer: what it holds, not where it is itself. */
static int
convert_ctypes_pointer(const Param *param, PyObject *value, PyObject *function, uint64_t *address)
{
    Py_buffer view;
    if (!target_fits(param, value)) {
        return wrong_type(param, value, function, "it points to something else");
    }
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) != 0) {
        return -1;
    }
    memcpy(address, view.buf, sizeof *address);
    PyBuffer_Release(&view);
    return 0;
}

static bool
is_ctypes_pointer(PyObject *value)
{
    if (PyObject_TypeCheck(value, ctypes_pointer)) {
        return true;
    }
    if (!PyObject_TypeCheck(value, ctypes_simple)) {
        return false;
    }
    PyObject *code = PyObject_GetAttrString((PyObject *)Py_TYPE(value), "_type_");
    bool pointer = code != NULL && PyUnicode_Check(code) && (PyUnicode_CompareWithASCIIString(code, "P") == 0 ||
                                                             PyUnicode_CompareWithASCIIString(code, "z") == 0);
    Py_XDECREF(code);
    PyErr_Clear();
    return pointer;
}

/* A struct made by ctypes: its class must be the parameter's, or (kept from before a swap) have the same name, size and
 * fields. */
static int
check_struct(const Param *param, PyObject *value, PyObject *function)
{
    if (param->item != 'r' || !PyType_Check(param->extra)) {
        return 0;
    }
    PyObject *class = (PyObject *)Py_TYPE(value);
    PyObject *element = NULL;
    if (PyObject_TypeCheck(value, ctypes_array)) {
        element = PyObject_GetAttrString(class, "_type_");
        if (element == NULL) {
            return -1;
        }
        class = element;
    }
    int fits = class == param->extra;
    if (!fits) {
        PyObject *same = PyObject_CallMethod(param->extra, "_midflight_matches", "O", class);
        fits = same != NULL ? PyObject_IsTrue(same) : -1;
        if (same == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            fits = 0;
        }
        Py_XDECREF(same);
    }
    Py_XDECREF(element);
    return fits > 0 ? 0 : fits < 0 ? -1 : wrong_type(param, value, function, "it is another struct, or has another layout");
}

static int
convert_callback(const Param *param, PyObject *value, PyObject *function, uint64_t *address)
{
    if (param->extra == Py_None) {
        return wrong_type(param, value, function, "the type of the function that it points to isn't known");
    }
    PyObject *made = PyObject_CallFunctionObjArgs(param->extra, value, NULL);
    if (made == NULL) {
        return -1;
    }
    if (made == Py_None) {
        Py_DECREF(made);
        return wrong_type(param, value, function, "something that can be called is expected");
    }
    *address = PyLong_AsUnsignedLongLong(made);
    Py_DECREF(made);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

int
convert_pointer(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    if (value == Py_None) {
        *address = 0;
        return 0;
    }
    if (Py_IS_TYPE(value, PointerType)) {
        return pointer_address(value, param, function, address);
    }
    if (param->kind == KIND_CALLBACK) {
        return convert_callback(param, value, function, address);
    }
    if (PyUnicode_Check(value)) {
        return convert_text(param, value, function, address);
    }
    if (PyBytes_CheckExact(value) && param->constant && (param->item == 'c' || param->item == 'v')) {
        *address = (uint64_t)(uintptr_t)PyBytes_AS_STRING(value);
        return 0;
    }
    if (PyObject_TypeCheck(value, ctypes_data)) {
        if (PyObject_TypeCheck(value, ctypes_function) || is_ctypes_pointer(value)) {
            /* For `T **` the pointer object itself is the item that is pointed to. */
            return param->item == 'p' ? convert_buffer(param, value, function, address, views)
                                      : convert_ctypes_pointer(param, value, function, address);
        }
        if (check_struct(param, value, function) != 0) {
            return -1;
        }
    }
    if (param->item == 'o') {
        return wrong_type(param, value, function, "only a pointer that the library gave, or None, is known to fit");
    }
    return convert_buffer(param, value, function, address, views);
}
