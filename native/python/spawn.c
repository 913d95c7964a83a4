/* Starting a process for Python; see native/spawn.h. */
#include "link.h"

#include "../spawn.h"

enum { STANDARD = 3, MOST_GIVEN = 8 };

/* Descriptors from a tuple; how many there are, -1 with an exception set. */
static Py_ssize_t
descriptors(PyObject *tuple, int *found, Py_ssize_t most)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (count > most) {
        PyErr_SetString(PyExc_ValueError, "too many descriptors");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        long number = PyLong_AsLong(PyTuple_GET_ITEM(tuple, i));
        if (number == -1 && PyErr_Occurred()) {
            return -1;
        }
        found[i] = (int)number;
    }
    return count;
}

PyObject *
spawn(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    mf_program program = {0};
    PyObject *words, *environment, *standard, *given;
    int standard_found[STANDARD], given_found[MOST_GIVEN];
    if (!PyArg_ParseTuple(arguments, "iO!O!O!O!", &program.descriptor, &PyTuple_Type, &words, &PyTuple_Type,
                          &environment, &PyTuple_Type, &standard, &PyTuple_Type, &given)) {
        return NULL;
    }
    Py_ssize_t standard_count = descriptors(standard, standard_found, STANDARD);
    Py_ssize_t given_count = standard_count >= 0 ? descriptors(given, given_found, MOST_GIVEN) : -1;
    if (given_count < 0) {
        return NULL;
    }
    if (standard_count != STANDARD) {
        PyErr_SetString(PyExc_ValueError, "three standard descriptors are needed");
        return NULL;
    }
    char **argv = texts(words), **settings = argv != NULL ? texts(environment) : NULL;
    PyObject *result = NULL;
    if (settings != NULL) {
        mf_failure failure;
        pid_t pid;
        int pidfd;
        program.arguments = argv;
        program.environment = settings;
        program.standard = standard_found;
        program.given = given_found;
        program.given_count = (size_t)given_count;
        Py_BEGIN_ALLOW_THREADS
        mf_spawn(&program, &pid, &pidfd, &failure);
        Py_END_ALLOW_THREADS
        if (failure.kind != MF_OK) {
            raise_error(errors.base, NULL, "%s", failure.text);
        } else {
            result = Py_BuildValue("(ii)", (int)pid, pidfd);
        }
    }
    PyMem_Free(argv);
    PyMem_Free(settings);
    return result;
}
