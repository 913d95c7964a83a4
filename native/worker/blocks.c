/* The worker's end of its module's heap, and what the library finds behind `midflight_module`. */
#include <stdio.h>

#include "../module.h"
#include "worker.h"

static mf_module module;

bool
blocks_join(const blocks_place *place, const char *name, long long most)
{
    mf_heap *heap = mf_heap_join((void *)(uintptr_t)place->address, (size_t)place->size, place->seat);
    if (heap == NULL) {
        return false;
    }
    mf_heap_limit(heap, most > 0 ? (uint64_t)most : 0);
    mf_module_init(&module, heap, name, place->version, (const volatile unsigned *)(const volatile void *)&channel->should_yield);
    return true;
}

mf_wrapper
blocks_binding(void)
{
    return (mf_wrapper){"midflight_module", (uintptr_t)&module};
}

bool
blocks_place_from(const char *word, blocks_place *place)
{
    unsigned long long address, size;
    if (sscanf(word, "%llu,%llu,%u,%u", &address, &size, &place->seat, &place->version) != 4) {
        return false;
    }
    place->address = address;
    place->size = size;
    return true;
}
