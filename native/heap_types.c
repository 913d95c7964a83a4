/* The types of a heap's blocks: see heap_parts.h. */
#include "heap_parts.h"

#include <string.h>

enum { MOST_PROBES = 256 };

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

uint32_t
mf_types_count(const mf_heap *heap)
{
    uint32_t count = heap->space.base != NULL ? atomic_load(&heap->space.head->types) : 0;
    return count < MF_TYPES ? count : MF_TYPES;
}

static uint32_t
add_type(mf_heap *heap, const mf_block_type *type)
{
    if (mf_types_count(heap) == MF_TYPES) {
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

uint32_t
mf_types_number(mf_heap *heap, const mf_block_type *type)
{
    uint32_t bucket = hash_of(type) % MF_BUCKETS, number, probes = 0;
    for (; heap->buckets[bucket] != 0; bucket = (bucket + 1) % MF_BUCKETS) {
        number = heap->buckets[bucket] - 1u;
        if (is_same_type(&heap->space.types[number], type)) {
            return number;
        }
        if (++probes == MOST_PROBES) { /* somebody else has written into the types */
            memset(heap->buckets, 0, sizeof heap->buckets);
        }
    }
    for (number = 0; number < mf_types_count(heap) && !is_same_type(&heap->space.types[number], type); number++) {
    }
    if (number == mf_types_count(heap)) {
        number = add_type(heap, type);
    }
    if (number < MF_TYPES) {
        heap->buckets[bucket] = (uint16_t)(number + 1);
    }
    return number;
}

bool
mf_types_sound(const mf_block_type *type)
{
    return type->size < MF_LARGEST_BLOCK && type->align <= MF_CHUNK && (type->align & (type->align - 1)) == 0 &&
           type->tail_offset < MF_LARGEST_BLOCK && type->tail_size < MF_LARGEST_BLOCK && (type->tail != NULL) == (type->tail_size != 0) &&
           strlen(type->name) < MF_TYPE_NAME && (type->tail == NULL || strlen(type->tail) < MF_TAIL_NAME);
}

uint32_t
mf_heap_types(mf_heap *heap)
{
    pthread_mutex_lock(&heap->mutex);
    uint32_t count = mf_types_count(heap);
    pthread_mutex_unlock(&heap->mutex);
    return count;
}

mf_block_type
mf_types_get(const mf_heap *heap, uint32_t number)
{
    const mf_type_record *record = &heap->space.types[number];
    return (mf_block_type){.size = record->size, .align = record->align, .tail_offset = record->tail_offset,
                           .tail_size = record->tail_size};
}

bool
mf_heap_type(mf_heap *heap, uint32_t number, mf_block_type *type, char name[MF_TYPE_NAME], char tail[MF_TAIL_NAME])
{
    pthread_mutex_lock(&heap->mutex);
    bool known = number < mf_types_count(heap) && atomic_load(&heap->space.types[number].ready) == 1;
    if (known) {
        *type = mf_types_get(heap, number);
        memcpy(name, heap->space.types[number].name, MF_TYPE_NAME);
        memcpy(tail, heap->space.types[number].tail, MF_TAIL_NAME);
        name[MF_TYPE_NAME - 1] = tail[MF_TAIL_NAME - 1] = '\0';
        type->name = name;
        type->tail = tail[0] != '\0' && type->tail_size != 0 ? tail : NULL;
    }
    pthread_mutex_unlock(&heap->mutex);
    return known;
}

