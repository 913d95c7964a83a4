/* What a library finds behind `midflight_module` (src/midflight/include/midflight.h): one for each version of it.
 *
 * It must stay where it is for as long as the library is mapped. */
#ifndef MF_MODULE_H
#define MF_MODULE_H

#include "../src/midflight/include/midflight.h"
#include "heap.h"

typedef struct mf_module {
    struct midflight_module face; /* what the library knows: first */
    mf_heap *heap;                /* borrowed */
    uint32_t version;
    volatile unsigned should_yield;
    char name[64]; /* of the module, for messages */
} mf_module;

/* `should_yield`: where it is said; NULL: in the module itself. */
void mf_module_init(mf_module *module, mf_heap *heap, const char *name, uint32_t version,
                    const volatile unsigned *should_yield);

#endif
