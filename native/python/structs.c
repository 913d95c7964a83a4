/* Structs by value: into the registers and words in which a function expects them, and out of them again (System V ABI,
 * AMD64 supplement, 3.2.3).  ctypes could do it too, but libffi puts some that find too few registers into the wrong ones. */
#include "core.h"

/* Whether another class than the version's own describes the same struct: one kept from before a swap, or a user's. */
static int
check_struct(const Param *param, PyObject *type, PyObject *value, PyObject *function)
{
    const char *name = ((PyTypeObject *)param->extra)->tp_name;
    PyObject *why = Py_IS_TYPE(type, Py_TYPE(param->extra)) ? PyObject_CallOneArg(param->misfit, type) : PyUnicode_New(0, 0);
    if (why == NULL || why == Py_None) {
        Py_XDECREF(why);
        return why != NULL ? 0 : -1;
    }
    PyObject *text = PyUnicode_FromFormat("%U%smake one with midflight.types(module).%s(...)", why,
                                          PyUnicode_GetLength(why) != 0 ? "; " : "", name);
    Py_DECREF(why);
    const char *detail = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (detail != NULL) {
        wrong_type(param, value, function, detail);
    }
    Py_XDECREF(text);
    return -1;
}

/* A struct by value: its eightbytes into the registers of their classes, or all of it onto the stack. */
int
convert_struct(const Param *param, PyObject *value, PyObject *function, mf_registers *registers, uint64_t *stack)
{
    PyObject *type = (PyObject *)Py_TYPE(value);
    Py_buffer view;
    if ((type != param->extra && check_struct(param, type, value, function) != 0) ||
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) != 0) {
        return -1;
    }
    uint64_t words[MF_STACK_WORDS] = {0};
    size_t size = (size_t)view.len < sizeof words ? (size_t)view.len : sizeof words;
    memcpy(words, view.buf, size);
    PyBuffer_Release(&view);
    if (param->on_stack) {
        memcpy(stack + param->index, words, ((size_t)param->item_size + 7) / 8 * 8);
        return 0;
    }
    size_t integer = param->index, floating = param->second;
    const char *classes = PyUnicode_AsUTF8(param->target);
    for (size_t i = 0; classes[i] != '\0'; i++) {
        memcpy(classes[i] == 'D' ? (void *)&registers->doubles[floating++] : (void *)&registers->integers[integer++],
               &words[i], sizeof words[i]);
    }
    return 0;
}

PyObject *
struct_from_results(const Binding *binding, const mf_results *results, const char *memory)
{
    char bytes[2 * sizeof(uint64_t)];
    const char *data = memory, *classes = PyUnicode_AsUTF8(binding->result_target);
    if (classes == NULL) {
        return NULL;
    }
    if (classes[0] != 'M') {
        size_t integer = 0, floating = 0;
        for (size_t i = 0; i < 2 && (classes[i] == 'I' || classes[i] == 'D'); i++) {
            memcpy(bytes + i * sizeof(uint64_t),
                   classes[i] == 'D' ? (const void *)&results->doubles[floating++]
                                     : (const void *)&results->integers[integer++],
                   sizeof(uint64_t));
        }
        data = bytes;
    }
    return PyObject_CallMethod(binding->result_extra, "from_buffer_copy", "y#", data, (Py_ssize_t)binding->result_size);
}
