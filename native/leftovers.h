/* What a library starts or leaves in the process that points back into it: threads, signal handlers.  (Thread-specific
 * keys: thread_keys.h.)
 *
 * Guarantees: a private copy whose undefined `pthread_create` (and its kin, see mf_leftovers_wrappers) is bound to the
 * functions here has every thread that it starts counted from before the thread runs until after it has left the
 * library's code, also by pthread_exit or cancellation.  Every function here may be called from any thread; one mutex
 * protects the list and is never held while code of a library runs.  A fork's child knows of the thread that forked
 * only.
 */
#ifndef MF_LEFTOVERS_H
#define MF_LEFTOVERS_H

#include <stddef.h>
#include <stdint.h>

#include "wrapper.h"

/* The functions that a private copy is bound to instead of the system's, ended by a NULL symbol. */
extern const mf_wrapper mf_leftovers_wrappers[];

/* How many threads whose code lies in [low, high) are alive; `numbers` gets the kernel's numbers (0: starting) of the first
 * `room` of them. */
size_t mf_leftovers_inside(uintptr_t low, uintptr_t high, int *numbers, size_t room);

/* Says which threads whose code lies in [low, high) are alive, by name and number: "thread 'net-poll' (1234) that it
 * started".  Returns how many there are. */
size_t mf_leftovers_describe(uintptr_t low, uintptr_t high, char *text, size_t size);

/* The first signal whose handler lies in [low, high), or 0. */
int mf_leftovers_signal_inside(uintptr_t low, uintptr_t high);

#endif
