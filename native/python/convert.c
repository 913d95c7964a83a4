/* From Python objects to pointers: buffers, text, ctypes objects, callables. */
#include "core.h"

#include "../shared.h"

static PyTypeObject *ctypes_pointer, *ctypes_function, *ctypes_simple, *ctypes_array, *ctypes_data;

PyObject *type_attribute;

static PyTypeObject *handle_type; /* midflight._handles.Handle */

int
convert_ready(void)
{
    PyObject *handles = PyImport_ImportModule("midflight._handles");
    handle_type = handles != NULL ? (PyTypeObject *)PyObject_GetAttrString(handles, "Handle") : NULL;
    Py_XDECREF(handles);
    if (handle_type == NULL) {
        return -1;
    }
    /* One string for all look-ups: the interpreter's cache of attributes would keep each that is made anew. */
    type_attribute = PyUnicode_InternFromString("_type_");
    if (type_attribute == NULL) {
        return -1;
    }
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

/* Whether an array of (class, size) may be read as the parameter's items, which are no structs. */
static bool
items_fit(const Param *param, char class, const Py_buffer *view)
{
    char wanted = param->item;
    if (wanted == 'v') {
        return true;
    }
    if (param->item_size == 1 && (wanted == 'i' || wanted == 'u' || wanted == 'c')) {
        return is_bytes(class, view->itemsize);
    }
    return class == wanted && view->itemsize == (Py_ssize_t)param->item_size;
}

static int
wrong_items(const Param *param, PyObject *value, PyObject *function, const Py_buffer *view)
{
    char detail[200];
    snprintf(detail, sizeof detail, "its items have the format '%.60s' (%zd bytes each)",
             view->format != NULL ? view->format : "B", view->itemsize);
    return wrong_type(param, value, function, detail);
}

int
check_target(const Param *param, PyObject *given, PyObject *value, PyObject *function)
{
    if (given == param->extra) {
        return 0;
    }
    if (param->misfit == Py_None) {
        return wrong_type(param, value, function, "what it points to isn't known");
    }
    PyObject *why = PyObject_CallFunctionObjArgs(param->misfit, given, NULL);
    if (why == NULL) {
        return -1;
    }
    int problem = 0;
    if (why != Py_None) {
        const char *text = PyUnicode_AsUTF8(why);
        problem = text != NULL ? wrong_type(param, value, function, text) : -1;
    }
    Py_DECREF(why);
    return problem;
}

/* Structs: plain bytes in whole structs, or structured items with the struct's own fields. */
static int
check_structs(const Param *param, PyObject *value, PyObject *function, const Py_buffer *view)
{
    char class = class_of_format(view->format);
    Py_ssize_t size = (Py_ssize_t)param->item_size;
    if (is_bytes(class, view->itemsize)) {
        if (size != 0 && view->len != 0 && view->len % size == 0) {
            return 0;
        }
        char detail[120];
        snprintf(detail, sizeof detail, "%zd bytes aren't a whole number of structs of %zd", view->len, size);
        return wrong_type(param, value, function, detail);
    }
    if (class != 'r' || view->itemsize != size) {
        return wrong_items(param, value, function, view);
    }
    PyObject *format = PyUnicode_FromString(view->format);
    int problem = format != NULL ? check_target(param, format, value, function) : -1;
    Py_XDECREF(format);
    return problem;
}

/* `known`: its class has been found to be the parameter's, so its items needn't be looked at. */
static int
check_view(const Param *param, PyObject *value, PyObject *function, const Py_buffer *view, bool known)
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
    if (known) {
        return 0;
    }
    if (param->item == 'r') {
        return check_structs(param, value, function, view);
    }
    return items_fit(param, class_of_format(view->format), view) ? 0 : wrong_items(param, value, function, view);
}

/* Sets the address; for a call into another process it is one there in the end, and what is here goes there. */
static void
point_to(uint64_t *address, const void *data, size_t size, bool back, Views *views)
{
    *address = (uint64_t)(uintptr_t)data;
    if (views->spans != NULL) {
        views->spans[views->span_count++] = (Span){address, (char *)(uintptr_t)data, size, back};
    }
}

/* Whether it is what ctypes.byref() returns, whose type has no public name; from 3.12 on it is spelled with its module. */
static bool
is_byref(PyObject *value)
{
    const char *name = Py_TYPE(value)->tp_name;
    return strcmp(name, "CArgObject") == 0 || strcmp(name, "_ctypes.CArgObject") == 0;
}

static int
convert_buffer(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views, bool known)
{
    if (views->spans != NULL && param->item == 'p') {
        return wrong_type(param, value, function, "a worker process can't follow pointers into this process's memory");
    }
    Py_buffer *view = &views->view[views->count];
    if (PyObject_GetBuffer(value, view, PyBUF_RECORDS_RO) != 0) {
        PyErr_Clear();
        return wrong_type(param, value, function,
                          is_byref(value) ? "pass the object itself, without ctypes.byref()"
                                          : "it offers no memory that can be shared");
    }
    views->count++; /* from here on it is released with the others */
    if (check_view(param, value, function, view, known) != 0) {
        return -1;
    }
    point_to(address, view->buf, (size_t)view->len, !param->constant && !view->readonly, views);
    return 0;
}

/* ---- pointers ----------------------------------------------------------------------------------------------------------- */

static int
convert_text(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
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
    point_to(address, text, (size_t)size + 1, false, views);
    return 0;
}

