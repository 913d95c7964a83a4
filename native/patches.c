/* See patches.h. */
#include "patches.h"

#include <stdlib.h>

#include "foreign.h"
#include "maps.h"

static int
by_address(const void *left, const void *right)
{
    const mf_patch *a = left, *b = right;
    return (a->address > b->address) - (a->address < b->address);
}

/* Marks the patches that lie in a writable mapping; mappings come in order, and so are patches. */
typedef struct marking {
    mf_patches *patches;
    size_t next;
} marking;

static void
mark(void *closure, uintptr_t low, uintptr_t high)
{
    marking *marking = closure;
    for (; marking->next < marking->patches->count; marking->next++) {
        mf_patch *patch = &marking->patches->patch[marking->next];
        if (patch->address + sizeof(uint64_t) > high) {
            return; /* what lies on the border of two mappings isn't writable in one piece: refused */
        }
        patch->writable = patch->address >= low;
    }
}

/* One location may have been reached in two ways. */
static void
drop_twins(mf_patches *patches)
{
    size_t kept = 0;
    for (size_t i = 0; i < patches->count; i++) {
        if (kept == 0 || patches->patch[kept - 1].address != patches->patch[i].address) {
            patches->patch[kept++] = patches->patch[i];
        }
    }
    patches->count = kept;
}

bool
mf_patches_make(mf_patches *patches, const mf_trace *trace, const mf_mapping *mapping)
{
    *patches = (mf_patches){0};
    patches->patch = calloc(trace->patchable.count + 1, sizeof *patches->patch);
    patches->dangling = calloc(trace->patchable.count + 1, sizeof *patches->dangling);
    if (patches->patch == NULL || patches->dangling == NULL) {
        mf_patches_free(patches);
        return false;
    }
    for (size_t i = 0; i < trace->patchable.count; i++) {
        const mf_spot *spot = &trace->patchable.spot[i];
        uint64_t after = spot->value;
        mf_fate fate = mf_mapping_find(mapping, spot->value, &after);
        if (fate == MF_DANGLES) {
            patches->dangling[patches->dangling_count++] = (uint32_t)i;
        } else if (after != spot->value) {
            uint64_t address = trace->node[spot->node].address + spot->offset;
            patches->patch[patches->count++] = (mf_patch){address, spot->value, after, (uint32_t)i, false};
        }
    }
    qsort(patches->patch, patches->count, sizeof *patches->patch, by_address);
    drop_twins(patches);
    if (patches->count > 0) {
        mf_maps_writable(mark, &(marking){patches, 0}); /* where the map can't be read nothing is marked */
    }
    return true;
}

/* Reads or writes the pointers [first, first + count); false: one of them failed. */
typedef bool pass(mf_piece *pieces, size_t count);

static bool
pass_some(pass *pass, const mf_patches *patches, size_t first, size_t count, uint64_t *values)
{
    mf_piece pieces[MF_MOST_PIECES];
    for (size_t i = 0; i < count; i++) {
        pieces[i] = (mf_piece){patches->patch[first + i].address, &values[i], sizeof *values, false};
    }
    bool done = pass(pieces, count);
    for (size_t i = 0; i < count; i++) {
        done = done && pieces[i].done;
    }
    return done;
}

static size_t
batch(const mf_patches *patches, size_t first)
{
    size_t left = patches->count - first;
    return left < MF_MOST_PIECES ? left : MF_MOST_PIECES;
}

static bool
all_unchanged(const mf_patches *patches)
{
    uint64_t values[MF_MOST_PIECES];
    for (size_t first = 0; first < patches->count; first += MF_MOST_PIECES) {
        size_t count = batch(patches, first);
        if (!pass_some(mf_foreign_read, patches, first, count, values)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (values[i] != patches->patch[first + i].before || !patches->patch[first + i].writable) {
                return false;
            }
        }
    }
    return true;
}

static bool
write_all(const mf_patches *patches, bool forward)
{
    uint64_t values[MF_MOST_PIECES];
    bool done = true;
    for (size_t first = 0; first < patches->count && (done || !forward); first += MF_MOST_PIECES) {
        size_t count = batch(patches, first);
        for (size_t i = 0; i < count; i++) {
            values[i] = forward ? patches->patch[first + i].after : patches->patch[first + i].before;
        }
        done = pass_some(mf_foreign_write, patches, first, count, values) && done;
    }
    return done;
}

bool
mf_patches_apply(mf_patches *patches, mf_failure *failure)
{
    failure->kind = MF_OK;
    if (patches->applied) {
        return true;
    }
    if (!all_unchanged(patches)) {
        mf_fail(failure, MF_SYSTEM, "a pointer in memory of the program's has changed meanwhile, or can't be written");
        return false;
    }
    patches->applied = write_all(patches, true);
    if (!patches->applied) {
        write_all(patches, false);
        mf_fail(failure, MF_SYSTEM, "a pointer in memory of the program's can't be written");
    }
    return patches->applied;
}

bool
mf_patches_undo(mf_patches *patches, mf_failure *failure)
{
    failure->kind = MF_OK;
    if (patches->applied && !write_all(patches, false)) {
        mf_fail(failure, MF_SYSTEM, "a pointer in memory of the program's can't be written any more");
        return false;
    }
    patches->applied = false;
    return true;
}

void
mf_patches_free(mf_patches *patches)
{
    free(patches->patch);
    free(patches->dangling);
    *patches = (mf_patches){0};
}
