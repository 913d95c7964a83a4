/* Runs a function so that a crash of it comes back as an answer instead of ending the process.
 *
 * A crash is SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT that the function brings upon its own thread, also by using up
 * its stack.  What it leaves half done (locks, memory) stays as it is: whoever runs it decides what may still be trusted.
 *
 * Guarantees:
 * - Only the thread that is in mf_guard_run is concerned.  Such a signal in another thread, or sent by somebody else, goes
 *   to the action that was there before, as if this file didn't exist.
 * - The actions that were there before are back when the last guarded function has ended, unless somebody else has
 *   replaced ours meanwhile: then his stays, and ours goes on passing to those before.
 * - Runs nest: a crash comes back from the innermost.  Any thread may run any number.
 * - In a fork's child the thread that forked stays guarded.
 */
#ifndef MF_GUARD_H
#define MF_GUARD_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mf_fault {
    int signal; /* 0: there was none */
    int code;   /* si_code */
    uintptr_t address;
} mf_fault;

typedef enum mf_guarded { MF_RETURNED, MF_CRASHED, MF_NOT_RUN } mf_guarded;

/* Runs function(data).  MF_NOT_RUN: there was no memory for a stack on which a handler can run. */
mf_guarded mf_guard_run(void (*function)(void *), void *data, mf_fault *fault);

/* While a guarded function has called back into code that can't be left by a jump (Python), its thread is as if it weren't
 * guarded: give the result to mf_guard_resume. */
void *mf_guard_suspend(void);
void mf_guard_resume(void *suspended);

#endif
