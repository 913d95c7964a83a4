/* Thread-specific keys (pthread_key_create, tss_create) that libraries make, and their destructors.
 *
 * Guarantees: the destructors of keys that are made through mf_thread_keys_wrappers are called through code of ours, so
 * a thread that runs one is counted, and once they are turned off none is called, however many threads still have values
 * under the key.  Every function here may be called from any thread; one mutex protects the table and is never held
 * while code of a library runs.  A fork's child knows of the thread that forked only.
 */
#ifndef MF_THREAD_KEYS_H
#define MF_THREAD_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wrapper.h"

/* Ended by a NULL symbol. */
extern const mf_wrapper mf_thread_keys_wrappers[];

/* How many threads run a destructor that lies in [low, high). */
size_t mf_thread_keys_running(uintptr_t low, uintptr_t high);

/* From now on no destructor in [low, high) is called.  False, and nothing changed, while a thread runs one. */
bool mf_thread_keys_disarm(uintptr_t low, uintptr_t high);

/* Deletes the keys whose destructor lies in [low, high), which is unmapped.  Returns how many. */
size_t mf_thread_keys_delete(uintptr_t low, uintptr_t high);

#endif
