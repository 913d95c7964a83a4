/* Mapping: where a pointer into the old version, or into memory that has moved, points to now.
 *
 * Owns its arrays; immutable once it is ready, so that any thread may ask.
 */
#ifndef MF_MAPPING_H
#define MF_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mf_exact {
    uint64_t from, to;
} mf_exact;

/* A run of bytes of an element that stays together. */
typedef struct mf_run {
    uint64_t from, to, size;
} mf_run;

/* Elements, back to back, that lie elsewhere now, perhaps with another layout. */
typedef struct mf_moved {
    uint64_t start, end, to;
    uint64_t stride, to_stride;
    size_t run, run_count; /* its runs, within the mapping's */
} mf_moved;

typedef struct mf_mapping {
    uint64_t low, high; /* the old image: what points there has to be among `exact` */
    mf_exact *exact;    /* owned */
    size_t exact_count;
    mf_moved *moved;    /* owned */
    size_t moved_count;
    mf_run *run;        /* owned */
    size_t run_count;
    /* From where to where a value may concern it: two ranges, because images and heaps lie far apart. */
    uint64_t exact_low, exact_span, moved_low, moved_span;
} mf_mapping;

typedef enum mf_fate { MF_KEPT, MF_TRANSLATED, MF_DANGLES } mf_fate;

/* Sorts and checks what the arrays say; NULL, or what is wrong with it.  The text is constant. */
const char *mf_mapping_ready(mf_mapping *mapping);
void mf_mapping_free(mf_mapping *mapping);

/* False for nearly all values: that they stay can be said at once. */
static inline bool
mf_mapping_concerns(const mf_mapping *mapping, uint64_t value)
{
    return value - mapping->exact_low < mapping->exact_span || value - mapping->moved_low < mapping->moved_span;
}

/* Sets `*result` unless it dangles. */
mf_fate mf_mapping_find(const mf_mapping *mapping, uint64_t value, uint64_t *result);

/* Whether a word that may be anything is a pointer that the mapping is about. */
bool mf_mapping_owns(const mf_mapping *mapping, uint64_t value);

#endif
