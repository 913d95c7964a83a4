/* See heap.h. */
#include "heap_parts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static mf_heap *heaps;

/* ---- the heap itself ------------------------------------------------------------------------------------------------- */

mf_heap *
mf_heap_new(void)
{
    mf_heap *heap = calloc(1, sizeof *heap);
    if (heap != NULL) {
        pthread_mutex_init(&heap->mutex, NULL);
        heap->next_seat = MF_HOST_SEAT + 1;
        pthread_mutex_lock(&list_lock);
        heap->next = heaps;
        heaps = heap;
        pthread_mutex_unlock(&list_lock);
    }
    return heap;
}

bool
mf_heap_share(mf_heap *heap, void *memory, size_t size)
{
    return heap->space.base == NULL && mf_space_format(&heap->space, memory, size);
}

mf_heap *
mf_heap_join(void *memory, size_t size, uint32_t seat)
{
    mf_heap *heap = mf_heap_new();
    if (heap != NULL && !mf_space_join(&heap->space, memory, size, seat)) {
        mf_heap_free(heap);
        return NULL;
    }
    return heap;
}

void
mf_heap_limit(mf_heap *heap, uint64_t bytes)
{
    heap->space.most = bytes;
}

void
mf_heap_free(mf_heap *heap)
{
    pthread_mutex_lock(&list_lock);
    for (mf_heap **link = &heaps; *link != NULL; link = &(*link)->next) {
        if (*link == heap) {
            *link = heap->next;
            break;
        }
    }
    pthread_mutex_unlock(&list_lock);
    mf_slab_forget_all(heap);
    mf_space_release(&heap->space);
    pthread_mutex_destroy(&heap->mutex);
    free(heap->seats);
    free(heap);
}

bool
mf_heap_range(mf_heap *heap, uintptr_t *low, uintptr_t *high)
{
    pthread_mutex_lock(&heap->mutex);
    *low = (uintptr_t)heap->space.base;
    *high = *low + heap->space.size;
    pthread_mutex_unlock(&heap->mutex);
    return *low != 0;
}

/* The child gets the heaps as they are when nobody is changing them. */
static void
before_fork(void)
{
    pthread_mutex_lock(&list_lock);
    for (mf_heap *heap = heaps; heap != NULL; heap = heap->next) {
        pthread_mutex_lock(&heap->mutex);
    }
}

static void
after_fork(void)
{
    for (mf_heap *heap = heaps; heap != NULL; heap = heap->next) {
        pthread_mutex_unlock(&heap->mutex);
    }
    pthread_mutex_unlock(&list_lock);
}

__attribute__((constructor)) static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

/* ---- making and freeing ---------------------------------------------------------------------------------------------- */

static uint32_t
chunks_for(uint64_t bytes)
{
    uint64_t chunks = (bytes + MF_CHUNK - 1) / MF_CHUNK;
    return chunks == 0 ? 1 : chunks < MF_NO_CHUNK ? (uint32_t)chunks : MF_NO_CHUNK - 1;
}

static bool
take_large(mf_heap *heap, uint64_t bytes, mf_place *at)
{
    mf_space *space = &heap->space;
    uint32_t run = chunks_for(bytes), first = mf_space_claim(space, run);
    if (first == MF_NO_CHUNK) {
        return false;
    }
    for (uint32_t i = 1; i < run; i++) {
        atomic_store(&space->chunks[first + i].detail, i);
        atomic_store(&space->chunks[first + i].word, mf_chunk_word(MF_MORE, space->seat));
    }
    atomic_store(&space->chunks[first].large.state, MF_NOTE_EMPTY);
    atomic_store(&space->chunks[first].detail, run);
    atomic_store(&space->chunks[first].word, mf_chunk_word(MF_LARGE, space->seat));
    *at = mf_place_large(heap, first, run);
    return true;
}

