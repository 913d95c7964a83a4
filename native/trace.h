/* Trace: all pointers that can be reached from a version's data, and where they lie.
 *
 * Roots are memory that is known to be there.  From them pointers are followed by type: a *shape* says where the pointers
 * of a type are.  A trace owns what it finds, and borrows its shapes; for one thread at a time.
 */
#ifndef MF_TRACE_H
#define MF_TRACE_H

#include "failure.h"
#include "ops.h"
#include "seen.h"

enum { MF_SHAPE_BAD = 1, MF_SHAPE_STOP = 2 };

typedef struct mf_shape {
    mf_steps steps; /* POINTER: `size` is the number of the shape that it points to + 1; 0: unknown */
    uint64_t size;
    unsigned flags; /* BAD: must not be found outside of the roots; STOP: isn't looked into */
    bool aligned;   /* has whole pointers at multiples of eight only */
} mf_shape;

typedef struct mf_shapes {
    mf_shape *shape; /* owned */
    size_t count;
} mf_shapes;

/* NULL, or what is wrong; nothing is owned then. */
const char *mf_shape_make(mf_shape *shape, const void *ops, size_t size, uint64_t bytes, unsigned flags);

/* Whether all pointers point to shapes that there are. */
bool mf_shapes_closed(const mf_shapes *shapes);
void mf_shapes_free(mf_shapes *shapes);

/* Which pointer of a shape lies at an offset. */
typedef struct mf_located {
    uint32_t path, depth;
    uint64_t at[MF_MOST_LOOPS];
} mf_located;

bool mf_shape_locate(const mf_shape *shape, uint64_t offset, mf_located *located);

/* Elements that lie together: a root, or an object that was reached. */
typedef struct mf_node {
    uint64_t address;
    uint64_t as_if;  /* where it counts as lying; of what was reached: where it lies */
    uint64_t count;
    uint32_t shape;
    bool in_place;   /* its pointers may be rewritten where they lie */
    uint32_t holder; /* of what was reached: the node that has the pointer, */
    uint64_t offset; /* and where in it */
} mf_node;

typedef struct mf_range {
    uint64_t start, end;
} mf_range;

/* A pointer that was found. */
typedef struct mf_spot {
    uint64_t value;
    uint32_t node;
    uint32_t shape; /* of what it points to, + 1; 0: unknown */
    uint64_t offset;
} mf_spot;

typedef struct mf_spots {
    mf_spot *spot; /* owned */
    size_t count, room;
} mf_spots;

typedef struct mf_trace {
    const mf_shapes *shapes;
    uint64_t low, high;    /* the old image */
    mf_range *own;         /* owned; memory whose elements are roots: not followed */
    size_t own_count;
    bool follow;           /* else all pointers to foreign memory are reported */
    size_t limit;          /* of objects */
    mf_node *node;         /* owned; the roots, then what was reached */
    size_t node_count, node_room, root_count;
    mf_spots image;        /* a pointer for each value in the old image */
    mf_spots foreign;      /* a pointer for each object of a BAD shape, or each foreign one */
    mf_spots patchable;    /* all pointers into the image or own memory that lie in foreign memory or in-place roots */
    bool limit_reached;
    mf_seen seen, seen_values; /* owned */
} mf_trace;

/* `trace` has its shapes, image, own ranges (sorted, apart), limit, and as nodes its roots.  False: no memory, or no
 * permission. */
bool mf_trace_run(mf_trace *trace, mf_failure *failure);
void mf_trace_free(mf_trace *trace);

#endif
