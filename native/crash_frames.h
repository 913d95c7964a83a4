/* Walks the functions that a crash came from, in its signal handler.
 *
 * The unwinder believes what is on the stack: if that is destroyed, it may crash itself.  Then the walk ends there.
 */
#ifndef MF_CRASH_FRAMES_H
#define MF_CRASH_FRAMES_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mf_frame {
    uintptr_t place;    /* where the crash was, or where the function returns to */
    uintptr_t function; /* where the code begins that is there; 0: unknown */
    uintptr_t stack;    /* its caller's stack pointer */
} mf_frame;

/* Called for each frame, innermost first; false: no more.  If it was a jump to a bad address that has crashed, that address
 * comes first. */
typedef bool (*mf_frame_visitor)(const mf_frame *frame, void *data);

/* Loads what a handler can't.  Once, before any walk. */
void mf_crash_walk_prepare(void);

/* True: to its end, or as far as the visitor wanted. */
bool mf_crash_walk(const siginfo_t *info, void *context, mf_frame_visitor visitor, void *data);

#endif
