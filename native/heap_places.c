/* Where a heap's blocks are: see heap_parts.h. */
#include "heap_parts.h"

enum { LARGEST_OBJECT = 16 * 1024 };

/* ---- sizes ----------------------------------------------------------------------------------------------------------- */

uint64_t
mf_place_bytes(const mf_block_type *type, uint64_t count)
{
    uint64_t fixed = type->tail_size != 0 ? type->tail_offset : 0;
    uint64_t each = type->tail_size != 0 ? type->tail_size : type->size;
    if (fixed >= MF_LARGEST_BLOCK || (each != 0 && count > (MF_LARGEST_BLOCK - fixed) / each)) {
        return UINT64_MAX;
    }
    uint64_t bytes = fixed + count * each;
    return type->tail_size != 0 && bytes < type->size ? type->size : bytes;
}

uint32_t
mf_class_for(uint64_t bytes, uint64_t align)
{
    uint32_t class = 0;
    if (bytes > LARGEST_OBJECT || align > 64) {
        return MF_CLASSES;
    }
    while (class < MF_CLASSES && (mf_class_size(class) < bytes || mf_class_size(class) % (align > 16 ? align : 16) != 0)) {
        class++;
    }
    return class;
}

/* ---- places ---------------------------------------------------------------------------------------------------------- */

mf_place
mf_place_object(const mf_heap *heap, uint32_t chunk, uint32_t class, uint32_t object)
{
    char *memory = mf_chunk_memory(&heap->space, chunk);
    return (mf_place){.note = (mf_note *)(void *)memory + object, .chunk = chunk, .object = object,
                      .start = (uintptr_t)memory + mf_class_first(class) + (uintptr_t)object * mf_class_size(class),
                      .capacity = mf_class_size(class)};
}

mf_place
mf_place_large(const mf_heap *heap, uint32_t chunk, uint32_t run)
{
    return (mf_place){.note = &heap->space.chunks[chunk].large, .chunk = chunk, .object = MF_NO_CHUNK,
                      .start = (uintptr_t)mf_chunk_memory(&heap->space, chunk), .capacity = (size_t)run * MF_CHUNK};
}

static bool
locate_object(const mf_heap *heap, uint32_t chunk, uintptr_t address, mf_place *found)
{
    uint32_t class = atomic_load(&heap->space.chunks[chunk].detail);
    uintptr_t offset = address - (uintptr_t)mf_chunk_memory(&heap->space, chunk);
    if (class >= MF_CLASSES || offset < mf_class_first(class)) {
        return false;
    }
    uint32_t object = (uint32_t)((offset - mf_class_first(class)) / mf_class_size(class));
    if (object >= mf_class_objects(class)) {
        return false;
    }
    *found = mf_place_object(heap, chunk, class, object);
    return true;
}

bool
mf_place_locate(const mf_heap *heap, uintptr_t address, mf_place *found)
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
    *found = mf_place_large(heap, chunk, run);
    return address - found->start < found->capacity;
}

bool
mf_place_describe(const mf_heap *heap, const mf_place *at, mf_block *block)
{
    uint32_t state = atomic_load(&at->note->state), type = atomic_load(&at->note->type);
    uint64_t count = atomic_load(&at->note->count);
    if ((state & MF_NOTE_STATE) != MF_NOTE_LIVE || type >= mf_types_count(heap)) {
        return false;
    }
    mf_block_type described = mf_types_get(heap, type);
    uint64_t bytes = mf_place_bytes(&described, count);
    *block = (mf_block){.address = at->start, .size = (size_t)bytes, .count = count, .type = type,
                        .owner = atomic_load(&at->note->owner), .serial = atomic_load(&at->note->serial),
                        .condemned = (state & MF_NOTE_CONDEMNED) != 0};
    return bytes <= at->capacity;
}

bool
mf_place_block(const mf_heap *heap, const void *address, mf_place *at, mf_block *block)
{
    return mf_place_locate(heap, (uintptr_t)address, at) && at->start == (uintptr_t)address && mf_place_describe(heap, at, block);
}

/* ---- all of them ----------------------------------------------------------------------------------------------------- */

void
mf_place_each(mf_heap *heap, bool (*visit)(mf_heap *, const mf_place *, void *), void *data)
{
    mf_space *space = &heap->space;
    for (uint32_t i = 0, top = space->base != NULL ? mf_space_top(space) : 0; i < top;) {
        uint32_t run = mf_space_run(space, i), class = atomic_load(&space->chunks[i].detail);
        if (run != 0) {
            mf_place at = mf_place_large(heap, i, run);
            if (!visit(heap, &at, data)) {
                return;
            }
        } else if (mf_chunk_kind(atomic_load(&space->chunks[i].word)) == MF_SLAB && class < MF_CLASSES) {
            for (uint32_t object = 0; object < mf_class_objects(class); object++) {
                mf_place at = mf_place_object(heap, i, class, object);
                if (atomic_load_explicit(&at.note->state, memory_order_relaxed) != MF_NOTE_EMPTY && !visit(heap, &at, data)) {
                    return;
                }
            }
        }
        i += run != 0 ? run : 1;
    }
}
