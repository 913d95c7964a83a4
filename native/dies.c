/* See dies.h. */
#include "dies.h"

#include <stdlib.h>
#include <string.h>

/* ---- shapes ------------------------------------------------------------------------------------------------------- */

static int
compare_codes(const void *left, const void *right)
{
    uint64_t a = ((const mf_die_shape *)left)->code, b = ((const mf_die_shape *)right)->code;
    return a < b ? -1 : a > b;
}

void
mf_dies_finish(mf_dies *dies)
{
    for (size_t i = 0; i < dies->count; i++) {
        mf_die_shape *shape = &dies->shapes[i];
        shape->fixed = 0;
        for (size_t k = 0; k < shape->count && shape->fixed >= 0; k++) {
            int16_t width = dies->widths[shape->first + k];
            shape->fixed = width < 0 ? -1 : shape->fixed + width;
        }
    }
    qsort(dies->shapes, dies->count, sizeof *dies->shapes, compare_codes);
}

void
mf_dies_free(mf_dies *dies)
{
    free(dies->shapes);
    free(dies->widths);
    dies->shapes = NULL;
    dies->widths = NULL;
}

static const mf_die_shape *
find(const mf_dies *dies, uint64_t code)
{
    /* Compilers number them from 1 on. */
    if (code - 1 < dies->count && dies->shapes[code - 1].code == code) {
        return &dies->shapes[code - 1];
    }
    size_t low = 0, high = dies->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (dies->shapes[middle].code < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < dies->count && dies->shapes[low].code == code ? &dies->shapes[low] : NULL;
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

/* Moves `at` behind a number and returns it through `value`; false where it doesn't end. */
static bool
read_leb(const mf_die_range *range, size_t *at, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; *at < range->end && shift < 70; shift += 7) {
        uint8_t byte = range->data[(*at)++];
        if (shift < 64) {
            *value |= (uint64_t)(byte & 0x7f) << shift;
        }
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t
read_word(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static bool
advance(const mf_die_range *range, size_t *at, uint64_t size)
{
    if (size > range->end - *at) {
        return false;
    }
    *at += (size_t)size;
    return true;
}

static bool
read_signed(mf_die_range *range, mf_die_value *value)
{
    size_t start = range->at;
    value->is_signed = true;
    if (!read_leb(range, &range->at, &value->number)) {
        return false;
    }
    unsigned bits = 7 * (unsigned)(range->at - start);
    if (bits < 64 && (range->data[range->at - 1] & 0x40) != 0) {
        value->number |= UINT64_MAX << bits;
    }
    return true;
}

static bool
read_string(mf_die_range *range, mf_die_value *value)
{
    value->bytes = range->data + range->at;
    const uint8_t *end = memchr(value->bytes, 0, range->end - range->at);
    if (end == NULL) {
        return false;
    }
    value->size = (size_t)(end - value->bytes);
    range->at += value->size + 1;
    return true;
}

static bool
read_block(mf_die_range *range, uint64_t size, mf_die_value *value)
{
    value->bytes = range->data + range->at;
    value->size = (size_t)size;
    return advance(range, &range->at, size);
}

static bool
read_sized_block(mf_die_range *range, size_t size_bytes, mf_die_value *value)
{
    size_t start = range->at;
    return advance(range, &range->at, size_bytes) &&
           read_block(range, read_word(range->data + start, size_bytes), value);
}

bool
mf_dies_value(const mf_dies *dies, mf_die_range *range, int width, mf_die_value *value)
{
    *value = (mf_die_value){0};
    if (width == MF_DIE_INDIRECT) {
        if (!read_leb(range, &range->at, &value->form) || value->form >= MF_DIE_FORMS) {
            return false;
        }
        width = dies->forms[value->form];
    }
    switch (width) {
    case MF_DIE_LEB: return read_leb(range, &range->at, &value->number);
    case MF_DIE_SIGNED_LEB: return read_signed(range, value);
    case MF_DIE_STRING: return read_string(range, value);
    case MF_DIE_BLOCK1: return read_sized_block(range, 1, value);
    case MF_DIE_BLOCK2: return read_sized_block(range, 2, value);
    case MF_DIE_BLOCK4: return read_sized_block(range, 4, value);
    case MF_DIE_BLOCK: return read_leb(range, &range->at, &value->number) && read_block(range, value->number, value);
    default: break;
    }
    if (width > (int)sizeof value->number) {
        return read_block(range, (uint64_t)width, value); /* 16 bytes of data */
    }
    size_t start = range->at;
    if (width < 0 || !advance(range, &range->at, (uint64_t)width)) {
        return false;
    }
    value->number = width != 0 ? read_word(range->data + start, (size_t)width) : 1;
    return true;
}

/* ---- walks -------------------------------------------------------------------------------------------------------- */

const mf_die_shape *
mf_dies_shape(const mf_dies *dies, mf_die_range *range)
{
    uint64_t code;
    return read_leb(range, &range->at, &code) && code != 0 ? find(dies, code) : NULL;
}

/* Moves behind an entry's attributes; `sibling`: what it says where the next entry begins, else 0. */
static bool
skip_attributes(const mf_dies *dies, mf_die_range *range, const mf_die_shape *shape, size_t *sibling)
{
    *sibling = 0;
    if (shape->fixed >= 0 && shape->sibling == MF_DIE_NO_SIBLING) {
        return advance(range, &range->at, (uint64_t)shape->fixed);
    }
    for (size_t i = 0; i < shape->count; i++) {
        mf_die_value value;
        if (!mf_dies_value(dies, range, dies->widths[shape->first + i], &value)) {
            return false;
        }
        if ((int)i == shape->sibling && value.bytes == NULL && value.number <= range->end - range->unit) {
            *sibling = range->unit + (size_t)value.number;
        }
    }
    return true;
}

typedef enum found { FOUND_ENTRY, FOUND_END, FOUND_DAMAGE } found;

/* Reads the entry at `range->at`, and moves there behind its attributes. */
static found
next(const mf_dies *dies, mf_die_range *range, const mf_die_shape **shape, size_t *sibling)
{
    if (range->data[range->at] == 0) {
        range->at++;
        return FOUND_END;
    }
    *shape = mf_dies_shape(dies, range);
    return *shape != NULL && skip_attributes(dies, range, *shape, sibling) ? FOUND_ENTRY : FOUND_DAMAGE;
}

mf_die_result
mf_dies_below(const mf_dies *dies, mf_die_range *range, mf_die_visitor visit, void *context)
{
    for (size_t depth = 1; range->at < range->end;) {
        const mf_die_shape *shape;
        size_t start = range->at, sibling;
        switch (next(dies, range, &shape, &sibling)) {
        case FOUND_DAMAGE: return MF_DIE_DAMAGED;
        case FOUND_END:
            if (--depth == 0) {
                return MF_DIE_DONE;
            }
            continue;
        case FOUND_ENTRY: break;
        }
        depth += shape->children;
        if (visit != NULL && shape->chosen && !visit(context, start, range->at)) {
            return MF_DIE_STOPPED;
        }
    }
    return MF_DIE_DONE;
}

mf_die_result
mf_dies_level(const mf_dies *dies, mf_die_range *range, const uint8_t *tags, mf_die_visitor visit, void *context)
{
    while (range->at < range->end) {
        const mf_die_shape *shape;
        size_t start = range->at, sibling;
        switch (next(dies, range, &shape, &sibling)) {
        case FOUND_DAMAGE: return MF_DIE_DAMAGED;
        case FOUND_END: return MF_DIE_DONE;
        case FOUND_ENTRY: break;
        }
        if (shape->children && sibling > range->at && sibling <= range->end) {
            range->at = sibling;
        } else if (shape->children && mf_dies_below(dies, range, NULL, NULL) == MF_DIE_DAMAGED) {
            return MF_DIE_DAMAGED;
        }
        uint32_t tag = shape->tag < 256 ? shape->tag : 0;
        if ((tags[tag / 8] >> tag % 8 & 1) != 0 && !visit(context, start, range->at)) {
            return MF_DIE_STOPPED;
        }
    }
    return MF_DIE_DONE;
}
