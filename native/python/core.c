/* The extension module midflight._core; its contract is src/midflight/_core.pyi. */
#include "core.h"

#include "../elf_file.h"
#include "../guard.h"

PyObject *cell_switch(PyObject *module, PyObject *pairs);
PyObject *trace_run(PyObject *module, PyObject *arguments, PyObject *keywords);
PyObject *run_guarded(PyObject *module, PyObject *arguments);
PyObject *spawn(PyObject *module, PyObject *arguments);

static PyObject *
check(PyObject *Py_UNUSED(module), PyObject *object)
{
    Py_buffer data;
    if (PyObject_GetBuffer(object, &data, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    mf_elf elf;
    mf_failure failure;
    /* The check only reads; the bytes of a Python buffer are aligned well enough for an ELF file's structures. */
    mf_failure_kind kind = mf_elf_check(&elf, data.buf, (size_t)data.len, &failure);
    PyBuffer_Release(&data);
    if (kind != MF_OK) {
        raise_error(kind == MF_WRONG_MACHINE ? errors.wrong_machine : errors.bad_library, NULL, "%s", failure.text);
        return NULL;
    }
    return PyBool_FromLong((elf.flags_1 & DF_1_NODELETE) == 0);
}

/* The names of the libraries that a library needs, and the search paths it gives, joined with ":". */
static PyObject *
needs(PyObject *Py_UNUSED(module), PyObject *object)
{
    Py_buffer data;
    if (PyObject_GetBuffer(object, &data, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    mf_elf elf;
    mf_failure failure;
    PyObject *names = PyList_New(0), *paths = PyList_New(0);
    if (mf_elf_check(&elf, data.buf, (size_t)data.len, &failure) != MF_OK) {
        raise_error(errors.bad_library, NULL, "%s", failure.text);
        Py_CLEAR(names);
    }
    for (size_t i = 0; names != NULL && i < elf.dynamic_count; i++) {
        int64_t tag = elf.dynamic[i].d_tag;
        if (tag == DT_NEEDED || tag == DT_RPATH || tag == DT_RUNPATH) {
            PyObject *text = PyUnicode_DecodeFSDefault(elf.strings + elf.dynamic[i].d_un.d_val);
            if (text == NULL || PyList_Append(tag == DT_NEEDED ? names : paths, text) != 0) {
                Py_CLEAR(names);
            }
            Py_XDECREF(text);
        }
    }
    PyBuffer_Release(&data);
    return names != NULL ? Py_BuildValue("(NN)", names, paths) : (Py_XDECREF(paths), NULL);
}

static PyObject *
after_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    table_after_fork();
    Py_RETURN_NONE;
}

/* For lanes whose calls are made in Python. */
static PyObject *
raised_by_callback(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (innermost != NULL) {
        note_raised_by_callback(innermost);
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"check", check, METH_O, "Raise unless these bytes can be loaded safely; return whether they can be unloaded."},
    {"needs", needs, METH_O, "Return ([names of needed libraries], [search paths])."},
    {"switch", cell_switch, METH_O, "Make each table current in its cell, all at once."},
    {"trace", (PyCFunction)(void (*)(void))trace_run, METH_VARARGS | METH_KEYWORDS, "Follow all pointers from some roots on."},
    {"spawn", spawn, METH_VARARGS, "Start a process; return its number and a pidfd."},
    {"run_guarded", run_guarded, METH_VARARGS, "Run a hook; return its result, or (signal, address) of its crash."},
    {"raised_by_callback", raised_by_callback, METH_NOARGS, "Note that what is about to leave a call is a callback's."},
    {"after_fork", after_fork, METH_NOARGS, "Forget the calls and threads that a fork didn't take along."},
    {NULL, NULL, 0, NULL},
};

static int
add_address(PyObject *module, const char *name, uintptr_t address)
{
    PyObject *number = PyLong_FromUnsignedLongLong(address);
    int problem = number != NULL ? PyModule_AddObjectRef(module, name, number) : -1;
    Py_XDECREF(number);
    return problem;
}

static int
execute(PyObject *module)
{
    int (*const steps[])(PyObject *) = {binding_ready,  table_ready,   cell_ready, function_ready,
                                        callback_ready, pointer_ready, image_ready,
                                        link_ready,     worker_ready,  shared_ready,  entries_ready, holder_ready,
                                        mapping_ready,  plan_ready,    trace_ready,    dies_ready,
                                        gate_ready,     heap_ready, block_ready,
                                        crashes_ready,  observer_ready, canary_ready};
    /* Its types and exceptions are one set for the process; CPython 3.11 would let a sub-interpreter replace them. */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "midflight serves the main interpreter only");
        return -1;
    }
    if (errors_ready() != 0 || convert_ready() != 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i](module) != 0) {
            return -1;
        }
    }
    return add_address(module, "through", (uintptr_t)mf_call_through) != 0
               ? -1
               : add_address(module, "guarded_through", (uintptr_t)mf_guard_call_through);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "midflight._core",
    .m_doc = "The native core of midflight.",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
