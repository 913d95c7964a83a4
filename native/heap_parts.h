/* The parts of a heap, for heap.c, heap_types.c, heap_places.c and heap_slabs.c only.
 *
 * A small block is an object of a slab: a chunk of objects of one size, with their notes in front of them.  A large one
 * has chunks of its own.  Which objects of a slab are free is known to the process that has the slab; it keeps that in
 * memory of its own, and finds out again from the notes what others have freed.
 *
 * Precondition of all functions here: the heap's mutex is held. */
#ifndef MF_HEAP_PARTS_H
#define MF_HEAP_PARTS_H

#include <pthread.h>

#include "heap.h"

/* A note's state. */
enum {
    MF_NOTE_EMPTY = 0,
    MF_NOTE_LIVE = 1,
    MF_NOTE_DEAD = 2, /* freed, but held */
    MF_NOTE_STATE = 3,
    MF_NOTE_CONDEMNED = 4,
    MF_NOTE_HOLD = 256 /* how many hold it: the rest of the word */
};

enum { MF_CLASSES = 36, MF_BUCKETS = 2 * MF_TYPES };

#define MF_LARGEST_BLOCK (UINT64_C(1) << 46)

/* What the process that has a slab knows of it. */
typedef struct mf_slab {
    uint32_t chunk, class, free_count;
    struct mf_slab *next; /* of those of the class that have free objects */
    bool listed;
    uint16_t free[];
} mf_slab;

struct mf_heap {
    pthread_mutex_t mutex; /* protects all below, against threads of this process */
    mf_space space;
    mf_slab *slabs[MF_CLASSES]; /* those with free objects */
    mf_slab **by_chunk;
    uint32_t by_chunk_count;
    uint32_t foreign_seen;
    bool keep_slabs; /* also empty ones: their notes are being looked at */
    uint16_t buckets[MF_BUCKETS]; /* number + 1 of a type, by its hash */
    uint32_t *seats, seat_count, next_seat;
    mf_heap *next; /* all heaps of the process, for a fork */
};

/* ---- types (heap_types.c) -------------------------------------------------------------------------------------------- */

uint32_t mf_types_count(const mf_heap *heap);

/* Without its names. */
mf_block_type mf_types_get(const mf_heap *heap, uint32_t number);

/* The number of a type, which gets one if it has none; MF_TYPES: there is no room. */
uint32_t mf_types_number(mf_heap *heap, const mf_block_type *type);

/* Whether there can be such a type. */
bool mf_types_sound(const mf_block_type *type);

/* ---- places (heap_places.c) ------------------------------------------------------------------------------------------ */

/* Where a block is, or may be. */
typedef struct mf_place {
    mf_note *note;
    uint32_t chunk, object; /* object: MF_NO_CHUNK for a large block */
    uintptr_t start;
    size_t capacity;
} mf_place;

/* The sizes of small blocks: 16, 32 … 128, then four to each doubling. */
static inline uint32_t
mf_class_size(uint32_t class)
{
    return class < 8 ? 16 * (class + 1) : (5 + (class - 8) % 4) << (5 + (class - 8) / 4);
}

static inline uint32_t
mf_class_objects(uint32_t class)
{
    return (MF_CHUNK - 64) / (mf_class_size(class) + (uint32_t)sizeof(mf_note));
}

static inline uint32_t
mf_class_first(uint32_t class)
{
    return (mf_class_objects(class) * (uint32_t)sizeof(mf_note) + 63) & ~63u;
}

/* The smallest class whose objects have this size and alignment; MF_CLASSES: none. */
uint32_t mf_class_for(uint64_t bytes, uint64_t align);

/* Bytes of a block, UINT64_MAX: more than there can be. */
uint64_t mf_place_bytes(const mf_block_type *type, uint64_t count);

/* What a block takes up: a byte more than it has, so that a pointer past its end never points to another block. */
static inline uint64_t
mf_place_room(uint64_t bytes)
{
    return bytes + 1;
}

mf_place mf_place_object(const mf_heap *heap, uint32_t chunk, uint32_t class, uint32_t object);
mf_place mf_place_large(const mf_heap *heap, uint32_t chunk, uint32_t run);

/* The place that has this address in it. */
bool mf_place_locate(const mf_heap *heap, uintptr_t address, mf_place *found);

/* What is known of the block at a place.  False: there is no live one, or what is written about it makes no sense. */
bool mf_place_describe(const mf_heap *heap, const mf_place *at, mf_block *block);

/* The live block that begins at an address. */
bool mf_place_block(const mf_heap *heap, const void *address, mf_place *at, mf_block *block);

/* Calls `visit` with every place in which a block may be, until it returns false. */
void mf_place_each(mf_heap *heap, bool (*visit)(mf_heap *, const mf_place *, void *), void *data);

/* ---- slabs (heap_slabs.c) -------------------------------------------------------------------------------------------- */

/* An object of a class in which nothing lives.  False: there is no room. */
bool mf_slab_take(mf_heap *heap, uint32_t class, mf_place *at);

/* The object that a block was in can be used again. */
void mf_slab_put(mf_heap *heap, const mf_place *at);

/* A slab without blocks is given back, unless it is the last with room. */
void mf_slab_give_if_empty(mf_heap *heap, mf_slab *slab);

/* Gives back the slabs that nobody has, and in which nothing lives. */
void mf_slab_give_orphans(mf_heap *heap);

/* Frees what this process knows of its slabs, not the slabs. */
void mf_slab_forget_all(mf_heap *heap);

#endif
