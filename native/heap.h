/* A module's heap: typed blocks, which outlive the versions that made them.
 *
 * Guarantees:
 * - Any thread, any process that has a shared heap mapped (the host and its workers), and with one but the host killed at
 *   any point: a block is there or it isn't, and what nobody has any more is found again (mf_heap_left).
 * - What is said about a block lies inside the heap, also where a worker has written nonsense into it.
 * - The memory of a block that somebody holds (mf_heap_hold) isn't used for anything else until it is let go.
 * - A pointer that isn't a block's is refused, and nothing is done.
 * - In a fork's child a private heap is the child's own; a shared one has to be copied first (mf_heap_copy).
 *
 * Nothing is reserved before the first block is made.
 */
#ifndef MF_HEAP_H
#define MF_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap_space.h"

typedef struct mf_heap mf_heap;

#define MF_PYTHON UINT32_C(0) /* owner of blocks that no version has made */

/* What a block consists of: elements, or (with a tail) one struct with the elements of a flexible array behind it. */
typedef struct mf_block_type {
    uint64_t size, align;
    uint64_t tail_offset, tail_size;
    const char *name, *tail; /* tail: the flexible array's name, or NULL */
} mf_block_type;

typedef struct mf_block {
    uintptr_t address;
    size_t size;     /* bytes that its elements take */
    uint64_t count;  /* of elements; with a tail, of the tail's */
    uint32_t type;   /* its number in the heap: mf_heap_type */
    uint32_t owner;  /* the version that made it, or MF_PYTHON */
    uint32_t serial; /* another one for the next block at this address */
    bool condemned;
} mf_block;

mf_heap *mf_heap_new(void);

/* Lets a heap that has no memory yet live in memory shared with workers: zeroed, at the same address everywhere; it must
 * stay for as long as the heap. */
bool mf_heap_share(mf_heap *heap, void *memory, size_t size);

/* The end that a worker has of it, under a seat that the host gave out.  NULL: that is no heap. */
mf_heap *mf_heap_join(void *memory, size_t size, uint32_t seat);

/* How many bytes this process may claim. */
void mf_heap_limit(mf_heap *heap, uint64_t bytes);

/* Unmaps a private heap: nobody may use a block of it any more. */
void mf_heap_free(mf_heap *heap);

/* [low, high) of a heap that has memory. */
bool mf_heap_range(mf_heap *heap, uintptr_t *low, uintptr_t *high);

/* ---- workers --------------------------------------------------------------------------------------------------------- */

/* A seat for a worker that is about to start; 0: there is no memory. */
uint32_t mf_heap_seat(mf_heap *heap);

/* A worker has ended, in whatever way. */
void mf_heap_left(mf_heap *heap, uint32_t seat);

/* ---- blocks ---------------------------------------------------------------------------------------------------------- */

typedef enum mf_heap_result { MF_HEAP_OK, MF_HEAP_NO_ROOM, MF_HEAP_NO_BLOCK, MF_HEAP_NOT_YOURS, MF_HEAP_BAD_TYPE } mf_heap_result;

/* A zeroed block. */
mf_heap_result mf_heap_make(mf_heap *heap, const mf_block_type *type, uint64_t count, uint32_t owner, void **made);

/* Another number of elements, perhaps elsewhere; new ones are zero.  `owner`: who asks.  The block stays as it was unless
 * MF_HEAP_OK is returned. */
mf_heap_result mf_heap_resize(mf_heap *heap, void **block, const mf_block_type *type, uint64_t count, uint32_t owner);

/* Frees the block that begins there.  `owner`: who asks; blocks of Python's are freed by MF_PYTHON only. */
mf_heap_result mf_heap_discard(mf_heap *heap, void *block, uint32_t owner);

/* The live block that has this address in it; one past its end belongs to it too, where no other begins there. */
bool mf_heap_find(mf_heap *heap, uintptr_t address, mf_block *found);

/* All live blocks by their addresses, in memory that the caller frees; NULL: none, or no memory (*count tells which: it
 * is SIZE_MAX then). */
mf_block *mf_heap_list(mf_heap *heap, size_t *count);

/* How many types there are, and one of them: `name` and `tail` have room for as much as a record. */
uint32_t mf_heap_types(mf_heap *heap);
bool mf_heap_type(mf_heap *heap, uint32_t number, mf_block_type *type, char name[MF_TYPE_NAME], char tail[MF_TAIL_NAME]);

/* ---- swaps ----------------------------------------------------------------------------------------------------------- */

/* Gives a block another type of the same size. */
mf_heap_result mf_heap_rename(mf_heap *heap, void *block, const mf_block_type *type);

/* Whether a block is to be freed when the version that it is given to is retired (mf_heap_retire).  It isn't listed
 * meanwhile. */
mf_heap_result mf_heap_condemn(mf_heap *heap, void *block, bool condemned, uint32_t owner);

/* Frees the condemned blocks of a version (all: all of its blocks). */
void mf_heap_retire(mf_heap *heap, uint32_t owner, bool all);

/* Frees all blocks that versions have made, up to one of them. */
void mf_heap_drop(mf_heap *heap, uint32_t last_owner);

/* Keeps the memory of a live block for who looks at it.  False: it isn't there any more. */
bool mf_heap_hold(mf_heap *heap, uintptr_t address, uint32_t serial);
void mf_heap_let_go(mf_heap *heap, uintptr_t address);

/* ---- forks ----------------------------------------------------------------------------------------------------------- */

/* Writes what the child of a fork keeps of a shared heap to a descriptor of zeroes of the same size: Python's blocks, and
 * those that are held. */
bool mf_heap_copy(mf_heap *heap, int descriptor);

/* After that copy has taken the old memory's place. */
void mf_heap_copied(mf_heap *heap);

#endif
