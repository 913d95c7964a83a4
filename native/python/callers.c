/* Callers: which threads are inside a version, and in which functions. */
#include "core.h"

#include <pthread.h>

/* Where another thread keeps its `innermost`: thread-local variables of this model lie at the same distance from every
 * thread's descriptor, which is what glibc's pthread_t points to, and Python's number of a thread is. */
static Frame *
innermost_of(unsigned long thread)
{
    intptr_t distance = (intptr_t)&innermost - (intptr_t)pthread_self();
    return *(Frame **)(uintptr_t)((intptr_t)thread + distance);
}

/* Adds (thread, [names of functions, innermost first]) if it is inside. */
static int
add_calls(frame_test *wanted, const void *what, PyObject *list, PyObject *thread)
{
    unsigned long number = PyLong_AsUnsignedLong(thread);
    PyObject *names = PyErr_Occurred() ? NULL : PyList_New(0);
    int problem = names == NULL ? -1 : 0;
    for (const Frame *frame = problem == 0 ? innermost_of(number) : NULL; frame != NULL; frame = frame->outer) {
        if (problem == 0 && wanted(frame, what)) {
            problem = PyList_Append(names, frame->binding != NULL ? frame->binding->name : frame->table->label);
        }
    }
    if (problem == 0 && PyList_GET_SIZE(names) != 0) {
        PyObject *item = PyTuple_Pack(2, thread, names);
        problem = item != NULL ? PyList_Append(list, item) : -1;
        Py_XDECREF(item);
    }
    Py_XDECREF(names);
    return problem;
}

/* A thread that is inside a call from Python has a Python frame, and so is alive: sys._current_frames() lists it, and nothing
 * here gives up the GIL, under which frames come and go. */
PyObject *
callers_of(frame_test *wanted, const void *what)
{
    PyObject *function = PySys_GetObject("_current_frames"); /* borrowed */
    PyObject *frames = function != NULL ? PyObject_CallNoArgs(function) : NULL;
    PyObject *list = frames != NULL ? PyList_New(0) : NULL;
    PyObject *thread, *value;
    Py_ssize_t position = 0;
    while (list != NULL && PyDict_Next(frames, &position, &thread, &value)) {
        if (add_calls(wanted, what, list, thread) != 0) {
            Py_CLEAR(list);
        }
    }
    Py_XDECREF(frames);
    return list;
}