static mf_heap_result
make(mf_heap *heap, const mf_block_type *type, uint64_t count, uint32_t owner, mf_place *at)
{
    uint64_t bytes = mf_types_sound(type) ? mf_place_bytes(type, count) : UINT64_MAX;
    if (bytes > MF_LARGEST_BLOCK) {
        return mf_types_sound(type) ? MF_HEAP_NO_ROOM : MF_HEAP_BAD_TYPE;
    }
    uint64_t room = mf_place_room(bytes);
    uint32_t class = mf_class_for(room, type->align);
    if (heap->space.base == NULL && !mf_space_reserve(&heap->space)) {
        return MF_HEAP_NO_ROOM;
    }
    uint32_t number = mf_types_number(heap, type);
    if (number == MF_TYPES || !(class < MF_CLASSES ? mf_slab_take(heap, class, at) : take_large(heap, room, at))) {
        return MF_HEAP_NO_ROOM;
    }
    if (class < MF_CLASSES) {
        memset((void *)at->start, 0, at->capacity);
    }
    atomic_store_explicit(&at->note->type, number, memory_order_relaxed);
    atomic_store_explicit(&at->note->count, count, memory_order_relaxed);
    atomic_store_explicit(&at->note->owner, owner, memory_order_relaxed);
    uint32_t serial = atomic_fetch_add(&heap->space.head->serial, 1);
    atomic_store_explicit(&at->note->serial, serial, memory_order_relaxed);
    atomic_store_explicit(&at->note->state, MF_NOTE_LIVE, memory_order_release);
    return MF_HEAP_OK;
}

/* The memory of a block that is no more can be used again. */
static void
reuse(mf_heap *heap, const mf_place *at)
{
    if (at->object != MF_NO_CHUNK) {
        mf_slab_put(heap, at);
    } else {
        mf_space_give(&heap->space, at->chunk, (uint32_t)(at->capacity / MF_CHUNK));
    }
}

static bool
discard(mf_heap *heap, const mf_place *at)
{
    uint32_t state = atomic_load(&at->note->state), then;
    do {
        if ((state & MF_NOTE_STATE) != MF_NOTE_LIVE) {
            return false;
        }
        then = state >= MF_NOTE_HOLD ? (state & ~(uint32_t)MF_NOTE_STATE) | MF_NOTE_DEAD : MF_NOTE_EMPTY;
    } while (!atomic_compare_exchange_weak(&at->note->state, &state, then));
    if (then == MF_NOTE_EMPTY) {
        reuse(heap, at);
    }
    return true;
}

mf_heap_result
mf_heap_make(mf_heap *heap, const mf_block_type *type, uint64_t count, uint32_t owner, void **made)
{
    mf_place at;
    pthread_mutex_lock(&heap->mutex);
    mf_heap_result result = make(heap, type, count, owner, &at);
    pthread_mutex_unlock(&heap->mutex);
    *made = result == MF_HEAP_OK ? (void *)at.start : NULL;
    return result;
}

mf_heap_result
mf_heap_discard(mf_heap *heap, void *block, uint32_t owner)
{
    mf_place at;
    mf_block known;
    mf_heap_result result = MF_HEAP_OK;
    pthread_mutex_lock(&heap->mutex);
    if (!mf_place_block(heap, block, &at, &known)) {
        result = MF_HEAP_NO_BLOCK;
    } else if (known.owner == MF_PYTHON && owner != MF_PYTHON) {
        result = MF_HEAP_NOT_YOURS;
    } else if (!discard(heap, &at)) {
        result = MF_HEAP_NO_BLOCK;
    }
    pthread_mutex_unlock(&heap->mutex);
    return result;
}

/* ---- resizing -------------------------------------------------------------------------------------------------------- */

/* Whether a block may stay where it is: it fits, and doesn't waste much that it needn't. */
static bool
may_stay(const mf_place *at, uint64_t bytes, uint64_t align)
{
    uint64_t room = mf_place_room(bytes);
    bool smallest = at->capacity <= 64 || (at->capacity == MF_CHUNK && mf_class_for(room, align) == MF_CLASSES);
    return room <= at->capacity && (smallest || room > at->capacity / 2);
}

