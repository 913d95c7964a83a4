/* What the process's own memory map says.  Owns nothing; safe from any thread. */
#ifndef MF_MAPS_H
#define MF_MAPS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether anything is still mapped of the file that was mapped at [low, high) under a name that ends in `name`.  Asks
 * the kernel, never the loader.  When in doubt (the map can't be read) the answer is true. */
bool mf_maps_hold(uintptr_t low, uintptr_t high, const char *name);

/* A mapping that can be written to; `closure` is the caller's. */
typedef void mf_maps_visit(void *closure, uintptr_t low, uintptr_t high);

/* Shows all of them, from low to high; false: the map can't be read. */
bool mf_maps_writable(mf_maps_visit *visit, void *closure);

#endif