/* A Pointer.  One into memory that is shared with workers is good in any of them, which may have to be shown it. */
static int
convert_own_pointer(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    if (pointer_address(value, param, function, address, views->link) != 0) {
        return -1;
    }
    const char *data = (const char *)(uintptr_t)*address;
    if (views->spans != NULL && mf_shared_find(data, 1) != NULL) {
        point_to(address, data, 1, false, views);
    }
    return 0;
}

/* A typed block goes as it is, also into another process: its memory is shared. */
static int
convert_block(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    size_t size;
    if (block_address(value, param, function, address, &size) != 0) {
        return -1;
    }
    point_to(address, (const void *)(uintptr_t)*address, size, true, views);
    return 0;
}

/* Whether the pointer of a ctypes object points to what the parameter wants: 0, or -1 with an exception set. */
static int
check_pointed(const Param *param, PyObject *value, PyObject *function)
{
    if (param->item == 'v') {
        return 0;
    }
    PyObject *target = PyObject_GetAttr((PyObject *)Py_TYPE(value), type_attribute);
    if (target == NULL) {
        PyErr_Clear();
        return wrong_type(param, value, function, "it points to a function");
    }
    int problem = 0;
    if (!PyUnicode_Check(target)) {
        problem = check_target(param, target, value, function);
    } else if (PyUnicode_CompareWithASCIIString(target, "P") != 0 && (param->item != 'c' || !param->constant)) {
        /* c_void_p goes anywhere, as in C; c_char_p to characters that stay as they are: it may hold a bytes object. */
        problem = wrong_type(param, value, function, "it points to characters that may not be written");
    }
    Py_DECREF(target);
    return problem;
}

/* For a call into another process: what a ctypes pointer points to is taken along, as far as its size is known. */
static int
take_along(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    const char *data = (const char *)(uintptr_t)*address;
    size_t size = param->item == 'c' && param->constant ? strlen(data) + 1 : param->item_size;
    if (size == 0) {
        return wrong_type(param, value, function, "a worker process can't follow it; pass the object that it points to");
    }
    point_to(address, data, size, !param->constant, views);
    return 0;
}

/* A ctypes pointer: what it holds, not where it is itself. */
static int
convert_ctypes_pointer(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    Py_buffer view;
    if (check_pointed(param, value, function) != 0) {
        return -1;
    }
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) != 0) {
        return -1;
    }
    memcpy(address, view.buf, sizeof *address);
    PyBuffer_Release(&view);
    return views->spans != NULL && *address != 0 ? take_along(param, value, function, address, views) : 0;
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
    PyObject *code = PyObject_GetAttr((PyObject *)Py_TYPE(value), type_attribute);
    bool pointer = code != NULL && PyUnicode_Check(code) && (PyUnicode_CompareWithASCIIString(code, "P") == 0 ||
                                                             PyUnicode_CompareWithASCIIString(code, "z") == 0);
    Py_XDECREF(code);
    PyErr_Clear();
    return pointer;
}

/* The class of the items of a ctypes array, however many dimensions it has; of anything else its own class.  A new
 * reference. */
static PyObject *
item_class(PyObject *value)
{
    PyObject *class = Py_NewRef((PyObject *)Py_TYPE(value));
    while (class != NULL && PyType_IsSubtype((PyTypeObject *)class, ctypes_array)) {
        Py_SETREF(class, PyObject_GetAttr(class, type_attribute));
    }
    return class;
}

/* A struct, or an array of them, made by ctypes: its class must be the parameter's, or one with the same fields (kept
 * from before a swap, or the user's own).  Plain bytes are looked at by their size. */
static int
convert_ctypes_struct(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views)
{
    PyObject *class = item_class(value);
    if (class == NULL) {
        return -1;
    }
    bool known = !is_simple_ctype(class);
    int problem = known ? check_target(param, class, value, function) : 0;
    Py_DECREF(class);
    return problem == 0 ? convert_buffer(param, value, function, address, views, known) : -1;
}

bool
is_simple_ctype(PyObject *type)
{
    return PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, ctypes_simple);
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
        return convert_own_pointer(param, value, function, address, views);
    }
    if (holder_check(value)) {
        return holder_address(value, param, function, address, views->link);
    }
    if (param->item == 'v' && PyObject_TypeCheck(value, handle_type)) {
        *address = PyLong_AsUnsignedLongLong(value);
        return PyErr_Occurred() != NULL ? -1 : 0;
    }
    if (param->kind == KIND_CALLBACK) {
        return convert_callback(param, value, function, address);
    }
    if (block_check(value)) {
        return convert_block(param, value, function, address, views);
    }
    if (PyUnicode_Check(value)) {
        return convert_text(param, value, function, address, views);
    }
    if (PyBytes_CheckExact(value) && param->constant && (param->item == 'c' || param->item == 'v')) {
        point_to(address, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value) + 1, false, views);
        return 0;
    }
    if (PyObject_TypeCheck(value, ctypes_data)) {
        if (PyObject_TypeCheck(value, ctypes_function) || is_ctypes_pointer(value)) {
            /* For `T **` the pointer object itself is the item that is pointed to. */
            return param->item == 'p' ? convert_buffer(param, value, function, address, views, false)
                                      : convert_ctypes_pointer(param, value, function, address, views);
        }
        if (param->item == 'r') {
            return convert_ctypes_struct(param, value, function, address, views);
        }
    }
    if (param->item == 'o') {
        return wrong_type(param, value, function, "only a pointer that the library gave, or None, is known to fit");
    }
    return convert_buffer(param, value, function, address, views, false);
}
