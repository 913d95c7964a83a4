/* See heap.h.
 *
 * A small block is an object of a slab: a chunk of objects of one size, with their notes in front of them.  A large one
 * has chunks of its own.  Which objects of a slab are free is known to the process that has the slab; it keeps that in
 * memory of its own, and finds out again from the notes what others have freed. */
#include "heap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EMPTY = 0, LIVE = 1, DEAD = 2, STATE = 3, /* DEAD: freed, but held */
    CONDEMNED = 4,
    HOLD = 256, /* how many hold it: the rest of the word */
    CLASSES = 36,
    LARGEST_OBJECT = 16 * 1024,
    BUCKETS = 2 * MF_TYPES,
    MOST_PROBES = 256
};

#define LARGEST_BLOCK (UINT64_C(1) << 46)

/* What the process that has a slab knows of it. */
typedef struct slab {
    uint32_t chunk, class, free_count;
    struct slab *next; /* of those of the class that have free objects */
    bool listed;
    uint16_t free[];
} slab;

struct mf_heap {
    pthread_mutex_t mutex; /* protects all below, against threads of this process */
    mf_space space;
    slab *slabs[CLASSES]; /* those with free objects */
    slab **by_chunk;
    uint32_t by_chunk_count;
    uint32_t foreign_seen;
    bool keep_slabs; /* also empty ones: their notes are being looked at */
    uint16_t buckets[BUCKETS]; /* number + 1 of a type, by its hash */
    uint32_t *seats, seat_count, next_seat;
    mf_heap *next; /* all heaps of the process, for a fork */
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static mf_heap *heaps;

/* ---- the heap itself ---------------------------------------------------------------------------------------------------- */

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

static void
forget_slabs(mf_heap *heap)
{
    for (uint32_t i = 0; i < heap->by_chunk_count; i++) {
        free(heap->by_chunk[i]);
    }
    free(heap->by_chunk);
    heap->by_chunk = NULL;
    heap->by_chunk_count = 0;
    memset(heap->slabs, 0, sizeof heap->slabs);
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
    forget_slabs(heap);
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

/* ---- types -------------------------------------------------------------------------------------------------------------- */

static uint32_t
hash_of(const mf_block_type *type)
{
    uint32_t hash = 2166136261u ^ (uint32_t)type->size ^ (uint32_t)type->tail_size << 8;
    for (const char *at = type->name; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    }
    return hash;
}

static bool
is_same_type(const mf_type_record *record, const mf_block_type *type)
{
    return atomic_load(&record->ready) == 1 && record->size == type->size && record->align == type->align &&
           record->tail_offset == type->tail_offset && record->tail_size == type->tail_size &&
           strncmp(record->name, type->name, sizeof record->name) == 0 &&
           strncmp(record->tail, type->tail != NULL ? type->tail : "", sizeof record->tail) == 0;
}

static uint32_t
type_count(const mf_heap *heap)
{
    uint32_t count = heap->space.base != NULL ? atomic_load(&heap->space.head->types) : 0;
    return count < MF_TYPES ? count : MF_TYPES;
}

static uint32_t
add_type(mf_heap *heap, const mf_block_type *type)
{
    if (type_count(heap) == MF_TYPES) {
        return MF_TYPES;
    }
    uint32_t number = atomic_fetch_add(&heap->space.head->types, 1);
    if (number >= MF_TYPES) {
        return MF_TYPES;
    }
    mf_type_record *record = &heap->space.types[number];
    record->size = type->size;
    record->align = type->align;
    record->tail_offset = type->tail_offset;
    record->tail_size = type->tail_size;
    strcpy(record->name, type->name);
    strcpy(record->tail, type->tail != NULL ? type->tail : "");
    atomic_store(&record->ready, 1);
    return number;
}

/* The number of a type, which gets one if it has none; MF_TYPES: there is no room. */
static uint32_t
type_number(mf_heap *heap, const mf_block_type *type)
{
    uint32_t bucket = hash_of(type) % BUCKETS, number, probes = 0;
    for (; heap->buckets[bucket] != 0; bucket = (bucket + 1) % BUCKETS) {
        number = heap->buckets[bucket] - 1u;
        if (is_same_type(&heap->space.types[number], type)) {
            return number;
        }
        if (++probes == MOST_PROBES) { /* somebody else has written into the types */
            memset(heap->buckets, 0, sizeof heap->buckets);
        }
    }
    for (number = 0; number < type_count(heap) && !is_same_type(&heap->space.types[number], type); number++) {
    }
    if (number == type_count(heap)) {
        number = add_type(heap, type);
    }
    if (number < MF_TYPES) {
        heap->buckets[bucket] = (uint16_t)(number + 1);
    }
    return number;
}

static bool
is_sound(const mf_block_type *type)
{
    return type->size < LARGEST_BLOCK && type->align <= MF_CHUNK && (type->align & (type->align - 1)) == 0 &&
           type->tail_offset < LARGEST_BLOCK && type->tail_size < LARGEST_BLOCK && (type->tail != NULL) == (type->tail_size != 0) &&
           strlen(type->name) < MF_TYPE_NAME && (type->tail == NULL || strlen(type->tail) < MF_TAIL_NAME);
}

uint32_t
mf_heap_types(mf_heap *heap)
{
    pthread_mutex_lock(&heap->mutex);
    uint32_t count = type_count(heap);
    pthread_mutex_unlock(&heap->mutex);
    return count;
}

/* Without its names. */
static mf_block_type
type_of(const mf_heap *heap, uint32_t number)
{
    const mf_type_record *record = &heap->space.types[number];
    return (mf_block_type){.size = record->size, .align = record->align, .tail_offset = record->tail_offset,
                           .tail_size = record->tail_size};
}

bool
mf_heap_type(mf_heap *heap, uint32_t number, mf_block_type *type, char name[MF_TYPE_NAME], char tail[MF_TAIL_NAME])
{
    pthread_mutex_lock(&heap->mutex);
    bool known = number < type_count(heap) && atomic_load(&heap->space.types[number].ready) == 1;
    if (known) {
        *type = type_of(heap, number);
        memcpy(name, heap->space.types[number].name, MF_TYPE_NAME);
        memcpy(tail, heap->space.types[number].tail, MF_TAIL_NAME);
        name[MF_TYPE_NAME - 1] = tail[MF_TAIL_NAME - 1] = '\0';
        type->name = name;
        type->tail = tail[0] != '\0' && type->tail_size != 0 ? tail : NULL;
    }
    pthread_mutex_unlock(&heap->mutex);
    return known;
}

/* ---- sizes -------------------------------------------------------------------------------------------------------------- */

/* Bytes of a block, UINT64_MAX: more than there can be. */
static uint64_t
bytes_of(const mf_block_type *type, uint64_t count)
{
    uint64_t fixed = type->tail_size != 0 ? type->tail_offset : 0;
    uint64_t each = type->tail_size != 0 ? type->tail_size : type->size;
    if (fixed >= LARGEST_BLOCK || (each != 0 && count > (LARGEST_BLOCK - fixed) / each)) {
        return UINT64_MAX;
    }
    uint64_t bytes = fixed + count * each;
    return type->tail_size != 0 && bytes < type->size ? type->size : bytes;
}

/* What a block takes up: a byte more than it has, so that a pointer past its end never points to another block. */
static uint64_t
room_for(uint64_t bytes)
{
    return bytes + 1;
}

/* 16, 32 … 128, then four to each doubling. */
static uint32_t
class_size(uint32_t class)
{
    return class < 8 ? 16 * (class + 1) : (5 + (class - 8) % 4) << (5 + (class - 8) / 4);
}

/* The smallest class whose objects have this size and alignment; CLASSES: none. */
static uint32_t
class_for(uint64_t bytes, uint64_t align)
{
    uint32_t class = 0;
    if (bytes > LARGEST_OBJECT || align > 64) {
        return CLASSES;
    }
    while (class < CLASSES && (class_size(class) < bytes || class_size(class) % (align > 16 ? align : 16) != 0)) {
        class++;
    }
    return class;
}

static uint32_t
objects_in(uint32_t class)
{
    return (MF_CHUNK - 64) / (class_size(class) + (uint32_t)sizeof(mf_note));
}

static uint32_t
first_object(uint32_t class)
{
    return (objects_in(class) * (uint32_t)sizeof(mf_note) + 63) & ~63u;
}

static uint32_t
chunks_for(uint64_t bytes)
{
    uint64_t chunks = (bytes + MF_CHUNK - 1) / MF_CHUNK;
    return chunks == 0 ? 1 : chunks < MF_NO_CHUNK ? (uint32_t)chunks : MF_NO_CHUNK - 1;
}

/* ---- places ------------------------------------------------------------------------------------------------------------- */

/* Where a block is, or may be. */
typedef struct place {
    mf_note *note;
    uint32_t chunk, object; /* object: MF_NO_CHUNK for a large block */
    uintptr_t start;
    size_t capacity;
} place;

static place
object_place(const mf_heap *heap, uint32_t chunk, uint32_t class, uint32_t object)
{
    char *memory = mf_chunk_memory(&heap->space, chunk);
    return (place){.note = (mf_note *)(void *)memory + object, .chunk = chunk, .object = object,
                   .start = (uintptr_t)memory + first_object(class) + (uintptr_t)object * class_size(class),
                   .capacity = class_size(class)};
}

static place
large_place(const mf_heap *heap, uint32_t chunk, uint32_t run)
{
    return (place){.note = &heap->space.chunks[chunk].large, .chunk = chunk, .object = MF_NO_CHUNK,
                   .start = (uintptr_t)mf_chunk_memory(&heap->space, chunk), .capacity = (size_t)run * MF_CHUNK};
}

static bool
locate_object(const mf_heap *heap, uint32_t chunk, uintptr_t address, place *found)
{
    uint32_t class = atomic_load(&heap->space.chunks[chunk].detail);
    uintptr_t offset = address - (uintptr_t)mf_chunk_memory(&heap->space, chunk);
    if (class >= CLASSES || offset < first_object(class)) {
        return false;
    }
    uint32_t object = (uint32_t)((offset - first_object(class)) / class_size(class));
    if (object >= objects_in(class)) {
        return false;
    }
    *found = object_place(heap, chunk, class, object);
    return true;
}

/* The place that has this address in it. */
static bool
locate(const mf_heap *heap, uintptr_t address, place *found)
{
    uint32_t chunk = mf_space_chunk_of(&heap->space, address);
    if (chunk == MF_NO_CHUNK) {
        return false;
    }
    uint32_t kind = mf_chunk_kind(atomic_load(&heap->space.chunks[chunk].word));
    if (kind == MF_SLAB) {
        return locate_object(heap, chunk, address, found);
    }
    if (kind == MF_MORE) {
        uint32_t back = atomic_load(&heap->space.chunks[chunk].detail);
        chunk -= back <= chunk ? back : 0;
    }
    uint32_t run = mf_space_run(&heap->space, chunk);
    if (run == 0) {
        return false;
    }
    *found = large_place(heap, chunk, run);
    return address - found->start < found->capacity;
}

/* What is known of the block at a place.  False: there is no live one, or what is written about it makes no sense. */
static bool
describe(const mf_heap *heap, const place *at, mf_block *block)
{
    uint32_t state = atomic_load(&at->note->state), type = atomic_load(&at->note->type);
    uint64_t count = atomic_load(&at->note->count);
    if ((state & STATE) != LIVE || type >= type_count(heap)) {
        return false;
    }
    mf_block_type described = type_of(heap, type);
    uint64_t bytes = bytes_of(&described, count);
    *block = (mf_block){.address = at->start, .size = (size_t)bytes, .count = count, .type = type,
                        .owner = atomic_load(&at->note->owner), .serial = atomic_load(&at->note->serial),
                        .condemned = (state & CONDEMNED) != 0};
    return bytes <= at->capacity;
}

/* The live block that begins at an address. */
static bool
block_at(const mf_heap *heap, const void *address, place *at, mf_block *block)
{
    return locate(heap, (uintptr_t)address, at) && at->start == (uintptr_t)address && describe(heap, at, block);
}

/* ---- slabs -------------------------------------------------------------------------------------------------------------- */

static void
list_slab(mf_heap *heap, slab *one)
{
    if (!one->listed && one->free_count != 0) {
        one->listed = true;
        one->next = heap->slabs[one->class];
        heap->slabs[one->class] = one;
    }
}

static void
unlist_slab(mf_heap *heap, slab *one)
{
    for (slab **link = &heap->slabs[one->class]; *link != NULL; link = &(*link)->next) {
        if (*link == one) {
            *link = one->next;
            break;
        }
    }
    one->listed = false;
}

static void
forget_slab(mf_heap *heap, slab *one)
{
    unlist_slab(heap, one);
    heap->by_chunk[one->chunk] = NULL;
    free(one);
}

static slab *
slab_of(const mf_heap *heap, uint32_t chunk)
{
    return chunk < heap->by_chunk_count ? heap->by_chunk[chunk] : NULL;
}

/* Finds out which objects of a slab are free. */
static void
count_free(mf_heap *heap, slab *one)
{
    mf_note *notes = (mf_note *)(void *)mf_chunk_memory(&heap->space, one->chunk);
    atomic_store(&heap->space.chunks[one->chunk].foreign, 0);
    one->free_count = 0;
    for (uint32_t i = objects_in(one->class); i-- > 0;) {
        if (atomic_load(&notes[i].state) == EMPTY) {
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
    slab **grown = realloc(heap->by_chunk, count * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    memset(grown + heap->by_chunk_count, 0, (count - heap->by_chunk_count) * sizeof *grown);
    heap->by_chunk = grown;
    heap->by_chunk_count = count;
    return true;
}

/* Notes that this process has a slab. */
static slab *
know_slab(mf_heap *heap, uint32_t chunk, uint32_t class)
{
    if (slab_of(heap, chunk) != NULL) {
        forget_slab(heap, heap->by_chunk[chunk]); /* somebody else has written into the table */
    }
    slab *one = make_room_for_slab(heap, chunk) ? malloc(sizeof *one + objects_in(class) * sizeof one->free[0]) : NULL;
    if (one != NULL) {
        *one = (slab){.chunk = chunk, .class = class};
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
        slab *one = heap->by_chunk[i];
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

static slab *
new_slab(mf_heap *heap, uint32_t class)
{
    mf_space *space = &heap->space;
    uint32_t chunk = mf_space_claim(space, 1);
    if (chunk == MF_NO_CHUNK) {
        return NULL;
    }
    slab *one = know_slab(heap, chunk, class);
    if (one == NULL) {
        mf_space_give(space, chunk, 1);
        return NULL;
    }
    atomic_store(&space->chunks[chunk].detail, class);
    atomic_store(&space->chunks[chunk].word, mf_chunk_word(MF_SLAB, space->seat));
    return one;
}

/* A slab of a class with a free object. */
static slab *
slab_with_room(mf_heap *heap, uint32_t class)
{
    slab **first = &heap->slabs[class];
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
static bool
take_object(mf_heap *heap, uint32_t class, place *at)
{
    for (slab *one; (one = slab_with_room(heap, class)) != NULL;) {
        bool found = one->free_count != 0;
        if (found) {
            *at = object_place(heap, one->chunk, class, one->free[--one->free_count]);
        }
        if (one->free_count == 0) {
            unlist_slab(heap, one);
        }
        if (found && atomic_load(&at->note->state) == EMPTY) {
            return true;
        }
    }
    return false;
}

/* A slab without blocks is given back, unless it is the last with room. */
static void
give_if_empty(mf_heap *heap, slab *one)
{
    bool last = heap->slabs[one->class] == one && one->next == NULL;
    if (one->free_count == objects_in(one->class) && !last && !heap->keep_slabs) {
        uint32_t chunk = one->chunk;
        forget_slab(heap, one);
        mf_space_give(&heap->space, chunk, 1);
    }
}

static void
free_object(mf_heap *heap, const place *at)
{
    slab *one = slab_of(heap, at->chunk);
    mf_space *space = &heap->space;
    if (one == NULL) {
        atomic_fetch_add(&space->chunks[at->chunk].foreign, 1);
        atomic_fetch_add(&space->head->foreign, 1);
        return;
    }
    if (one->free_count == objects_in(one->class) || at->object >= objects_in(one->class)) {
        return; /* somebody else has written into the notes */
    }
    one->free[one->free_count++] = (uint16_t)at->object;
    list_slab(heap, one);
    give_if_empty(heap, one);
}

static bool
is_empty(const mf_heap *heap, uint32_t chunk, uint32_t class)
{
    const mf_note *notes = (const mf_note *)(const void *)mf_chunk_memory(&heap->space, chunk);
    for (uint32_t i = 0; i < objects_in(class); i++) {
        if (atomic_load(&notes[i].state) != EMPTY) {
            return false;
        }
    }
    return true;
}

/* Gives back the slabs that nobody has, and in which nothing lives. */
static void
give_empty_orphans(mf_heap *heap)
{
    mf_space *space = &heap->space;
    for (uint32_t i = 0, top = space->base != NULL ? mf_space_top(space) : 0; i < top; i++) {
        uint32_t orphan = mf_chunk_word(MF_SLAB, 0), class = atomic_load(&space->chunks[i].detail);
        if (atomic_load(&space->chunks[i].word) == orphan && class < CLASSES && is_empty(heap, i, class) &&
            atomic_compare_exchange_strong(&space->chunks[i].word, &orphan, mf_chunk_word(MF_CLAIMED, space->seat))) {
            atomic_fetch_sub(&space->head->orphans, 1);
            mf_space_give(space, i, 1);
        }
    }
}

/* ---- making and freeing -------------------------------------------------------------------------------------------------- */

static bool
take_large(mf_heap *heap, uint64_t bytes, place *at)
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
    atomic_store(&space->chunks[first].large.state, EMPTY);
    atomic_store(&space->chunks[first].detail, run);
    atomic_store(&space->chunks[first].word, mf_chunk_word(MF_LARGE, space->seat));
    *at = large_place(heap, first, run);
    return true;
}

static mf_heap_result
make(mf_heap *heap, const mf_block_type *type, uint64_t count, uint32_t owner, place *at)
{
    uint64_t bytes = is_sound(type) ? bytes_of(type, count) : UINT64_MAX;
    if (bytes > LARGEST_BLOCK) {
        return is_sound(type) ? MF_HEAP_NO_ROOM : MF_HEAP_BAD_TYPE;
    }
    uint64_t room = room_for(bytes);
    uint32_t class = class_for(room, type->align);
    if (heap->space.base == NULL && !mf_space_reserve(&heap->space)) {
        return MF_HEAP_NO_ROOM;
    }
    uint32_t number = type_number(heap, type);
    if (number == MF_TYPES || !(class < CLASSES ? take_object(heap, class, at) : take_large(heap, room, at))) {
        return MF_HEAP_NO_ROOM;
    }
    if (class < CLASSES) {
        memset((void *)at->start, 0, at->capacity);
    }
    atomic_store_explicit(&at->note->type, number, memory_order_relaxed);
    atomic_store_explicit(&at->note->count, count, memory_order_relaxed);
    atomic_store_explicit(&at->note->owner, owner, memory_order_relaxed);
    uint32_t serial = atomic_fetch_add(&heap->space.head->serial, 1);
    atomic_store_explicit(&at->note->serial, serial, memory_order_relaxed);
    atomic_store_explicit(&at->note->state, LIVE, memory_order_release);
    return MF_HEAP_OK;
}

/* The memory of a block that is no more can be used again. */
static void
reuse(mf_heap *heap, const place *at)
{
    if (at->object != MF_NO_CHUNK) {
        free_object(heap, at);
    } else {
        mf_space_give(&heap->space, at->chunk, (uint32_t)(at->capacity / MF_CHUNK));
    }
}

static bool
discard(mf_heap *heap, const place *at)
{
    uint32_t state = atomic_load(&at->note->state), then;
    do {
        if ((state & STATE) != LIVE) {
            return false;
        }
        then = state >= HOLD ? (state & ~(uint32_t)STATE) | DEAD : EMPTY;
    } while (!atomic_compare_exchange_weak(&at->note->state, &state, then));
    if (then == EMPTY) {
        reuse(heap, at);
    }
    return true;
}

mf_heap_result
mf_heap_make(mf_heap *heap, const mf_block_type *type, uint64_t count, uint32_t owner, void **made)
{
    place at;
    pthread_mutex_lock(&heap->mutex);
    mf_heap_result result = make(heap, type, count, owner, &at);
    pthread_mutex_unlock(&heap->mutex);
    *made = result == MF_HEAP_OK ? (void *)at.start : NULL;
    return result;
}

mf_heap_result
mf_heap_discard(mf_heap *heap, void *block, uint32_t owner)
{
    place at;
    mf_block known;
    mf_heap_result result = MF_HEAP_OK;
    pthread_mutex_lock(&heap->mutex);
    if (!block_at(heap, block, &at, &known)) {
        result = MF_HEAP_NO_BLOCK;
    } else if (known.owner == MF_PYTHON && owner != MF_PYTHON) {
        result = MF_HEAP_NOT_YOURS;
    } else if (!discard(heap, &at)) {
        result = MF_HEAP_NO_BLOCK;
    }
    pthread_mutex_unlock(&heap->mutex);
    return result;
}

/* ---- resizing ------------------------------------------------------------------------------------------------------------ */

/* Whether a block may stay where it is: it fits, and doesn't waste much that it needn't. */
static bool
may_stay(const place *at, uint64_t bytes, uint64_t align)
{
    uint64_t room = room_for(bytes);
    bool smallest = at->capacity <= 64 || (at->capacity == MF_CHUNK && class_for(room, align) == CLASSES);
    return room <= at->capacity && (smallest || room > at->capacity / 2);
}

static mf_heap_result
move(mf_heap *heap, place *at, const mf_block *old, const mf_block_type *type, uint64_t count)
{
    place made;
    mf_heap_result result = make(heap, type, count, old->owner, &made);
    if (result == MF_HEAP_OK) {
        uint64_t bytes = bytes_of(type, count);
        memcpy((void *)made.start, (const void *)at->start, old->size < bytes ? old->size : (size_t)bytes);
        discard(heap, at);
        *at = made;
    }
    return result;
}

static mf_heap_result
resize(mf_heap *heap, place *at, const mf_block *old, const mf_block_type *type, uint64_t count)
{
    uint64_t bytes = bytes_of(type, count);
    mf_block_type known = type_of(heap, old->type);
    if (known.size != type->size || known.tail_size != type->tail_size || known.tail_offset != type->tail_offset) {
        return MF_HEAP_BAD_TYPE;
    }
    if (bytes > LARGEST_BLOCK) {
        return MF_HEAP_NO_ROOM;
    }
    if (!may_stay(at, bytes, type->align)) {
        mf_heap_result result = move(heap, at, old, type, count);
        if (result == MF_HEAP_OK || room_for(bytes) > at->capacity) {
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
    place at;
    mf_block known;
    mf_heap_result result;
    pthread_mutex_lock(&heap->mutex);
    if (!is_sound(type)) {
        result = MF_HEAP_BAD_TYPE;
    } else if (!block_at(heap, *block, &at, &known)) {
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

/* ---- looking ------------------------------------------------------------------------------------------------------------- */

/* Calls `visit` with every place in which a block may be, until it returns false. */
static void
each_place(mf_heap *heap, bool (*visit)(mf_heap *, const place *, void *), void *data)
{
    mf_space *space = &heap->space;
    for (uint32_t i = 0, top = space->base != NULL ? mf_space_top(space) : 0; i < top;) {
        uint32_t run = mf_space_run(space, i), class = atomic_load(&space->chunks[i].detail);
        if (run != 0) {
            place at = large_place(heap, i, run);
            if (!visit(heap, &at, data)) {
                return;
            }
        } else if (mf_chunk_kind(atomic_load(&space->chunks[i].word)) == MF_SLAB && class < CLASSES) {
            for (uint32_t object = 0; object < objects_in(class); object++) {
                place at = object_place(heap, i, class, object);
                if (atomic_load_explicit(&at.note->state, memory_order_relaxed) != EMPTY && !visit(heap, &at, data)) {
                    return;
                }
            }
        }
        i += run != 0 ? run : 1;
    }
}

typedef struct listing {
    mf_block *blocks;
    size_t count, room;
    bool failed;
} listing;

static bool
list_one(mf_heap *heap, const place *at, void *data)
{
    listing *all = data;
    mf_block block;
    if (!describe(heap, at, &block) || block.condemned) {
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
    each_place(heap, list_one, &all);
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
    place at;
    return locate(heap, address, &at) && describe(heap, &at, found) && address - found->address <= found->size;
}

bool
mf_heap_find(mf_heap *heap, uintptr_t address, mf_block *found)
{
    pthread_mutex_lock(&heap->mutex);
    bool there = find(heap, address, found) || (find(heap, address - 1, found) && address - found->address == found->size);
    pthread_mutex_unlock(&heap->mutex);
    return there;
}

/* ---- swaps --------------------------------------------------------------------------------------------------------------- */

mf_heap_result
mf_heap_rename(mf_heap *heap, void *block, const mf_block_type *type)
{
    place at;
    mf_block known;
    mf_heap_result result = MF_HEAP_NO_BLOCK;
    pthread_mutex_lock(&heap->mutex);
    if (block_at(heap, block, &at, &known)) {
        bool fits = is_sound(type) && bytes_of(type, known.count) == known.size;
        uint32_t number = fits ? type_number(heap, type) : MF_TYPES;
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
    place at;
    mf_block known;
    pthread_mutex_lock(&heap->mutex);
    bool there = block_at(heap, block, &at, &known);
    if (there) {
        atomic_store(&at.note->owner, owner);
        if (condemned) {
            atomic_fetch_or(&at.note->state, CONDEMNED);
        } else {
            atomic_fetch_and(&at.note->state, ~(uint32_t)CONDEMNED);
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
discard_one(mf_heap *heap, const place *at, void *data)
{
    const sentence *which = data;
    uint32_t owner = atomic_load(&at->note->owner), state = atomic_load(&at->note->state);
    if (owner >= which->first && owner <= which->last && (!which->condemned_only || (state & CONDEMNED) != 0)) {
        discard(heap, at);
    }
    return true;
}

static void
discard_all(mf_heap *heap, sentence which)
{
    pthread_mutex_lock(&heap->mutex);
    heap->keep_slabs = true;
    each_place(heap, discard_one, &which);
    heap->keep_slabs = false;
    for (uint32_t i = 0; i < heap->by_chunk_count; i++) {
        if (heap->by_chunk[i] != NULL) {
            give_if_empty(heap, heap->by_chunk[i]);
        }
    }
    give_empty_orphans(heap);
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
    place at;
    mf_block known;
    pthread_mutex_lock(&heap->mutex);
    bool held = block_at(heap, (const void *)address, &at, &known) && known.serial == serial;
    uint32_t state = held ? atomic_load(&at.note->state) : EMPTY;
    do {
        held = held && (state & STATE) == LIVE && state < UINT32_MAX - HOLD;
    } while (held && !atomic_compare_exchange_weak(&at.note->state, &state, state + HOLD));
    pthread_mutex_unlock(&heap->mutex);
    return held;
}

void
mf_heap_let_go(mf_heap *heap, uintptr_t address)
{
    place at;
    pthread_mutex_lock(&heap->mutex);
    bool there = locate(heap, address, &at) && at.start == address;
    uint32_t state = there ? atomic_load(&at.note->state) : EMPTY, then = EMPTY;
    do {
        there = there && state >= HOLD;
        then = state - HOLD;
        then = (then & STATE) == DEAD && then < HOLD ? EMPTY : then;
    } while (there && !atomic_compare_exchange_weak(&at.note->state, &state, then));
    if (there && then == EMPTY) {
        reuse(heap, &at);
    }
    pthread_mutex_unlock(&heap->mutex);
}

/* ---- workers ------------------------------------------------------------------------------------------------------------- */

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
    give_empty_orphans(heap);
    pthread_mutex_unlock(&heap->mutex);
}

/* ---- forks --------------------------------------------------------------------------------------------------------------- */

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
copy_one(mf_heap *heap, const place *at, void *data)
{
    copying *copy = data;
    mf_block block;
    bool kept = (describe(heap, at, &block) && block.owner == MF_PYTHON) || atomic_load(&at->note->state) >= HOLD;
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
        each_place(heap, copy_one, &copy);
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
