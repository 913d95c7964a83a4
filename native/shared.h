/* A shared block: memory that workers can see too, at the same address.
 *
 * Owns its memory and a memfd.  Counted; the list of all blocks is protected by a lock.  Addresses are never used twice:
 * a worker that still has an old block mapped can't take it for a new one.
 */
#ifndef MF_SHARED_H
#define MF_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

typedef struct mf_shared {
    uint64_t number; /* never used twice */
    void *memory;
    size_t size; /* whole pages */
    int descriptor;
    struct mf_shared *next;
} mf_shared;

/* Far from where Linux puts programs, heaps, stacks and libraries (0x55… and 0x7f…), from Go's heap (0xc0…) and from
 * AddressSanitizer's shadow (below 0x1100…). */
#define MF_ZONE_START UINT64_C(0x200000000000)
#define MF_ZONE_END UINT64_C(0x500000000000)

/* Whether an address may be one of memory that is shared: nothing else is put there. */
static inline bool
mf_shared_zone(uintptr_t address)
{
    return address >= MF_ZONE_START && address < MF_ZONE_END;
}

/* A place for `size` bytes in the part of the address space that hosts and workers keep free for what they share:
 * reserves nothing, but is never given twice. */
void *mf_shared_place(size_t size);

/* Zeroed memory; NULL on failure. */
mf_shared *mf_shared_new(size_t size, mf_failure *failure);
void mf_shared_free(mf_shared *block);

/* The block that has all of [address, address + size); NULL: none.  It stays for as long as its owner keeps it. */
mf_shared *mf_shared_find(const void *address, size_t size);

#endif
