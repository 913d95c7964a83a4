/* The slabs that small blocks are in: see heap_parts.h. */
#include "heap_parts.h"

#include <stdlib.h>
#include <string.h>

static void
list_slab(mf_heap *heap, mf_slab *one)
{
    if (!one->listed && one->free_count != 0) {
        one->listed = true;
        one->next = heap->slabs[one->class];
        heap->slabs[one->class] = one;
    }
}

static void
unlist_slab(mf_heap *heap, mf_slab *one)
{
    for (mf_slab **link = &heap->slabs[one->class]; *link != NULL; link = &(*link)->next) {
        if (*link == one) {
            *link = one->next;
            break;
        }
    }
    one->listed = false;
}

static void
forget_slab(mf_heap *heap, mf_slab *one)
{
    unlist_slab(heap, one);
    heap->by_chunk[one->chunk] = NULL;
    free(one);
}

static mf_slab *
slab_of(const mf_heap *heap, uint32_t chunk)
{
    return chunk < heap->by_chunk_count ? heap->by_chunk[chunk] : NULL;
}

/* Finds out which objects of a slab are free. */
static void
count_free(mf_heap *heap, mf_slab *one)
{
    mf_note *notes = (mf_note *)(void *)mf_chunk_memory(&heap->space, one->chunk);
    atomic_store(&heap->space.chunks[one->chunk].foreign, 0);
    one->free_count = 0;
    for (uint32_t i = mf_class_objects(one->class); i-- > 0;) {
        if (atomic_load(&notes[i].state) == MF_NOTE_EMPTY) {
            one->free[one->free_count++] = (uint16_t)i;
        }
    }
    list_slab(heap, one);
}

