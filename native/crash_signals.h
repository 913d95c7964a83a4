/* The actions of the signals that a crash brings: who is asked, and who was there before.
 *
 * Guarantees:
 * - A signal that no watcher deals with goes to the action that was there before, with the mask that the kernel would have
 *   set, or ends the process by the very signal, with its own siginfo and from where it came: as if this file didn't exist.
 * - An action that somebody installs later stays until the next mf_crash_signals_arm; then it is what was there before.
 *   If both keep each other as "before", each is asked once, the latest first, and the default action last.
 * - Any thread may arm; a fork's child stays armed.
 */
#ifndef MF_CRASH_SIGNALS_H
#define MF_CRASH_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Asked in this order. */
enum { MF_WATCH_GUARD, MF_WATCH_NOTE, MF_WATCH_RECORD, MF_WATCHERS };

/* Called in the handler, with the signal itself not blocked.  True: it is dealt with, go back to `context`, which it may
 * have changed. */
typedef bool (*mf_crash_watcher)(int number, siginfo_t *info, void *context);

void mf_crash_watch(int place, mf_crash_watcher watcher);

/* SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT; besides them SIGTRAP and SIGSYS; and the others that end a process unless it sees
 * to them, but for those that Python sees to. */
enum { MF_CRASHES = 5, MF_ALL_CRASHES = 7, MF_ALL_ENDS = 16 };

/* Sees to it that the first so many are ours, and that this thread has a stack on which a handler can run.  May be called
 * again.  False: no memory. */
bool mf_crash_signals_arm(int count);

/* Gives this thread a stack on which a handler can run, until it ends; one that it has already stays.  False: no memory. */
bool mf_crash_stack(void);

/* Whether the thread that got it has brought it upon itself: by a fault, or by raise() or abort(). */
bool mf_crash_is_own(const siginfo_t *info);

/* Of the interrupted code. */
uintptr_t mf_crash_stack_pointer(const void *context);

#endif
