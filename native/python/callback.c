/* Callback: what native code calls when it calls a Python function.
 *
 * Guarantee: no exception gets lost.  One that the function raises, or that is raised before its first instruction (a
 * KeyboardInterrupt, a RecursionError), is kept for the call into the module that this thread is in; where there is none
 * it is handed to `unheard`.  Native code gets `fallback` then.
 */
#include "core.h"

#include <structmember.h>

#include "../guard.h"

PyTypeObject *CallbackType;

typedef struct Callback {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function, *fallback, *unheard;
} Callback;

/* Takes the current exception away. */
static PyObject *
take_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

bool
leave_behind(void)
{
    if (innermost == NULL) {
        return false;
    }
    PyObject *exception = take_exception();
    /* The first one is the cause of whatever follows. */
    if (innermost->pending == NULL) {
        innermost->pending = exception;
    } else {
        Py_DECREF(exception);
    }
    return true;
}

static void
keep_exception(Callback *self)
{
    if (leave_behind()) {
        return;
    }
    PyObject *exception = take_exception();
    PyObject *result = PyObject_CallOneArg(self->unheard, exception);
    if (result == NULL) {
        PyErr_WriteUnraisable(self->unheard);
    }
    Py_XDECREF(result);
    Py_DECREF(exception);
}

static PyObject *
callback_call(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords)
{
    Callback *self = (Callback *)object;
    mf_guard_point *guard = mf_guard_suspend(); /* a crash from here on can't be left by a jump past Python's own frames */
    PyObject *result = PyObject_Vectorcall(self->function, args, flags, keywords);
    mf_guard_resume(guard);
    if (result != NULL) {
        return result;
    }
    keep_exception(self);
    return Py_NewRef(self->fallback);
}

static PyObject *
callback_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"function", "fallback", "unheard", NULL};
    PyObject *function, *fallback, *unheard;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOO", names, &function, &fallback, &unheard)) {
        return NULL;
    }
    if (!PyCallable_Check(function) || !PyCallable_Check(unheard)) {
        PyErr_SetString(PyExc_TypeError, "function and unheard must be callable");
        return NULL;
    }
    Callback *self = (Callback *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = callback_call;
        self->function = Py_NewRef(function);
        self->fallback = Py_NewRef(fallback);
        self->unheard = Py_NewRef(unheard);
    }
    return (PyObject *)self;
}

static int
callback_traverse(PyObject *object, visitproc visit, void *arg)
{
    Callback *self = (Callback *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->function);
    Py_VISIT(self->fallback);
    Py_VISIT(self->unheard);
    return 0;
}

/* No tp_clear: native code may call it at any time, so it stays whole; a cycle through it is broken at the function. */
static void
callback_dealloc(PyObject *object)
{
    Callback *self = (Callback *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->function);
    Py_CLEAR(self->fallback);
    Py_CLEAR(self->unheard);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Callback, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What native code calls when it calls a Python function: keeps its exceptions."},
    {Py_tp_new, callback_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, callback_traverse},
    {Py_tp_dealloc, callback_dealloc},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Callback",
    .basicsize = sizeof(Callback),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
callback_ready(PyObject *module)
{
    CallbackType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return CallbackType != NULL ? PyModule_AddType(module, CallbackType) : -1;
}
