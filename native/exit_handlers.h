/* Functions that libraries want called when they are unloaded or the process ends (atexit, C++ destructors of statics).
 *
 * The system calls them when a library's own code asks it to (__cxa_finalize, in what compilers put at its end).  One that
 * doesn't ask, since it was linked without that or its destructor crashed, leaves them behind: they would be called when
 * the process ends, or by another library that is mapped at the same place.
 *
 * Guarantees: a function that was registered through mf_exit_handlers_wrappers is called at most once, at the time at
 * which the system calls it, and never once its library was forgotten.  Every function here may be called from any thread;
 * one mutex protects the list and is never held while code of a library runs.
 */
#ifndef MF_EXIT_HANDLERS_H
#define MF_EXIT_HANDLERS_H

#include <stddef.h>
#include <stdint.h>

#include "wrapper.h"

/* Ended by a NULL symbol. */
extern const mf_wrapper mf_exit_handlers_wrappers[];

/* What was registered by the library in [low, high), which is unmapped, is never called.  Returns how many there were. */
size_t mf_exit_handlers_forget(uintptr_t low, uintptr_t high);

#endif
