/* What a library's variables were when it had just been loaded: by this a change that the program made is told from the
 * library's own initial value.
 *
 * Owns copies of the pages of its writable segments (of pages that are all zero, none), and of what they led to.  Written once, by the thread that
 * loads the library; then it may be read from any thread.
 */
#ifndef MF_INITIAL_H
#define MF_INITIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "attached.h"
#include "elf_file.h"

typedef struct mf_initial mf_initial;

/* Notes where a checked library's writable segments are.  NULL: no memory. */
mf_initial *mf_initial_new(const mf_elf *elf);

/* Copies them, of the library that is mapped at `base`, in [low, high), and what they lead to.  False: no memory. */
bool mf_initial_take(mf_initial *initial, uintptr_t base, uintptr_t low, uintptr_t high);

/* Whether memory of malloc's that one of the variables leads to is as it was. */
mf_attachment mf_initial_attached(const mf_initial *initial, uint64_t address);

/* Whether any of `size` bytes at the link-time address `address` is another now.  What isn't in a writable segment can't
 * have changed. */
bool mf_initial_changed(const mf_initial *initial, uintptr_t base, uint64_t address, uint64_t size);

void mf_initial_free(mf_initial *initial);

#endif
