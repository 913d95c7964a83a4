/* What is known of a crash, and a note of a process's first one, in memory that others can read after its end.
 *
 * Guarantees:
 * - A note is written by plain stores, from a signal handler; then the crash goes on as if nobody had looked.
 * - Its signal is there before anything else: a crash inside the handler leaves a note with fewer frames.
 * - Who reads a note checks `count`: it may come from a process that has overwritten it.
 */
#ifndef MF_CRASH_NOTE_H
#define MF_CRASH_NOTE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MF_FRAMES = 64 };

/* The layout is also a part of the channel's (channel.h). */
typedef struct mf_crash {
    _Atomic uint32_t signal; /* 0: there was none */
    int32_t code;            /* si_code */
    uint64_t address;        /* of a fault; 0 of what was sent */
    uint32_t count;          /* of frames */
    uint32_t thread;         /* the kernel's number of it */
    uint64_t frames[MF_FRAMES]; /* where the crash was, then where each function returns to, innermost first */
} mf_crash;

/* Fills in all of it, in a handler. */
void mf_crash_describe(mf_crash *crash, int number, siginfo_t *info, void *context);

/* From now on the first crash of this process is noted: by so many of the signals of crash_signals.h.  Once for a process.
 * False: no memory. */
bool mf_crash_note_first(mf_crash *note, int signals);

#endif