static mf_heap_result
move(mf_heap *heap, mf_place *at, const mf_block *old, const mf_block_type *type, uint64_t count)
{
    mf_place made;
    mf_heap_result result = make(heap, type, count, old->owner, &made);
    if (result == MF_HEAP_OK) {
        uint64_t bytes = mf_place_bytes(type, count);
        memcpy((void *)made.start, (const void *)at->start, old->size < bytes ? old->size : (size_t)bytes);
        discard(heap, at);
        *at = made;
    }
    return result;
}

static mf_heap_result
resize(mf_heap *heap, mf_place *at, const mf_block *old, const mf_block_type *type, uint64_t count)
{
    uint64_t bytes = mf_place_bytes(type, count);
    mf_block_type known = mf_types_get(heap, old->type);
    if (known.size != type->size || known.tail_size != type->tail_size || known.tail_offset != type->tail_offset) {
        return MF_HEAP_BAD_TYPE;
    }
    if (bytes > MF_LARGEST_BLOCK) {
        return MF_HEAP_NO_ROOM;
    }
    if (!may_stay(at, bytes, type->align)) {
        mf_heap_result result = move(heap, at, old, type, count);
        if (result == MF_HEAP_OK || mf_place_room(bytes) > at->capacity) {
            return result;
        }
    }
    if (bytes > old->size) {
        memset((char *)at->start + old->size, 0, (size_t)bytes - old->size);
    }
    atomic_store(&at->note->count, count);
    return MF_HEAP_OK;
}

mf_heap_result
mf_heap_resize(mf_heap *heap, void **block, const mf_block_type *type, uint64_t count, uint32_t owner)
{
    mf_place at;
    mf_block known;
    mf_heap_result result;
    pthread_mutex_lock(&heap->mutex);
    if (!mf_types_sound(type)) {
        result = MF_HEAP_BAD_TYPE;
    } else if (!mf_place_block(heap, *block, &at, &known)) {
        result = MF_HEAP_NO_BLOCK;
    } else if (known.owner == MF_PYTHON && owner != MF_PYTHON) {
        result = MF_HEAP_NOT_YOURS;
    } else {
        result = resize(heap, &at, &known, type, count);
    }
    pthread_mutex_unlock(&heap->mutex);
    *block = result == MF_HEAP_OK ? (void *)at.start : *block;
    return result;
}

/* ---- looking --------------------------------------------------------------------------------------------------------- */

typedef struct listing {
    mf_block *blocks;
    size_t count, room;
    bool failed;
} listing;

static bool
list_one(mf_heap *heap, const mf_place *at, void *data)
{
    listing *all = data;
    mf_block block;
    if (!mf_place_describe(heap, at, &block) || block.condemned) {
        return true;
    }
    if (all->count == all->room) {
        size_t room = all->room != 0 ? 2 * all->room : 64;
        mf_block *grown = realloc(all->blocks, room * sizeof *grown);
        if (grown == NULL) {
            all->failed = true;
            return false;
        }
        all->blocks = grown;
        all->room = room;
    }
    all->blocks[all->count++] = block;
    return true;
}

mf_block *
mf_heap_list(mf_heap *heap, size_t *count)
{
    listing all = {NULL, 0, 0, false};
    pthread_mutex_lock(&heap->mutex);
    mf_place_each(heap, list_one, &all);
    pthread_mutex_unlock(&heap->mutex);
    if (all.failed) {
        free(all.blocks);
        all = (listing){NULL, SIZE_MAX, 0, true};
    }
    *count = all.count;
    return all.blocks;
}

/* The block at an address, or the one that ends right there. */
static bool
find(const mf_heap *heap, uintptr_t address, mf_block *found)
{
    mf_place at;
    return mf_place_locate(heap, address, &at) && mf_place_describe(heap, &at, found) && address - found->address <= found->size;
}

bool
mf_heap_find(mf_heap *heap, uintptr_t address, mf_block *found)
{
    pthread_mutex_lock(&heap->mutex);
    bool there = find(heap, address, found) || (find(heap, address - 1, found) && address - found->address == found->size);
    pthread_mutex_unlock(&heap->mutex);
    return there;
}

