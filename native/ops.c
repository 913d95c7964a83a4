/* See ops.h. */
#include "ops.h"

#include <stdlib.h>
#include <string.h>

#include "number.h"

typedef unsigned __int128 wide; /* no sum or product of a few 64-bit numbers overflows it */

typedef struct parser {
    const char *ops;
    uint32_t count;
    const mf_bounds *bounds;
    mf_steps *steps;
} parser;

/* Where the iterations of the loops around an op begin: the first one, and how far behind it the last one. */
typedef struct place {
    wide from, to;
    wide from_reach, to_reach;
    wide iterations;
    int depth;
} place;

static mf_op
op_at(const parser *parser, uint32_t index)
{
    mf_op op;
    memcpy(&op, parser->ops + (size_t)index * sizeof op, sizeof op);
    return op;
}

/* Whether all iterations of `from_size` bytes at `from`, and of the target's, lie inside the element.  `unit`: how many of
 * what they are counted in a byte has. */
static bool
inside(const parser *parser, const place *place, const mf_step *step, wide from_size, wide to_size, unsigned unit)
{
    wide from = (place->from + place->from_reach) * unit + step->from + from_size;
    wide to = (place->to + place->to_reach) * unit + step->to + to_size;
    if (from > (wide)parser->bounds->from_size * unit) {
        return false;
    }
    return parser->bounds->places_only || to_size == 0 || to <= (wide)parser->bounds->to_size * unit;
}

static const char *outside = "an op reaches beyond the element";

static const char *
check_numbers(const parser *parser, const place *place, const mf_step *step)
{
    bool integers = mf_class_is_integer(step->a) && mf_class_is_integer(step->b);
    if (mf_class_size(step->a) == 0 || mf_class_size(step->b) == 0 || (step->kind == MF_OP_ENUM && !integers)) {
        return "there is no such class of numbers";
    }
    if (step->kind == MF_OP_ENUM && step->size >= parser->bounds->table_count) {
        return "there is no such table";
    }
    return inside(parser, place, step, mf_class_size(step->a), mf_class_size(step->b), 1) ? NULL : outside;
}

static const char *
check_bits(const parser *parser, const place *place, mf_step *step)
{
    step->to_size = step->size >> 16;
    step->size &= 0xffff;
    if (step->size < 1 || step->size > 64 || step->to_size < 1 || step->to_size > 64 || step->a > 1 || step->b > 1) {
        return "a bit-field has 1 to 64 bits";
    }
    return inside(parser, place, step, step->size, step->to_size, 8) ? NULL : outside;
}

static const char *
check_lock(const parser *parser, const place *place, const mf_step *step)
{
    static const uint64_t least[] = {0, 12, 28, 0, 0}; /* what is looked at */
    if (step->a < MF_LOCK_MUTEX || step->a > MF_LOCK_OTHER || step->size < least[step->a]) {
        return "there is no such lock";
    }
    return inside(parser, place, step, step->size, step->size, 1) ? NULL : outside;
}

static const char *
check_text(const parser *parser, const place *place, mf_step *step)
{
    step->to_size = step->size >> 32;
    step->size &= UINT32_MAX;
    if (step->to_size > step->size) {
        return "a text that grows is a copy";
    }
    return inside(parser, place, step, step->size, step->to_size, 1) ? NULL : outside;
}

/* Takes the parts of `size` apart, too. */
static const char *
check_step(const parser *parser, const place *place, mf_step *step)
{
    if (parser->bounds->places_only && step->kind != MF_OP_POINTER && step->kind != MF_OP_WORDS) {
        return "a shape has pointers and words only";
    }
    switch (step->kind) {
    case MF_OP_COPY:
    case MF_OP_WORDS: return inside(parser, place, step, step->size, step->size, 1) ? NULL : outside;
    case MF_OP_ZERO: return inside(parser, place, step, step->size, 0, 1) ? NULL : outside;
    case MF_OP_POINTER: return inside(parser, place, step, 8, 8, 1) ? NULL : outside;
    case MF_OP_NUMBER:
    case MF_OP_ENUM: return check_numbers(parser, place, step);
    case MF_OP_BITS: return check_bits(parser, place, step);
    case MF_OP_UNLOCKED: return check_lock(parser, place, step);
    case MF_OP_TEXT: return check_text(parser, place, step);
    default: return "there is no such op";
    }
}

