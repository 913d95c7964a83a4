/* See module.h.
 *
 * What a library does wrong with its blocks is said on stderr, and nothing is done: ending the program would cost more
 * than a leak does. */
#include "module.h"

#include <stdio.h>
#include <string.h>

static void
complain(const mf_module *self, const char *call, const void *pointer, mf_heap_result result)
{
    const char *why = result == MF_HEAP_NOT_YOURS  ? "it belongs to Python, which frees it"
                      : result == MF_HEAP_BAD_TYPE ? "its elements have another size, or the type can't be used"
                                                   : "no block begins there: was it freed before?";
    fprintf(stderr, "midflight: version %u of %s: %s(%p): %s; nothing was done\n", self->version, self->name, call, pointer,
            why);
}

static mf_block_type
type_from(const struct midflight_type *type)
{
    return (mf_block_type){.size = type->size, .align = type->align, .tail_offset = type->tail_offset,
                           .tail_size = type->tail_size, .name = type->name, .tail = type->tail};
}

static void *
allocate(struct midflight_module *face, const struct midflight_type *type, size_t count)
{
    const mf_module *self = (const mf_module *)(const void *)face;
    mf_block_type wanted = type_from(type);
    void *made;
    mf_heap_result result = mf_heap_make(self->heap, &wanted, count, self->version, &made);
    if (result == MF_HEAP_BAD_TYPE) {
        complain(self, "MF_NEW", NULL, result);
    }
    return made;
}

static void *
resize(struct midflight_module *face, void *pointer, const struct midflight_type *type, size_t count)
{
    const mf_module *self = (const mf_module *)(const void *)face;
    mf_block_type wanted = type_from(type);
    mf_heap_result result = mf_heap_resize(self->heap, &pointer, &wanted, count, self->version);
    if (result != MF_HEAP_OK && result != MF_HEAP_NO_ROOM) {
        complain(self, "MF_RESIZE", pointer, result);
    }
    return result == MF_HEAP_OK ? pointer : NULL;
}

static void
release(struct midflight_module *face, void *pointer)
{
    const mf_module *self = (const mf_module *)(const void *)face;
    mf_heap_result result = pointer != NULL ? mf_heap_discard(self->heap, pointer, self->version) : MF_HEAP_OK;
    if (result != MF_HEAP_OK) {
        complain(self, "MF_FREE", pointer, result);
    }
}

void
mf_module_init(mf_module *module, mf_heap *heap, const char *name, uint32_t version, const volatile unsigned *should_yield)
{
    *module = (mf_module){.heap = heap, .version = version};
    module->face = (struct midflight_module){.version = 1, .allocate = allocate, .resize = resize, .release = release};
    module->face.should_yield = should_yield != NULL ? should_yield : &module->should_yield;
    snprintf(module->name, sizeof module->name, "%s", name);
}
