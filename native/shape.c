/* The shapes of trace.h. */
#include "trace.h"

#include <stdlib.h>

/* Whether the pointers are where a compiler puts them if nobody packs the type. */
static bool
is_aligned(const mf_steps *steps, uint64_t bytes)
{
    bool aligned = bytes % 8 == 0;
    for (uint32_t i = 0; i < steps->count; i++) {
        const mf_step *step = &steps->step[i];
        aligned = aligned && (step->kind == MF_OP_WORDS || step->from % 8 == 0) && step->from_stride % 8 == 0;
    }
    return aligned;
}

const char *
mf_shape_make(mf_shape *shape, const void *ops, size_t size, uint64_t bytes, unsigned flags)
{
    mf_bounds bounds = {bytes, UINT64_C(1) << 56, 0, true};
    *shape = (mf_shape){.size = bytes, .flags = flags};
    const char *problem = mf_steps_parse(&shape->steps, ops, size, &bounds);
    shape->aligned = problem == NULL && is_aligned(&shape->steps, bytes);
    return problem;
}

bool
mf_shapes_closed(const mf_shapes *shapes)
{
    for (size_t i = 0; i < shapes->count; i++) {
        const mf_steps *steps = &shapes->shape[i].steps;
        for (uint32_t j = 0; j < steps->count; j++) {
            if (steps->step[j].kind == MF_OP_POINTER && steps->step[j].size > shapes->count) {
                return false;
            }
        }
    }
    return true;
}

void
mf_shapes_free(mf_shapes *shapes)
{
    for (size_t i = 0; i < shapes->count; i++) {
        mf_steps_free(&shapes->shape[i].steps);
    }
    free(shapes->shape);
    *shapes = (mf_shapes){NULL, 0};
}

static bool
locate(const mf_step *step, const mf_step *end, uint64_t offset, mf_located *located)
{
    for (; step < end; step += 1 + step->body) {
        if (offset < step->from) {
            continue;
        }
        uint64_t rest = offset - step->from;
        if (step->kind != MF_OP_LOOP) {
            located->path = step->path;
            if (rest < (step->kind == MF_OP_POINTER ? 8 : step->size)) {
                return true;
            }
            continue;
        }
        uint64_t iteration = step->from_stride != 0 ? rest / step->from_stride : 0;
        if (iteration < step->size) {
            located->at[located->depth++] = iteration;
            if (locate(step + 1, step + 1 + step->body, rest - iteration * step->from_stride, located)) {
                return true;
            }
            located->depth--;
        }
    }
    return false;
}

bool
mf_shape_locate(const mf_shape *shape, uint64_t offset, mf_located *located)
{
    *located = (mf_located){0};
    return locate(shape->steps.step, shape->steps.step + shape->steps.count, offset, located);
}
