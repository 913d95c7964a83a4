/* What Python is told of crashes, and where it wants them noted. */
#include "core.h"

#include "../crash_note.h"
#include "../crash_record.h"
#include "../crash_signals.h"
#include "../guard.h"

PyObject *
crash_describe(const mf_crash *crash)
{
    uint32_t number = atomic_load(&crash->signal), count = crash->count;
    if (number == 0) {
        Py_RETURN_NONE;
    }
    PyObject *frames = PyList_New(0);
    for (uint32_t i = 0; frames != NULL && i < count && i < MF_FRAMES; i++) {
        PyObject *address = PyLong_FromUnsignedLongLong(crash->frames[i]);
        if (address == NULL || PyList_Append(frames, address) != 0) {
            Py_CLEAR(frames);
        }
        Py_XDECREF(address);
    }
    return frames != NULL ? Py_BuildValue("(IiKNI)", number, (int)crash->code, (unsigned long long)crash->address,
                                          frames, crash->thread)
                          : NULL;
}

/* What a callback had raised before is why, as far as anybody knows. */
static void
raise_crash(PyObject *error, PyObject *pending)
{
    if (error == NULL || !PyExceptionInstance_Check(error)) {
        Py_XDECREF(error);
        Py_XDECREF(pending);
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "on_crash returned no exception");
        }
        return;
    }
    if (pending != NULL) {
        PyException_SetContext(error, pending);
    }
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

/* The call has left before anybody is told: going back to another version waits for those inside. */
PyObject *
leave_crashed(Frame *frame, const Binding *binding, const mf_crash *crash)
{
    Table *table = (Table *)Py_NewRef(frame->table);
    PyObject *name = Py_NewRef(binding->name), *pending = frame->pending, *on_crash = Py_XNewRef(table->on_crash);
    PyObject *told = crash_describe(crash), *error = NULL;
    frame->pending = NULL;
    leave(frame);
    if (told != NULL && on_crash != NULL) {
        error = PyObject_CallFunctionObjArgs(on_crash, name, told, NULL);
    } else if (told != NULL) {
        raise_error(errors.base, name, "crashed by signal %u", crash->signal);
    }
    raise_crash(error, pending);
    Py_XDECREF(told);
    Py_XDECREF(on_crash);
    Py_DECREF(name);
    Py_DECREF(table);
    return NULL;
}

/* The view is never given back: the memory is written to when the process crashes. */
static PyObject *
note_crashes(PyObject *Py_UNUSED(module), PyObject *object)
{
    static Py_buffer view;
    if (view.obj != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the first crash of this process is noted already");
        return NULL;
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_WRITABLE) != 0) {
        return NULL;
    }
    if ((size_t)view.len < sizeof(mf_crash) || (uintptr_t)view.buf % _Alignof(mf_crash) != 0) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "a note of a crash needs more room");
        return NULL;
    }
    if (!mf_crash_note_first(view.buf, MF_ALL_ENDS)) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

static PyObject *
read_crash(PyObject *Py_UNUSED(module), PyObject *object)
{
    Py_buffer view;
    mf_crash crash;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    bool enough = (size_t)view.len >= sizeof crash;
    if (enough) {
        memcpy(&crash, view.buf, sizeof crash); /* its process may still be writing to it */
    }
    PyBuffer_Release(&view);
    if (!enough) {
        PyErr_SetString(PyExc_ValueError, "too short for a note of a crash");
        return NULL;
    }
    return crash_describe(&crash);
}

/* Its memory is held until there is another one. */
static PyObject *
record_crashes(PyObject *Py_UNUSED(module), PyObject *object)
{
    static Py_buffer held;
    Py_buffer view = {.obj = NULL};
    if (object != Py_None && PyObject_GetBuffer(object, &view, PyBUF_WRITABLE) != 0) {
        return NULL;
    }
    if (view.obj != NULL && ((size_t)view.len < sizeof(mf_record) || (uintptr_t)view.buf % _Alignof(mf_record) != 0)) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "a record of a crash needs more room, in whole pages");
        return NULL;
    }
    bool begun = mf_record_begin(view.buf);
    PyBuffer_Release(&held);
    held = view;
    return begun ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

static PyObject *
end_record(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    mf_record_end();
    Py_RETURN_NONE;
}

static PyObject *
read_record(PyObject *Py_UNUSED(module), PyObject *object)
{
    Py_buffer view;
    mf_record head;
    enum { HEAD = offsetof(mf_record, places) };
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    bool enough = (size_t)view.len >= sizeof head;
    if (enough) {
        memcpy(&head, view.buf, HEAD);
    }
    PyBuffer_Release(&view);
    if (!enough || head.magic != MF_RECORD_MAGIC) {
        PyErr_SetString(PyExc_ValueError, "no record of a crash");
        return NULL;
    }
    PyObject *crash = head.written != 0 ? crash_describe(&head.crash) : Py_NewRef(Py_None);
    return crash != NULL ? Py_BuildValue("(LLNK(KKK))", (long long)head.ended_at, (long long)head.crashed_at, crash,
                                         (unsigned long long)head.line, (unsigned long long)head.base,
                                         (unsigned long long)head.low, (unsigned long long)head.high)
                         : NULL;
}

/* For a crash that has destroyed its stack. */
static uintptr_t
called_here(void)
{
    return innermost != NULL && innermost->binding != NULL ? innermost->binding->address : 0;
}

static PyObject *
crash_stack(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (!mf_crash_stack()) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

static PyObject *
arm_crash_signals(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    bool armed;
    Py_BEGIN_ALLOW_THREADS
    armed = mf_crash_signals_arm(MF_CRASHES);
    Py_END_ALLOW_THREADS
    return armed ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

static PyMethodDef functions[] = {
    {"arm_crash_signals", arm_crash_signals, METH_NOARGS, "Let the signals of a crash come here first."},
    {"record_crashes", record_crashes, METH_O, "Record a crash of a version in memory from now on."},
    {"end_record", end_record, METH_NOARGS, "Note that the program ends as it should."},
    {"read_record", read_record, METH_O, "Return what such a record says."},
    {"crash_stack", crash_stack, METH_NOARGS, "Give this thread a stack for a crash's handler."},
    {"note_crashes", note_crashes, METH_O, "Note the first crash of this process in memory."},
    {"read_crash", read_crash, METH_O, "Return what such a note says, None if there was no crash."},
    {NULL, NULL, 0, NULL},
};

int
crashes_ready(PyObject *module)
{
    mf_record_called = called_here;
    if (PyModule_AddIntConstant(module, "CRASH_NOTE_SIZE", sizeof(mf_crash)) != 0 ||
        PyModule_AddIntConstant(module, "RECORD_SIZE", sizeof(mf_record)) != 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