/* ---- swaps ----------------------------------------------------------------------------------------------------------- */

mf_heap_result
mf_heap_rename(mf_heap *heap, void *block, const mf_block_type *type)
{
    mf_place at;
    mf_block known;
    mf_heap_result result = MF_HEAP_NO_BLOCK;
    pthread_mutex_lock(&heap->mutex);
    if (mf_place_block(heap, block, &at, &known)) {
        bool fits = mf_types_sound(type) && mf_place_bytes(type, known.count) == known.size;
        uint32_t number = fits ? mf_types_number(heap, type) : MF_TYPES;
        result = !fits ? MF_HEAP_BAD_TYPE : number == MF_TYPES ? MF_HEAP_NO_ROOM : MF_HEAP_OK;
        if (result == MF_HEAP_OK) {
            atomic_store(&at.note->type, number);
        }
    }
    pthread_mutex_unlock(&heap->mutex);
    return result;
}

mf_heap_result
mf_heap_condemn(mf_heap *heap, void *block, bool condemned, uint32_t owner)
{
    mf_place at;
    mf_block known;
    pthread_mutex_lock(&heap->mutex);
    bool there = mf_place_block(heap, block, &at, &known);
    if (there) {
        atomic_store(&at.note->owner, owner);
        if (condemned) {
            atomic_fetch_or(&at.note->state, MF_NOTE_CONDEMNED);
        } else {
            atomic_fetch_and(&at.note->state, ~(uint32_t)MF_NOTE_CONDEMNED);
        }
    }
    pthread_mutex_unlock(&heap->mutex);
    return there ? MF_HEAP_OK : MF_HEAP_NO_BLOCK;
}

/* Which blocks are to be freed. */
typedef struct sentence {
    uint32_t first, last; /* owners */
    bool condemned_only;
} sentence;

static bool
discard_one(mf_heap *heap, const mf_place *at, void *data)
{
    const sentence *which = data;
    uint32_t owner = atomic_load(&at->note->owner), state = atomic_load(&at->note->state);
    if (owner >= which->first && owner <= which->last && (!which->condemned_only || (state & MF_NOTE_CONDEMNED) != 0)) {
        discard(heap, at);
    }
    return true;
}

static void
discard_all(mf_heap *heap, sentence which)
{
    pthread_mutex_lock(&heap->mutex);
    heap->keep_slabs = true;
    mf_place_each(heap, discard_one, &which);
    heap->keep_slabs = false;
    for (uint32_t i = 0; i < heap->by_chunk_count; i++) {
        if (heap->by_chunk[i] != NULL) {
            mf_slab_give_if_empty(heap, heap->by_chunk[i]);
        }
    }
    mf_slab_give_orphans(heap);
    pthread_mutex_unlock(&heap->mutex);
}

void
mf_heap_retire(mf_heap *heap, uint32_t owner, bool all)
{
    discard_all(heap, (sentence){owner, owner, !all});
}

void
mf_heap_drop(mf_heap *heap, uint32_t last_owner)
{
    discard_all(heap, (sentence){MF_PYTHON + 1, last_owner, false});
}

bool
mf_heap_hold(mf_heap *heap, uintptr_t address, uint32_t serial)
{
    mf_place at;
    mf_block known;
    pthread_mutex_lock(&heap->mutex);
    bool held = mf_place_block(heap, (const void *)address, &at, &known) && known.serial == serial;
    uint32_t state = held ? atomic_load(&at.note->state) : MF_NOTE_EMPTY;
    do {
        held = held && (state & MF_NOTE_STATE) == MF_NOTE_LIVE && state < UINT32_MAX - MF_NOTE_HOLD;
    } while (held && !atomic_compare_exchange_weak(&at.note->state, &state, state + MF_NOTE_HOLD));
    pthread_mutex_unlock(&heap->mutex);
    return held;
}