/* What the BASEs before an op add to it. */
typedef struct base {
    wide from, to;
} base;

static const char *parse(const parser *parser, uint32_t first, uint32_t end, const place *place);

/* The loop at `index`, whose body has to end before `*end`; sets that to where it does. */
static const char *
parse_loop(const parser *parser, uint32_t index, uint32_t *end, base base, place place)
{
    mf_op op = op_at(parser, index);
    uint64_t iterations = op.size & ((UINT64_C(1) << 40) - 1), body = op.size >> 40;
    if (body > *end - index - 1) {
        return "a loop's body ends after the ops";
    }
    *end = index + 1 + (uint32_t)body;
    if (iterations == 0) {
        return NULL;
    }
    /* Iterations of a real type don't overlap, so that there are at most as many as bytes: more would only run for ever. */
    place.iterations *= iterations;
    if (++place.depth > MF_MOST_LOOPS || place.iterations > (wide)parser->bounds->from_size + 1) {
        return "too many loops or iterations";
    }
    place.from += base.from;
    place.to += base.to;
    place.from_reach += (wide)(iterations - 1) * op.from;
    place.to_reach += (wide)(iterations - 1) * op.to;
    uint32_t made = parser->steps->count++;
    parser->steps->step[made] = (mf_step){.kind = MF_OP_LOOP, .path = op.path, .from = (uint64_t)base.from,
        .to = (uint64_t)base.to, .size = iterations, .from_stride = op.from, .to_stride = op.to};
    const char *problem = parse(parser, index + 1, *end, &place);
    parser->steps->step[made].body = parser->steps->count - made - 1;
    return problem;
}

static const char *
parse_leaf(const parser *parser, const mf_op *op, const base *base, const place *place)
{
    unsigned unit = op->kind == MF_OP_BITS ? 8 : 1;
    wide from = op->from + base->from * unit, to = op->to + base->to * unit;
    if (from > (wide)parser->bounds->from_size * unit || to > (wide)parser->bounds->to_size * unit) {
        return outside;
    }
    mf_step step = {.kind = (uint8_t)op->kind, .a = op->a, .b = op->b, .path = op->path, .from = (uint64_t)from,
        .to = (uint64_t)to, .size = op->size};
    const char *problem = op->kind > MF_OP_TEXT ? "there is no such op" : check_step(parser, place, &step);
    parser->steps->step[parser->steps->count++] = step;
    return problem;
}

static const char *
parse(const parser *parser, uint32_t first, uint32_t end, const place *place)
{
    base base = {0, 0};
    for (uint32_t index = first, next; index < end; index = next) {
        mf_op op = op_at(parser, index);
        const char *problem = NULL;
        next = index + 1;
        if (op.kind == MF_OP_BASE) {
            base.from += op.from;
            base.to += op.to;
            if (next == end || base.from > parser->bounds->from_size || base.to > parser->bounds->to_size) {
                return next == end ? "a base has no op that follows it" : outside;
            }
            continue;
        }
        if (op.kind == MF_OP_LOOP) {
            next = end;
            problem = parse_loop(parser, index, &next, base, *place);
        } else {
            problem = parse_leaf(parser, &op, &base, place);
        }
        if (problem != NULL) {
            return problem;
        }
        base.from = base.to = 0;
    }
    return NULL;
}

const char *
mf_steps_parse(mf_steps *steps, const void *ops, size_t size, const mf_bounds *bounds)
{
    static const uint64_t most = UINT64_C(1) << 56; /* so that an offset in bits is a number, too */
    *steps = (mf_steps){NULL, 0};
    if (size % sizeof(mf_op) != 0 || size / sizeof(mf_op) > MF_MOST_OPS) {
        return "the ops are not a text of 32 bytes for each";
    }
    if (bounds->from_size > most || bounds->to_size > most) {
        return "an element can't be that large";
    }
    parser parser = {ops, (uint32_t)(size / sizeof(mf_op)), bounds, steps};
    steps->step = calloc((size_t)parser.count + 1, sizeof *steps->step);
    if (steps->step == NULL) {
        return "no memory for the ops";
    }
    const char *problem = parse(&parser, 0, parser.count, &(place){.iterations = 1});
    if (problem != NULL) {
        mf_steps_free(steps);
    }
    return problem;
}

void
mf_steps_free(mf_steps *steps)
{
    free(steps->step);
    *steps = (mf_steps){NULL, 0};
}
