/* What is noted of calls while somebody wants to know: how many, how long, which failed, and some of them whole.
 *
 * Guarantees, all under the GIL:
 * - A table without an observer pays nothing: its calls don't come here.
 * - Every call from Python that a version is asked for while it has an observer is counted once, when it ends; until then it
 *   is listed as under way.  Calls of threads that a fork leaves behind are neither.
 * - Whose fault an exception is: what callbacks raise, and what a caller does wrong, isn't the version's.
 * - Memory is bounded by the number of functions that are called.
 */
#ifndef MF_OBSERVER_H
#define MF_OBSERVER_H

#include "core.h"

/* A call of which arguments and result are kept. */
typedef struct Keeping {
    PyObject *arguments; /* a tuple of plain copies, made before the call; NULL: this call isn't kept */
    Py_buffer *views;    /* for each argument; `obj` is NULL unless it is a buffer that the function may write to; owned */
    Py_ssize_t place;    /* of the sample */
} Keeping;

/* A call under way, in the caller's stack frame. */
typedef struct Observation {
    Observer *observer; /* owned */
    Py_ssize_t slot;
    const Binding *binding;
    unsigned long thread;
    uint64_t begun, returned; /* nanoseconds, as mf_now; the second is 0 where only the end is known */
    bool by_callback; /* the exception that it ends with is what a callback raised */
    Keeping keeping;
    Frame *outer;               /* what the call was made in */
    struct Observation *around; /* this thread's observation around it */
    struct Observation *previous, *next;
} Observation;

/* Notes that a call begins.  Afterwards nothing may run before it is counted in its version. */
void observe_begin(Observation *seen, Table *table, Py_ssize_t slot, const Binding *binding, PyObject *const *args,
                   Py_ssize_t count, bool named);

/* Notes that it has ended, with a result or an exception, which it leaves alone. */
void observe_end(Observation *seen, PyObject *result);

/* In a fork's child: only this thread's calls are under way. */
void observers_after_fork(void);

/* A share of calls, chosen one by one. */
typedef struct Share {
    bool any;
    uint64_t limit, sequence;
} Share;

/* `first`: whether the first call is in it, whatever the share. */
Share share_of(double share, bool first);

/* Whether the next call is in it.  The multiples of the golden ratio, modulo 1, lie evenly and fall in step with nothing that
 * a program does at regular intervals. */
static inline bool
share_takes(Share *self)
{
    self->sequence += UINT64_C(0x9e3779b97f4a7c15);
    return self->any && self->sequence <= self->limit;
}

/* What is kept of the calls of one slot (recorder.c). */
typedef struct Samples {
    PyObject *list; /* of tuples (arguments, result, error, written); NULL: none yet */
    Share share;
    bool closed; /* what this function is given means nothing elsewhere */
    uint64_t offered, left_out;
} Samples;

/* Copies the arguments of a call that is to be kept.  May run Python code. */
void keep_arguments(Keeping *keeping, Samples *samples, const Binding *binding, PyObject *const *args, Py_ssize_t count);

/* Keeps what came of it: `result`, or NULL and the name of an exception; neither: it isn't kept after all. */
void keep_result(Keeping *keeping, Samples *samples, PyObject *result, PyObject *error);

#endif
