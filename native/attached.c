/* See attached.h. */
#include "attached.h"

#include <stdlib.h>
#include <string.h>

#include "foreign.h"

enum { MOST_BLOCKS = 4096, MOST_BYTES = 1 << 20, ALIGNMENT = 16, LOWEST = 0x10000 };

typedef struct block {
    uint64_t address, size;
    uint8_t *copy; /* owned */
} block;

struct mf_attached {
    uintptr_t low, high;
    block *blocks; /* sorted by address */
    size_t count, bytes;
};

mf_attached *
mf_attached_new(uintptr_t low, uintptr_t high)
{
    mf_attached *attached = calloc(1, sizeof *attached);
    if (attached != NULL) {
        attached->low = low;
        attached->high = high;
    }
    return attached;
}

void
mf_attached_free(mf_attached *attached)
{
    for (size_t i = 0; attached != NULL && i < attached->count; i++) {
        free(attached->blocks[i].copy);
    }
    if (attached != NULL) {
        free(attached->blocks);
    }
    free(attached);
}

/* The index of the first block that begins after an address. */
static size_t
first_after(const mf_attached *attached, uint64_t address)
{
    size_t low = 0, high = attached->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (attached->blocks[middle].address <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const block *
find(const mf_attached *attached, uint64_t address)
{
    size_t after = first_after(attached, address);
    const block *found = after != 0 ? &attached->blocks[after - 1] : NULL;
    /* The end belongs to it too: containers keep it. */
    return found != NULL && address - found->address <= found->size ? found : NULL;
}

static bool
begins(const mf_attached *attached, uint64_t address)
{
    const block *found = find(attached, address);
    return found != NULL && found->address == address;
}

static bool
may_be_block(const mf_attached *attached, uint64_t word)
{
    return word % ALIGNMENT == 0 && word >= LOWEST && word < UINT64_C(1) << 47 &&
           !(word >= attached->low && word < attached->high);
}

/* ---- taking copies ------------------------------------------------------------------------------------------------------ */

/* Copies a block and puts it in its place; NULL: there is no room for it, or it isn't readable. */
static uint8_t *
take(mf_attached *attached, uint64_t address, uint64_t size)
{
    if (attached->count == MOST_BLOCKS || size > MOST_BYTES - attached->bytes) {
        return NULL;
    }
    if (attached->blocks == NULL) {
        attached->blocks = malloc(MOST_BLOCKS * sizeof *attached->blocks);
    }
    uint8_t *copy = attached->blocks != NULL ? malloc(size) : NULL;
    mf_piece piece = {address, copy, size, false};
    if (copy == NULL || !mf_foreign_read(&piece, 1) || !piece.done) {
        free(copy);
        return NULL;
    }
    size_t at = first_after(attached, address);
    memmove(&attached->blocks[at + 1], &attached->blocks[at], (attached->count - at) * sizeof *attached->blocks);
    attached->blocks[at] = (block){address, size, copy};
    attached->count++;
    attached->bytes += size;
    return copy;
}

typedef struct text {
    const uint64_t *words;
    size_t count;
} text;

/* What is still to be looked through: no more than there can be blocks, and what it all began with. */
typedef struct queue {
    text waiting[MOST_BLOCKS + 1];
    size_t count;
} queue;

static void
take_all(mf_attached *attached, queue *pending, const uint64_t *addresses, size_t count)
{
    uint64_t sizes[MF_MOST_PIECES];
    if (count == 0 || !mf_foreign_blocks(addresses, sizes, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] != 0 && !begins(attached, addresses[i])) {
            const uint8_t *copy = take(attached, addresses[i], sizes[i]);
            if (copy != NULL) {
                pending->waiting[pending->count++] = (text){(const uint64_t *)copy, sizes[i] / sizeof(uint64_t)};
            }
        }
    }
}

static void
look_through(mf_attached *attached, queue *pending, text one)
{
    uint64_t candidates[MF_MOST_PIECES];
    size_t count = 0;
    for (size_t i = 0; i < one.count; i++) {
        if (may_be_block(attached, one.words[i]) && !begins(attached, one.words[i])) {
            candidates[count++] = one.words[i];
        }
        if (count == MF_MOST_PIECES) {
            take_all(attached, pending, candidates, count);
            count = 0;
        }
    }
    take_all(attached, pending, candidates, count);
}

void
mf_attached_follow(mf_attached *attached, const uint64_t *words, size_t count)
{
    size_t first = 0;
    while (first < count && !may_be_block(attached, words[first])) {
        first++;
    }
    queue *pending = first < count ? malloc(sizeof *pending) : NULL;
    if (pending == NULL) {
        return; /* the usual case: there is nothing */
    }
    pending->waiting[0] = (text){words, count};
    pending->count = 1;
    while (pending->count != 0) {
        look_through(attached, pending, pending->waiting[--pending->count]);
    }
    free(pending);
}

/* ---- comparing ------------------------------------------------------------------------------------------------------------ */

static bool
is_same(const block *one)
{
    uint8_t *now = malloc(one->size);
    mf_piece piece = {one->address, now, one->size, false};
    bool same = now != NULL && mf_foreign_read(&piece, 1) && piece.done && memcmp(now, one->copy, one->size) == 0;
    free(now);
    return same;
}

typedef struct walk {
    bool seen[MOST_BLOCKS];
    size_t waiting[MOST_BLOCKS];
    size_t count;
} walk;

static void
visit(const mf_attached *attached, walk *self, uint64_t address)
{
    const block *found = find(attached, address);
    size_t index = found != NULL ? (size_t)(found - attached->blocks) : 0;
    if (found != NULL && !self->seen[index]) {
        self->seen[index] = true;
        self->waiting[self->count++] = index;
    }
}

mf_attachment
mf_attached_state(const mf_attached *attached, uint64_t address)
{
    walk *self = find(attached, address) != NULL ? calloc(1, sizeof *self) : NULL;
    if (self == NULL) {
        return MF_ATTACHED_UNKNOWN;
    }
    mf_attachment state = MF_ATTACHED_SAME;
    visit(attached, self, address);
    while (self->count != 0 && state == MF_ATTACHED_SAME) {
        const block *one = &attached->blocks[self->waiting[--self->count]];
        const uint64_t *words = (const uint64_t *)one->copy;
        state = is_same(one) ? MF_ATTACHED_SAME : MF_ATTACHED_CHANGED;
        for (size_t i = 0; i < one->size / sizeof *words; i++) {
            visit(attached, self, words[i]);
        }
    }
    free(self);
    return state;
}
