/* Seen: a set of pairs of numbers.  Owns its memory; for one thread. */
#ifndef MF_SEEN_H
#define MF_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mf_seen_entry {
    uint64_t key;
    uint32_t tag;
    bool used;
} mf_seen_entry;

typedef struct mf_seen {
    mf_seen_entry *entry; /* open addressing; never more than half full */
    size_t room, count;
} mf_seen;

typedef enum mf_seen_answer { MF_SEEN_NEW, MF_SEEN_BEFORE, MF_SEEN_NO_MEMORY } mf_seen_answer;

/* Adds a pair, unless it is there. */
mf_seen_answer mf_seen_add(mf_seen *seen, uint64_t key, uint32_t tag);
void mf_seen_free(mf_seen *seen);

#endif
