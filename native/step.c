/* See step.h. */
#include "step.h"

#include <string.h>

/* ---- one element ------------------------------------------------------------------------------------------------- */

static bool
lose(mf_loss *loss, mf_loss_kind kind, __int128 value)
{
    loss->kind = kind;
    loss->value = (mf_number){false, value, 0};
    return false;
}

static bool
fits(mf_fit fit, const mf_number *number, mf_loss *loss)
{
    loss->kind = fit == MF_INEXACT ? MF_LOSS_INEXACT : MF_LOSS_RANGE;
    loss->value = *number;
    return fit == MF_FITS;
}

static bool
one_enum(const mf_table *table, const mf_step *step, const char *from, char *to, mf_loss *loss)
{
    mf_number number = mf_number_read(from, step->a);
    int64_t value = (int64_t)number.integer;
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t half = low + (high - low) / 2;
        if (table->pair[half].from < value) {
            low = half + 1;
        } else {
            high = half;
        }
    }
    if (low == table->count || table->pair[low].from != value) {
        return lose(loss, MF_LOSS_ENUM, number.integer);
    }
    memcpy(to, &table->pair[low].to, mf_class_size(step->b));
    return true;
}

/* The offset of the first byte that isn't zero; `size`: all are. */
static uint64_t
zero_bytes(const char *from, uint64_t size)
{
    uint64_t offset = 0;
    while (offset < size && from[offset] == 0) {
        offset++;
    }
    return offset;
}

static bool
one_zero(const mf_step *step, const char *from, mf_loss *loss)
{
    uint64_t zeros = zero_bytes(from, step->size);
    return zeros == step->size || lose(loss, MF_LOSS_LOST, zeros);
}

static bool
one_text(const mf_step *step, const char *from, char *to, mf_loss *loss)
{
    uint64_t dropped = step->size - step->to_size;
    bool ended = dropped == 0 || memchr(from, 0, step->to_size) != NULL;
    if (!ended || zero_bytes(from + step->to_size, dropped) != dropped) {
        return lose(loss, MF_LOSS_LOST, strnlen(from, step->size));
    }
    memcpy(to, from, step->to_size);
    return true;
}

static bool
one_pointer(const char *from, char *to, const mf_mapping *mapping, mf_loss *loss)
{
    uint64_t value, translated;
    memcpy(&value, from, sizeof value);
    if (mf_mapping_find(mapping, value, &translated) == MF_DANGLES) {
        return lose(loss, MF_LOSS_DANGLING, value);
    }
    memcpy(to, &translated, sizeof translated);
    return true;
}

/* A compiler puts pointers at multiples of eight in memory: so it is the address that counts, not the offset. */
static bool
one_words(const mf_step *step, const char *from, char *to, const mf_mapping *mapping, mf_loss *loss)
{
    memcpy(to, from, step->size);
    for (uint64_t offset = -(uintptr_t)from & 7; offset + 8 <= step->size; offset += 8) {
        uint64_t value;
        memcpy(&value, from + offset, sizeof value);
        if (mf_mapping_owns(mapping, value) && !one_pointer(from + offset, to + offset, mapping, loss)) {
            return false;
        }
    }
    return true;
}

/* Who holds a lock of glibc's, as its words say; 0: nobody. */
static uint32_t
holder(const mf_step *step, const char *from)
{
    uint32_t word[7] = {0};
    memcpy(word, from, step->size < sizeof word ? step->size : sizeof word);
    switch (step->a) {
    case MF_LOCK_MUTEX: return word[2] != 0 ? word[2] : word[0] & 3; /* the owner; the state */
    case MF_LOCK_RWLOCK: return word[6] != 0 ? word[6] : word[0] >> 3 | (word[0] & 2); /* the writer; readers; a writer */
    default: return 0;
    }
}

static bool
one_lock(const mf_step *step, const char *from, char *to, mf_loss *loss)
{
    uint32_t held_by = holder(step, from);
    if (held_by != 0) {
        return lose(loss, MF_LOSS_LOCKED, held_by);
    }
    memcpy(to, from, step->size);
    return true;
}