void
mf_heap_let_go(mf_heap *heap, uintptr_t address)
{
    mf_place at;
    pthread_mutex_lock(&heap->mutex);
    bool there = mf_place_locate(heap, address, &at) && at.start == address;
    uint32_t state = there ? atomic_load(&at.note->state) : MF_NOTE_EMPTY, then = MF_NOTE_EMPTY;
    do {
        there = there && state >= MF_NOTE_HOLD;
        then = state - MF_NOTE_HOLD;
        then = (then & MF_NOTE_STATE) == MF_NOTE_DEAD && then < MF_NOTE_HOLD ? MF_NOTE_EMPTY : then;
    } while (there && !atomic_compare_exchange_weak(&at.note->state, &state, then));
    if (there && then == MF_NOTE_EMPTY) {
        reuse(heap, &at);
    }
    pthread_mutex_unlock(&heap->mutex);
}

/* ---- workers --------------------------------------------------------------------------------------------------------- */

uint32_t
mf_heap_seat(mf_heap *heap)
{
    uint32_t seat = 0;
    pthread_mutex_lock(&heap->mutex);
    uint32_t *grown = realloc(heap->seats, (heap->seat_count + 1) * sizeof *grown);
    if (grown != NULL) {
        heap->seats = grown;
        seat = grown[heap->seat_count++] = heap->next_seat++;
    }
    pthread_mutex_unlock(&heap->mutex);
    return seat;
}

static bool
is_alive(void *data, uint32_t seat)
{
    const mf_heap *heap = data;
    bool found = seat == MF_HOST_SEAT;
    for (uint32_t i = 0; i < heap->seat_count && !found; i++) {
        found = heap->seats[i] == seat;
    }
    return found;
}

void
mf_heap_left(mf_heap *heap, uint32_t seat)
{
    pthread_mutex_lock(&heap->mutex);
    for (uint32_t i = 0; i < heap->seat_count; i++) {
        if (heap->seats[i] == seat) {
            heap->seats[i] = heap->seats[--heap->seat_count];
            break;
        }
    }
    mf_space_sweep(&heap->space, is_alive, heap);
    mf_slab_give_orphans(heap);
    pthread_mutex_unlock(&heap->mutex);
}

/* ---- forks ----------------------------------------------------------------------------------------------------------- */

static bool
write_all(const mf_heap *heap, int descriptor, const void *memory, size_t size)
{
    const char *at = memory;
    while (size != 0) {
        ssize_t written = pwrite(descriptor, at, size, (off_t)(at - heap->space.base));
        if (written <= 0) {
            return false;
        }
        at += written;
        size -= (size_t)written;
    }
    return true;
}

typedef struct copying {
    int descriptor;
    bool failed;
} copying;

static bool
copy_one(mf_heap *heap, const mf_place *at, void *data)
{
    copying *copy = data;
    mf_block block;
    bool kept = (mf_place_describe(heap, at, &block) && block.owner == MF_PYTHON) || atomic_load(&at->note->state) >= MF_NOTE_HOLD;
    const char *notes = mf_chunk_memory(&heap->space, at->chunk);
    if (kept && !write_all(heap, copy->descriptor, (const void *)at->start, at->capacity)) {
        copy->failed = true;
    }
    if (at->object != MF_NO_CHUNK && !write_all(heap, copy->descriptor, notes + at->object * sizeof(mf_note), sizeof(mf_note))) {
        copy->failed = true;
    }
    return !copy->failed;
}

bool
mf_heap_copy(mf_heap *heap, int descriptor)
{
    copying copy = {descriptor, false};
    pthread_mutex_lock(&heap->mutex);
    const mf_space *space = &heap->space;
    size_t tables = (size_t)((char *)&space->chunks[mf_space_top(space)] - space->base);
    copy.failed = !write_all(heap, descriptor, space->base, tables);
    if (!copy.failed) {
        mf_place_each(heap, copy_one, &copy);
    }
    pthread_mutex_unlock(&heap->mutex);
    return !copy.failed;
}

void
mf_heap_copied(mf_heap *heap)
{
    pthread_mutex_lock(&heap->mutex);
    heap->seat_count = 0;
    pthread_mutex_unlock(&heap->mutex);
    mf_heap_left(heap, 0);
    mf_heap_drop(heap, UINT32_MAX);
}