static bool
make_room_for_slab(mf_heap *heap, uint32_t chunk)
{
    if (chunk < heap->by_chunk_count) {
        return true;
    }
    uint32_t count = (chunk + 1) * 2;
    mf_slab **grown = realloc(heap->by_chunk, count * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    memset(grown + heap->by_chunk_count, 0, (count - heap->by_chunk_count) * sizeof *grown);
    heap->by_chunk = grown;
    heap->by_chunk_count = count;
    return true;
}

/* Notes that this process has a slab. */
static mf_slab *
know_slab(mf_heap *heap, uint32_t chunk, uint32_t class)
{
    if (slab_of(heap, chunk) != NULL) {
        forget_slab(heap, heap->by_chunk[chunk]); /* somebody else has written into the table */
    }
    mf_slab *one = make_room_for_slab(heap, chunk) ? malloc(sizeof *one + mf_class_objects(class) * sizeof one->free[0]) : NULL;
    if (one != NULL) {
        *one = (mf_slab){.chunk = chunk, .class = class};
        heap->by_chunk[chunk] = one;
        count_free(heap, one);
    }
    return one;
}

/* Looks at the slabs in which others have freed something. */
static void
look_for_freed(mf_heap *heap)
{
    for (uint32_t i = 0; i < heap->by_chunk_count; i++) {
        mf_slab *one = heap->by_chunk[i];
        if (one != NULL && atomic_load(&heap->space.chunks[i].foreign) != 0) {
            count_free(heap, one);
        }
    }
}

/* Takes over the slabs of one class that nobody has any more. */
static void
adopt(mf_heap *heap, uint32_t class)
{
    mf_space *space = &heap->space;
    for (uint32_t i = 0, top = mf_space_top(space); i < top; i++) {
        uint32_t orphan = mf_chunk_word(MF_SLAB, 0);
        if (atomic_load(&space->chunks[i].detail) == class &&
            atomic_compare_exchange_strong(&space->chunks[i].word, &orphan, mf_chunk_word(MF_SLAB, space->seat))) {
            atomic_fetch_sub(&space->head->orphans, 1);
            know_slab(heap, i, class);
        }
    }
}

static mf_slab *
new_slab(mf_heap *heap, uint32_t class)
{
    mf_space *space = &heap->space;
    uint32_t chunk = mf_space_claim(space, 1);
    if (chunk == MF_NO_CHUNK) {
        return NULL;
    }
    mf_slab *one = know_slab(heap, chunk, class);
    if (one == NULL) {
        mf_space_give(space, chunk, 1);
        return NULL;
    }
    atomic_store(&space->chunks[chunk].detail, class);
    atomic_store(&space->chunks[chunk].word, mf_chunk_word(MF_SLAB, space->seat));
    return one;
}

/* A slab of a class with a free object. */
static mf_slab *
slab_with_room(mf_heap *heap, uint32_t class)
{
    mf_slab **first = &heap->slabs[class];
    uint32_t foreign = atomic_load(&heap->space.head->foreign);
    if (*first == NULL && foreign != heap->foreign_seen) {
        heap->foreign_seen = foreign;
        look_for_freed(heap);
    }
    if (*first == NULL && atomic_load(&heap->space.head->orphans) != 0) {
        adopt(heap, class);
    }
    return *first != NULL ? *first : new_slab(heap, class);
}

/* An object in which nothing lives: by what is known here, and by its note, which others may have written. */
bool
mf_slab_take(mf_heap *heap, uint32_t class, mf_place *at)
{
    for (mf_slab *one; (one = slab_with_room(heap, class)) != NULL;) {
        bool found = one->free_count != 0;
        if (found) {
            *at = mf_place_object(heap, one->chunk, class, one->free[--one->free_count]);
        }
        if (one->free_count == 0) {
            unlist_slab(heap, one);
        }
        if (found && atomic_load(&at->note->state) == MF_NOTE_EMPTY) {
            return true;
        }
    }
    return false;
}

void
mf_slab_give_if_empty(mf_heap *heap, mf_slab *one)
{
    bool last = heap->slabs[one->class] == one && one->next == NULL;
    if (one->free_count == mf_class_objects(one->class) && !last && !heap->keep_slabs) {
        uint32_t chunk = one->chunk;
        forget_slab(heap, one);
        mf_space_give(&heap->space, chunk, 1);
    }
}

void
mf_slab_put(mf_heap *heap, const mf_place *at)
{
    mf_slab *one = slab_of(heap, at->chunk);
    mf_space *space = &heap->space;
    if (one == NULL) {
        atomic_fetch_add(&space->chunks[at->chunk].foreign, 1);
        atomic_fetch_add(&space->head->foreign, 1);
        return;
    }
    if (one->free_count == mf_class_objects(one->class) || at->object >= mf_class_objects(one->class)) {
        return; /* somebody else has written into the notes */
    }
    one->free[one->free_count++] = (uint16_t)at->object;
    list_slab(heap, one);
    mf_slab_give_if_empty(heap, one);
}

static bool
is_empty(const mf_heap *heap, uint32_t chunk, uint32_t class)
{
    const mf_note *notes = (const mf_note *)(const void *)mf_chunk_memory(&heap->space, chunk);
    for (uint32_t i = 0; i < mf_class_objects(class); i++) {
        if (atomic_load(&notes[i].state) != MF_NOTE_EMPTY) {
            return false;
        }
    }
    return true;
}

void
mf_slab_give_orphans(mf_heap *heap)
{
    mf_space *space = &heap->space;
    for (uint32_t i = 0, top = space->base != NULL ? mf_space_top(space) : 0; i < top; i++) {
        uint32_t orphan = mf_chunk_word(MF_SLAB, 0), class = atomic_load(&space->chunks[i].detail);
        if (atomic_load(&space->chunks[i].word) == orphan && class < MF_CLASSES && is_empty(heap, i, class) &&
            atomic_compare_exchange_strong(&space->chunks[i].word, &orphan, mf_chunk_word(MF_CLAIMED, space->seat))) {
            atomic_fetch_sub(&space->head->orphans, 1);
            mf_space_give(space, i, 1);
        }
    }
}

void
mf_slab_forget_all(mf_heap *heap)
{
    for (uint32_t i = 0; i < heap->by_chunk_count; i++) {
        free(heap->by_chunk[i]);
    }
    free(heap->by_chunk);
    heap->by_chunk = NULL;
    heap->by_chunk_count = 0;
    memset(heap->slabs, 0, sizeof heap->slabs);
}
