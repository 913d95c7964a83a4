/* A call of a hook: a function of a version without arguments, or one that migrates structs, guarded against its crash.
 *
 * Guarantees:
 * - It is counted as inside its version like any call, and may call back into it.
 * - The GIL is given up for it.
 */
#include "core.h"

#include "../guard.h"

typedef struct Hook {
    mf_registers registers;
    uintptr_t address;
    uint64_t result;
    const uint64_t *pairs; /* (old, new): it is called for each; NULL: it is called once, without arguments */
    size_t pair_count;
} Hook;

static void
run_hook(void *data)
{
    Hook *self = data;
    if (self->pairs == NULL) {
        self->result = mf_call_integers(&self->registers, self->address);
    }
    for (size_t i = 0; i < self->pair_count && self->registers.exception == NULL; i++) {
        self->registers.integers[0] = self->pairs[2 * i];
        self->registers.integers[1] = self->pairs[2 * i + 1];
        mf_call_integers(&self->registers, self->address);
    }
}

static PyObject *
result_of(const Hook *self, mf_guarded guarded, const mf_crash *crash)
{
    switch (guarded) {
    case MF_NOT_RUN: return PyErr_NoMemory();
    case MF_CRASHED: return crash_describe(crash);
    case MF_RETURNED: break;
    }
    return PyLong_FromLong((int32_t)self->result);
}

PyObject *
run_guarded(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Table *table;
    PyObject *name;
    unsigned long long address;
    Py_buffer pairs = {.buf = NULL};
    if (!PyArg_ParseTuple(arguments, "O!UK|y*", TableType, &table, &name, &address, &pairs)) {
        return NULL;
    }
    Hook hook = {.registers.exception = NULL, .address = (uintptr_t)address, .pairs = pairs.buf};
    hook.pair_count = pairs.buf != NULL ? (size_t)pairs.len / (2 * sizeof *hook.pairs) : 0;
    Frame frame;
    const mf_crash *crash;
    mf_guarded guarded;
    PyObject *result = NULL;
    enter(&frame, table, NULL);
    Py_BEGIN_ALLOW_THREADS
    guarded = mf_guard_run(run_hook, &hook, &crash);
    Py_END_ALLOW_THREADS
    if (guarded == MF_RETURNED && hook.registers.exception != NULL) {
        mf_exception_text text;
        mf_exception_take(&hook.registers, &text);
        raise_native(errors.native_exception, name, &text);
    } else if (frame.pending != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(frame.pending), frame.pending);
    } else {
        result = result_of(&hook, guarded, crash);
    }
    Py_CLEAR(frame.pending);
    leave(&frame);
    if (pairs.buf != NULL) {
        PyBuffer_Release(&pairs);
    }
    return result;
}
