/* What a library starts or leaves in the process that points back into it: threads, destructors of thread-specific
 * keys, signal handlers.
 *
 * Guarantees: a private copy whose undefined `pthread_create` (and its kin, see mf_leftovers_wrappers) is bound to the
 * functions here has every thread that it starts counted from before the thread runs until after it has left the
 * library's code, also by pthread_exit or cancellation.  Every function here may be called from any thread; one mutex
 * protects the lists and is never held while code of a library runs.
 */
#ifndef MF_LEFTOVERS_H
#define MF_LEFTOVERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct mf_wrapper {
    const char *symbol;
    uintptr_t address;
} mf_wrapper;

/* The functions that a private copy is bound to instead of the system's, ended by a NULL symbol. */
extern const mf_wrapper mf_leftovers_wrappers[];

/* How many threads whose code lies in [low, high) are alive; `*thread` is the kernel's number of one (0: starting). */
size_t mf_leftovers_inside(uintptr_t low, uintptr_t high, int *thread);

/* Deletes the thread-specific keys whose destructor lies in [low, high), so that no thread calls it when it ends.
 * Returns how many. */
size_t mf_leftovers_delete_keys(uintptr_t low, uintptr_t high);

/* The first signal whose handler lies in [low, high), or 0. */
int mf_leftovers_signal_inside(uintptr_t low, uintptr_t high);

/* In the child of a fork: only the calling thread is alive there. */
void mf_leftovers_after_fork(void);

#endif
