/* Plan: how elements of one layout become elements of another, run over any number of them.
 *
 * Owns its steps and tables; immutable once made, so that any thread may run it.  It is exact: a value that the new layout
 * can't hold is a loss, which ends the run.
 */
#ifndef MF_PLAN_H
#define MF_PLAN_H

#include "mapping.h"
#include "number.h"
#include "ops.h"

/* What an enumerator of the old layout is in the new one; sorted by `from`. */
typedef struct mf_pair {
    int64_t from, to; /* of an unsigned class: its bits */
} mf_pair;

typedef struct mf_table {
    mf_pair *pair; /* owned */
    size_t count;
} mf_table;

typedef struct mf_plan {
    mf_steps steps;
    uint64_t from_size, to_size;
    mf_table *table; /* owned */
    size_t table_count;
} mf_plan;

typedef enum mf_loss_kind {
    MF_LOSS_RANGE,
    MF_LOSS_INEXACT,
    MF_LOSS_LOST,     /* bytes that are dropped say something */
    MF_LOSS_DANGLING, /* a pointer to what the new version doesn't have */
    MF_LOSS_LOCKED,
    MF_LOSS_ENUM,     /* a value that no enumerator has, or one that has gone */
} mf_loss_kind;

typedef struct mf_loss {
    uint64_t index; /* of the element */
    uint32_t path;
    uint32_t depth;
    uint64_t at[MF_MOST_LOOPS]; /* the iteration of each loop, outermost first */
    mf_loss_kind kind;
    mf_number value;
} mf_loss;

/* NULL, or what is wrong.  `tables` become the plan's, also when it fails. */
const char *mf_plan_make(mf_plan *plan, const void *ops, size_t size, uint64_t from_size, uint64_t to_size,
                         mf_table *tables, size_t table_count);
void mf_plan_free(mf_plan *plan);

/* Fills `count` elements at `to` from those at `from`, which must not overlap.  False: `*loss` is the first one, by
 * element, then by op, then by iteration; the target has been written in part.  What no op names stays as it is.
 * `mapping`: NULL if all pointers stay. */
bool mf_plan_run(const mf_plan *plan, const char *from, char *to, uint64_t count, const mf_mapping *mapping,
                 mf_loss *loss);

#endif