bool
mf_step_one(const mf_plan *plan, const mf_step *step, const char *from, char *to, const mf_mapping *mapping,
            mf_loss *loss)
{
    mf_number number;
    if (step->kind == MF_OP_BITS) { /* its offsets are in bits */
        number = mf_bits_read(from, step->from, (unsigned)step->size, step->a != 0);
        return fits(mf_bits_write(to, step->to, (unsigned)step->to_size, step->b != 0, &number), &number, loss);
    }
    from += step->from;
    to += step->to;
    switch (step->kind) {
    case MF_OP_NUMBER:
        number = mf_number_read(from, step->a);
        return fits(mf_number_write(to, step->b, &number), &number, loss);
    case MF_OP_ENUM: return one_enum(&plan->table[step->size], step, from, to, loss);
    case MF_OP_ZERO: return one_zero(step, from, loss);
    case MF_OP_TEXT: return one_text(step, from, to, loss);
    case MF_OP_POINTER: return one_pointer(from, to, mapping, loss);
    case MF_OP_WORDS: return one_words(step, from, to, mapping, loss);
    case MF_OP_UNLOCKED: return one_lock(step, from, to, loss);
    default: memcpy(to, from, step->size); return true;
    }
}

/* ---- many elements: what has to be fast ---------------------------------------------------------------------------- */

/* A copy whose size the compiler knows is one or two instructions. */
#define COPY(bytes) EACH(memcpy(to, from, bytes);)

/* Sizes between two powers of two: two copies that overlap. */
#define COPY_ENDS(bytes) EACH(memcpy(to, from, bytes); memcpy(to + size - (bytes), from + size - (bytes), bytes);)

static void
copy_many(uint64_t size, mf_places places)
{
    if (places.from_stride == size && places.to_stride == size) {
        memcpy(places.to, places.from, size * places.count);
        return;
    }
    switch (size) {
    case 1: COPY(1); return;
    case 2: COPY(2); return;
    case 4: COPY(4); return;
    case 8: COPY(8); return;
    case 12: EACH(memcpy(to, from, 8); memcpy(to + 8, from + 8, 4);); return;
    case 16: COPY(16); return;
    default: break;
    }
    if (size > 32) {
        EACH(memcpy(to, from, size););
    } else if (size > 16) {
        COPY_ENDS(16);
    } else if (size > 8) {
        COPY_ENDS(8);
    } else if (size > 4) {
        COPY_ENDS(4);
    } else {
        EACH(for (uint64_t byte = 0; byte < size; byte++) { to[byte] = from[byte]; });
    }
}

static bool
pointers_many(mf_places places, const mf_mapping *mapping)
{
    EACH(uint64_t value; memcpy(&value, from, sizeof value);
         if (mf_mapping_concerns(mapping, value) && mf_mapping_find(mapping, value, &value) == MF_DANGLES) {
             return false;
         }
         memcpy(to, &value, sizeof value););
    return true;
}

/* Most bytes that may be anything are no pointers. */
static bool
words_many(const mf_step *step, mf_places places, const mf_mapping *mapping)
{
    copy_many(step->size, places);
    EACH(for (uint64_t offset = -(uintptr_t)from & 7; offset + 8 <= step->size; offset += 8) {
        uint64_t value;
        mf_loss loss;
        memcpy(&value, from + offset, sizeof value);
        if (mf_mapping_concerns(mapping, value) && mf_mapping_owns(mapping, value) &&
            !one_pointer(from + offset, to + offset, mapping, &loss)) {
            return false;
        }
    });
    return true;
}

static bool
each(const mf_plan *plan, const mf_step *step, mf_places places, const mf_mapping *mapping)
{
    mf_loss loss;
    EACH(if (!mf_step_one(plan, step, from, to, mapping, &loss)) { return false; });
    return true;
}

bool
mf_step_many(const mf_plan *plan, const mf_step *step, mf_places places, const mf_mapping *mapping)
{
    mf_places moved = places;
    moved.from += step->from;
    moved.to += step->to;
    switch (step->kind) {
    case MF_OP_COPY: copy_many(step->size, moved); return true;
    case MF_OP_POINTER: return pointers_many(moved, mapping);
    case MF_OP_WORDS: return words_many(step, moved, mapping);
    case MF_OP_NUMBER:
        switch (mf_numbers_many(step->a, step->b, moved)) {
        case MF_ALL_FIT: return true;
        case MF_SOME_LOST: return false;
        case MF_NOT_KNOWN: break;
        }
        return each(plan, step, places, mapping);
    default: return each(plan, step, places, mapping);
    }
}
