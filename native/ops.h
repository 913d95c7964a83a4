/* Ops: what is to be done with the bytes of one element of a type, as planned elsewhere.
 *
 * A plan or a shape is a text of ops, 32 bytes each.  Everything in it is checked here, once: what reads the steps that
 * come out may trust that they stay inside the element, in every iteration, and that they end.
 */
#ifndef MF_OPS_H
#define MF_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mf_op_kind {
    MF_OP_COPY = 1,  /* `size` bytes as they are */
    MF_OP_NUMBER,    /* a number of class `a` becomes one of class `b` */
    MF_OP_BITS,      /* a bit-field; offsets are in bits */
    MF_OP_ENUM,      /* a number is looked up in a table */
    MF_OP_LOOP,      /* the ops that follow are repeated */
    MF_OP_BASE,      /* moves the op that follows, and all of its body */
    MF_OP_ZERO,      /* bytes that are dropped have to be zero */
    MF_OP_POINTER,
    MF_OP_WORDS,     /* bytes that may have pointers among them */
    MF_OP_UNLOCKED,  /* a lock that nobody may hold */
    MF_OP_TEXT,      /* an array of characters that shrinks */
} mf_op_kind;

/* What UNLOCKED knows, its `a`. */
typedef enum mf_lock { MF_LOCK_MUTEX = 1, MF_LOCK_RWLOCK, MF_LOCK_CONDITION, MF_LOCK_OTHER } mf_lock;

typedef struct mf_op {
    uint16_t kind;
    uint8_t a, b;
    uint32_t path;
    uint64_t from, to, size;
} mf_op;

enum { MF_MOST_LOOPS = 16, MF_MOST_OPS = 1 << 24 };

/* An op, checked, with what a BASE adds; there are no BASEs any more. */
typedef struct mf_step {
    uint8_t kind, a, b;
    uint32_t path;
    uint32_t body;                   /* LOOP: how many of the steps that follow are repeated */
    uint64_t from, to;               /* from the start of the element or iteration; BITS: in bits */
    uint64_t size;                   /* bytes; LOOP: iterations; ENUM: which table; BITS: bits; TEXT: bytes of the source */
    uint64_t to_size;                /* BITS: bits; TEXT: bytes of the target */
    uint64_t from_stride, to_stride; /* LOOP */
} mf_step;

typedef struct mf_steps {
    mf_step *step; /* owned */
    uint32_t count;
} mf_steps;

/* What the element's bytes are, and which ops may be done with them. */
typedef struct mf_bounds {
    uint64_t from_size, to_size;
    uint64_t table_count;
    bool places_only; /* only POINTER and WORDS, and nothing of a target: a shape */
} mf_bounds;

/* NULL, or what is wrong with the ops.  The text is constant; nothing is owned then. */
const char *mf_steps_parse(mf_steps *steps, const void *ops, size_t size, const mf_bounds *bounds);
void mf_steps_free(mf_steps *steps);

#endif
