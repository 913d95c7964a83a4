/* A library's destructors behind the guard, while the loader closes it.
 *
 * The loader runs them, when it finds that nobody uses the library any more; meanwhile it holds its lock, and a jump out of
 * it would leave that locked.  So for as long as a close takes, its table of destructors leads to one function of ours, which
 * runs them, each guarded, and returns to the loader.
 *
 * One close in a thread at a time.
 */
#ifndef MF_DESTRUCTORS_H
#define MF_DESTRUCTORS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crash_note.h"

typedef struct mf_destructors {
    ElfW(Dyn) *table, *size;      /* NULL: it has none, or nothing could be changed */
    ElfW(Addr) table_was, size_was;
    uintptr_t base;
    mf_crash *crash;              /* of the first that crashes */
    struct mf_destructors *outer;
} mf_destructors;

/* Before dlclose; `crash` is all 0. */
void mf_destructors_guard(mf_destructors *self, const struct link_map *library, mf_crash *crash);

/* After it; `mapped`: the library is still there, and its table is to be as it was. */
void mf_destructors_done(mf_destructors *self, bool mapped);

#endif
