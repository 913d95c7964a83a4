/* See seen.h. */
#include "seen.h"

#include <stdlib.h>

enum { FIRST_ROOM = 1024 };

/* Where the pair is, or the empty place for it. */
static mf_seen_entry *
place_of(mf_seen_entry *entries, size_t room, uint64_t key, uint32_t tag)
{
    /* Addresses differ in their middle bits; the product's upper bits depend on all of them. */
    uint64_t hash = (key ^ (uint64_t)tag << 48) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = (size_t)(hash >> 20);; i++) {
        mf_seen_entry *entry = &entries[i & (room - 1)];
        if (!entry->used || (entry->key == key && entry->tag == tag)) {
            return entry;
        }
    }
}

static bool
grow(mf_seen *seen)
{
    size_t room = seen->room == 0 ? FIRST_ROOM : 2 * seen->room;
    mf_seen_entry *entries = calloc(room, sizeof *entries);
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < seen->room; i++) {
        if (seen->entry[i].used) {
            *place_of(entries, room, seen->entry[i].key, seen->entry[i].tag) = seen->entry[i];
        }
    }
    free(seen->entry);
    seen->entry = entries;
    seen->room = room;
    return true;
}

mf_seen_answer
mf_seen_add(mf_seen *seen, uint64_t key, uint32_t tag)
{
    if (2 * seen->count >= seen->room && !grow(seen)) {
        return MF_SEEN_NO_MEMORY;
    }
    mf_seen_entry *entry = place_of(seen->entry, seen->room, key, tag);
    if (entry->used) {
        return MF_SEEN_BEFORE;
    }
    *entry = (mf_seen_entry){key, tag, true};
    seen->count++;
    return MF_SEEN_NEW;
}

void
mf_seen_free(mf_seen *seen)
{
    free(seen->entry);
    *seen = (mf_seen){NULL, 0, 0};
}
