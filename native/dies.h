/* Stepping over debugging information entries (DIEs) by their shapes, without a look at what they say.
 *
 * A shape is what an abbreviation says of the entries that have it: the widths of their attributes, one behind the other.
 * Owns the shapes.  The bytes are the caller's, and nothing in them is trusted: no read goes beyond `end`, offsets only
 * grow, and what has no shape ends the walk.  Shapes never change once they are made, so any thread may walk.
 */
#ifndef MF_DIES_H
#define MF_DIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An attribute's width: a number of bytes, or one of these.  Python's names for them are in artifact/dwarf/forms.py. */
enum {
    MF_DIE_LEB = -1,    /* a number of 7 bits a byte */
    MF_DIE_STRING = -2, /* up to a NUL */
    MF_DIE_BLOCK1 = -3, /* a size in 1 byte, and so many bytes */
    MF_DIE_BLOCK2 = -4,
    MF_DIE_BLOCK4 = -5,
    MF_DIE_BLOCK = -6,    /* a size in LEB128, and so many bytes */
    MF_DIE_INDIRECT = -7, /* its form's number in LEB128, and what that says */
    MF_DIE_SIGNED_LEB = -8,
};

enum { MF_DIE_NO_SIBLING = -1, MF_DIE_FORMS = 64 };

typedef struct mf_die_shape {
    uint64_t code;
    void *owner; /* whatever the caller knows it by */
    uint32_t tag;
    bool children;
    bool chosen;     /* a walk through all levels reports such entries */
    int sibling;     /* which of its attributes says where the next entry begins; MF_DIE_NO_SIBLING */
    size_t first;    /* where its widths begin */
    size_t count;    /* how many attributes have one */
    int64_t fixed;   /* what all widths add up to, negative where that differs from entry to entry */
} mf_die_shape;

typedef struct mf_dies {
    mf_die_shape *shapes; /* by code, ascending */
    size_t count;
    int16_t *widths;
    int16_t forms[MF_DIE_FORMS]; /* the widths of forms, for MF_DIE_INDIRECT; MF_DIE_INDIRECT: unknown */
} mf_dies;

/* A part of .debug_info: entries from `at` on, up to `end`.  References of one unit count from `unit`. */
typedef struct mf_die_range {
    const uint8_t *data;
    size_t unit, at, end;
} mf_die_range;

/* Whether the walk goes on. */
typedef bool (*mf_die_visitor)(void *context, size_t offset, size_t after);

typedef enum mf_die_result {
    MF_DIE_DONE,    /* `range->at` is behind the level */
    MF_DIE_STOPPED, /* the visitor wanted no more */
    MF_DIE_DAMAGED, /* `range->at` is the entry that has no shape, or that goes beyond the end */
} mf_die_result;

/* Goes through the entries of one level whose tag is in `tags` (256 bits; the first is for all greater tags), with the offset behind each one's children;
 * by what the compiler noted of that (DW_AT_sibling), or else through all of them. */
mf_die_result mf_dies_level(const mf_dies *dies, mf_die_range *range, const uint8_t *tags, mf_die_visitor visit,
                            void *context);

/* Goes through the chosen entries of a level and all levels below it. */
mf_die_result mf_dies_below(const mf_dies *dies, mf_die_range *range, mf_die_visitor visit, void *context);

typedef struct mf_die_value {
    const uint8_t *bytes; /* of a string or a block; NULL: it is a number */
    size_t size;
    uint64_t number; /* a signed one has all its bits set in front */
    bool is_signed;
    uint64_t form; /* of an indirect value, else 0 */
} mf_die_value;

/* The shape of the entry at `range->at`, which moves behind its code; NULL for the end of a level, and for damage. */
const mf_die_shape *mf_dies_shape(const mf_dies *dies, mf_die_range *range);

/* Reads an attribute of that width at `range->at`, which moves behind it.  False: it lies beyond the end. */
bool mf_dies_value(const mf_dies *dies, mf_die_range *range, int width, mf_die_value *value);

/* Sorts the shapes, and says which are of a fixed size.  To be called once. */
void mf_dies_finish(mf_dies *dies);

void mf_dies_free(mf_dies *dies);

#endif
