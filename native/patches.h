/* Patches: pointers that lie where nothing is moved, and have to point elsewhere after a swap.
 *
 * Owns what it says; borrows the trace that it was made from.  Either all of it is applied or nothing.
 */
#ifndef MF_PATCHES_H
#define MF_PATCHES_H

#include "mapping.h"
#include "trace.h"

typedef struct mf_patch {
    uint64_t address;
    uint64_t before, after;
    uint32_t spot; /* which of the trace's patchable ones */
    bool writable;
} mf_patch;

typedef struct mf_patches {
    mf_patch *patch; /* owned; by address */
    size_t count;
    uint32_t *dangling; /* owned; the spots of pointers to what the new version doesn't have */
    size_t dangling_count;
    bool applied;
} mf_patches;

/* False: no memory.  A patch that isn't writable can't be applied. */
bool mf_patches_make(mf_patches *patches, const mf_trace *trace, const mf_mapping *mapping);

/* False: a pointer has changed since, or its memory has; then everything is as before. */
bool mf_patches_apply(mf_patches *patches, mf_failure *failure);

/* Makes every byte what it was. */
bool mf_patches_undo(mf_patches *patches, mf_failure *failure);
void mf_patches_free(mf_patches *patches);

#endif
