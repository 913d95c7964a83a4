/* Raising midflight's own exceptions from C. */
#include "core.h"

Errors errors;

int
errors_ready(void)
{
    static const struct {
        PyObject **where;
        const char *name;
    } names[] = {
        {&errors.argument_type, "ArgumentTypeError"},
        {&errors.argument_range, "ArgumentRangeError"},
        {&errors.missing, "MissingFunction"},
        {&errors.unsupported, "UnsupportedFunctionError"},
        {&errors.unloaded, "UnloadedError"},
        {&errors.native_exception, "NativeExceptionError"},
        {&errors.bad_library, "BadLibraryError"},
        {&errors.wrong_machine, "WrongMachineError"},
        {&errors.load, "LoadError"},
        {&errors.constructor, "ConstructorError"},
        {&errors.swap_inside, "SwapInsideError"},
        {&errors.base, "MidflightError"},
        {&errors.faults, "FAULTS"},
        {&errors.crashes, "CRASHES"},
        {&errors.not_called, "NOT_CALLED"},
    };
    PyObject *module = PyImport_ImportModule("midflight._errors");
    if (module == NULL) {
        return -1;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *names[i].where = PyObject_GetAttrString(module, names[i].name);
        if (*names[i].where == NULL) {
            Py_DECREF(module);
            return -1;
        }
    }
    Py_DECREF(module);
    return 0;
}

static void
raise_with(PyObject *type, PyObject *text, PyObject *keywords)
{
    PyObject *arguments = text != NULL && keywords != NULL ? PyTuple_Pack(1, text) : NULL;
    PyObject *error = arguments != NULL ? PyObject_Call(type, arguments, keywords) : NULL;
    if (error != NULL) {
        PyErr_SetObject(type, error);
        Py_DECREF(error);
    }
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    Py_XDECREF(text);
}

void
raise_error(PyObject *type, PyObject *subject, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    PyObject *text = PyUnicode_FromFormatV(format, values);
    va_end(values);
    raise_with(type, text, subject != NULL ? Py_BuildValue("{sO}", "subject", subject) : PyDict_New());
}

void
raise_native(PyObject *type, PyObject *subject, const mf_exception_text *thrown)
{
    const char *type_name = thrown->type_name[0] != '\0' ? thrown->type_name : "unknown type";
    PyObject *text = thrown->what[0] != '\0'
                         ? PyUnicode_FromFormat("C++ exception: %s", thrown->what)
                         : PyUnicode_FromFormat("C++ exception of type %s", type_name);
    PyObject *keywords = Py_BuildValue("{sO}", "subject", subject);
    if (keywords != NULL && type == errors.native_exception) {
        PyObject *name = PyUnicode_DecodeUTF8(thrown->type_name, (Py_ssize_t)strlen(thrown->type_name), "replace");
        if (name == NULL || PyDict_SetItemString(keywords, "type_name", name) != 0) {
            Py_CLEAR(keywords);
        }
        Py_XDECREF(name);
    }
    raise_with(type, text, keywords);
}
