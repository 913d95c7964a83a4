/* Runs a function so that a crash of it comes back as an answer instead of ending the process.
 *
 * A crash is SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT that the function brings upon its own thread, also by using up
 * its stack.  What it leaves half done (locks, memory) stays as it is: whoever runs it decides what may still be trusted.
 *
 * While a function runs, a *point* says how to come back.  No registers are kept at its start but those that any function
 * keeps, and nothing is asked of the system: the handler changes the context that the kernel returns to.
 *
 * Guarantees:
 * - Only the thread that is in a guarded function is concerned.  Such a signal in another thread, or sent by somebody else,
 *   goes on as crash_signals.h says.
 * - A crash in a function that holds a lock of the C library's, or in Python, isn't left: it goes on too (leaving.h).
 * - Nor is one that has overwritten the point itself, on the stack.
 * - Points nest: a crash comes back to the innermost.  Any thread may have any number.  C++ exceptions and the unwinding of
 *   pthread_exit take theirs away.
 * - What is put back: registers, the stack, the direction and alignment flags, the floating modes that the thread had at its
 *   first guarded function, the signal mask, and calls through stable pointers that were under way in it (entry.h).
 * - In a fork's child the thread that forked stays guarded.
 */
#ifndef MF_GUARD_H
#define MF_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <unwind.h>

#include "call.h"
#include "crash_note.h"

typedef enum mf_guarded { MF_RETURNED, MF_CRASHED, MF_NOT_RUN } mf_guarded;

/* Runs function(data); `crash` is this thread's until its next one, and NULL unless MF_CRASHED.  MF_NOT_RUN: there was no
 * memory for a stack on which a handler can run. */
mf_guarded mf_guard_run(void (*function)(void *), void *data, const mf_crash **crash);

/* In a handler: runs function(data), and leaves it at any fault without asking further. */
void mf_guard_plain(void (*function)(void *), void *data);

/* How to come back.  The layout is known to the assembly. */
typedef struct mf_guard_point {
    uintptr_t landing, stack;
    struct mf_guard_point *outer;
    void **crash;            /* where the mf_crash is told; NULL: nobody asks */
    struct mf_visit *visits; /* calls through stable pointers that were under way before */
} mf_guard_point;

extern _Thread_local mf_guard_point *mf_guard_innermost
    __attribute__((tls_model("initial-exec"), visibility("hidden"))); /* NULL: a crash is nobody's business here */

/* What a thread needs before it has a point of its own. */
typedef struct mf_guard_thread {
    mf_crash crash; /* its last one */
    struct mf_visit *visits;
    uint32_t modes[2];
} mf_guard_thread;

extern _Thread_local mf_guard_thread *mf_guard_mine
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

bool mf_guard_make_ready(void);

/* Precondition of mf_guard_call.  False: no memory. */
static inline bool
mf_guard_ready(void)
{
    return __builtin_expect(mf_guard_mine != NULL, 1) || mf_guard_make_ready();
}

/* Calls function(a, b, c), a trampoline of call.h's; returns what it returns, in all registers.  After a crash `crash`, if
 * it isn't NULL, has the mf_crash, and the result is 0. */
uint64_t mf_guard_call(const void *a, const void *b, const void *c, const void *function, void **crash)
    __attribute__((visibility("hidden")));

double mf_guard_call_double(const void *a, const void *b, const void *c, const void *function, void **crash)
    __attribute__((visibility("hidden")));

/* As mf_call_through, guarded: this thread's innermost mf_through is a mf_guard_through's. */
typedef struct mf_guard_through {
    mf_through through;
    mf_guard_point point;
    uintptr_t kept[20];
} mf_guard_through;

void mf_guard_call_through(void) __attribute__((visibility("hidden")));

/* Called by the unwinder when something passes a point: it is taken away. */
_Unwind_Reason_Code mf_personality_guard(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                                         struct _Unwind_Exception *exception, struct _Unwind_Context *context)
    __attribute__((visibility("hidden")));

/* If what a call left behind is a crash: counts out what was under way in it, and returns it; else NULL. */
const mf_crash *mf_guard_take(const void *left_behind);

/* While a guarded function has called back into code that can't be left by a jump (Python), its thread is as if it weren't
 * guarded: give the result to mf_guard_resume. */
static inline mf_guard_point *
mf_guard_suspend(void)
{
    mf_guard_point *suspended = mf_guard_innermost;
    mf_guard_innermost = NULL;
    return suspended;
}

static inline void
mf_guard_resume(mf_guard_point *suspended)
{
    mf_guard_innermost = suspended;
}

#endif
