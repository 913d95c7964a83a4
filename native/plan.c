/* See plan.h. */
#include "plan.h"

#include <stdlib.h>

#include "step.h"

/* As much as stays in the processor's nearest cache while op after op passes over it. */
enum { CHUNK = 12 * 1024 };

/* ---- making ------------------------------------------------------------------------------------------------------- */

/* Whether a value, as the bits of an int64_t, is one of an integer class. */
static bool
of_class(int64_t value, unsigned class)
{
    char unused[8];
    __int128 whole = class == MF_UINT64 ? (__int128)(uint64_t)value : value;
    return mf_number_write(unused, class, &(mf_number){false, whole, 0}) == MF_FITS;
}

static const char *
check_tables(const mf_plan *plan)
{
    for (size_t i = 0; i < plan->table_count; i++) {
        for (size_t j = 1; j < plan->table[i].count; j++) {
            if (plan->table[i].pair[j - 1].from >= plan->table[i].pair[j].from) {
                return "a table isn't sorted";
            }
        }
    }
    for (uint32_t i = 0; i < plan->steps.count; i++) {
        const mf_step *step = &plan->steps.step[i];
        for (size_t j = 0; step->kind == MF_OP_ENUM && j < plan->table[step->size].count; j++) {
            if (!of_class(plan->table[step->size].pair[j].to, step->b)) {
                return "a table has a value that its class can't hold";
            }
        }
    }
    return NULL;
}

const char *
mf_plan_make(mf_plan *plan, const void *ops, size_t size, uint64_t from_size, uint64_t to_size, mf_table *tables,
             size_t table_count)
{
    *plan = (mf_plan){.from_size = from_size, .to_size = to_size, .table = tables, .table_count = table_count};
    mf_bounds bounds = {from_size, to_size, table_count, false};
    const char *problem = mf_steps_parse(&plan->steps, ops, size, &bounds);
    problem = problem != NULL ? problem : check_tables(plan);
    if (problem != NULL) {
        mf_plan_free(plan);
    }
    return problem;
}

void
mf_plan_free(mf_plan *plan)
{
    mf_steps_free(&plan->steps);
    for (size_t i = 0; i < plan->table_count; i++) {
        free(plan->table[i].pair);
    }
    free(plan->table);
    plan->table = NULL;
    plan->table_count = 0;
}

/* ---- running: op by op over a chunk of elements ---------------------------------------------------------------------- */

typedef struct running {
    const mf_plan *plan;
    const mf_mapping *mapping;
} running;

static bool run_steps(const running *run, const mf_step *step, const mf_step *end, mf_places places);

/* Runs the steps over all places, as many at once as stay in the cache. */
static bool
run_chunks(const running *run, const mf_step *step, const mf_step *end, mf_places places)
{
    uint64_t stride = places.from_stride > places.to_stride ? places.from_stride : places.to_stride;
    uint64_t most = stride < CHUNK ? CHUNK / (stride + 1) : 1, left = places.count;
    while (left > 0) {
        places.count = left < most ? left : most;
        if (!run_steps(run, step, end, places)) {
            return false;
        }
        left -= places.count;
        places.from += places.count * places.from_stride;
        places.to += places.count * places.to_stride;
    }
    return true;
}

/* A loop is turned inside out where that makes the inner one longer. */
static bool
run_loop(const running *run, const mf_step *loop, mf_places places)
{
    const mf_step *body = loop + 1, *end = body + loop->body;
    places.from += loop->from;
    places.to += loop->to;
    if (loop->size < places.count) {
        for (uint64_t i = 0; i < loop->size; i++) {
            if (!run_steps(run, body, end, places)) {
                return false;
            }
            places.from += loop->from_stride;
            places.to += loop->to_stride;
        }
        return true;
    }
    for (uint64_t i = 0; i < places.count; i++) {
        mf_places inner = {places.from + i * places.from_stride, places.to + i * places.to_stride, loop->size,
                           loop->from_stride, loop->to_stride};
        if (!run_chunks(run, body, end, inner)) {
            return false;
        }
    }
    return true;
}

static bool
run_steps(const running *run, const mf_step *step, const mf_step *end, mf_places places)
{
    for (; step < end; step += 1 + step->body) {
        bool done = step->kind == MF_OP_LOOP ? run_loop(run, step, places)
                                             : mf_step_many(run->plan, step, places, run->mapping);
        if (!done) {
            return false;
        }
    }
    return true;
}

/* ---- which loss is the first: element by element, as the ops are written ----------------------------------------------- */

static bool
one_element(const running *run, const mf_step *step, const mf_step *end, const char *from, char *to, mf_loss *loss)
{
    for (; step < end; step += 1 + step->body) {
        if (step->kind != MF_OP_LOOP) {
            loss->path = step->path;
            if (!mf_step_one(run->plan, step, from, to, run->mapping, loss)) {
                return false;
            }
            continue;
        }
        uint32_t depth = loss->depth++;
        for (uint64_t i = 0; i < step->size; i++) {
            loss->at[depth] = i;
            if (!one_element(run, step + 1, step + 1 + step->body, from + step->from + i * step->from_stride,
                             to + step->to + i * step->to_stride, loss)) {
                return false;
            }
        }
        loss->depth = depth;
    }
    return true;
}

static bool
one_by_one(const running *run, const char *from, char *to, uint64_t count, mf_loss *loss)
{
    const mf_step *first = run->plan->steps.step, *end = first + run->plan->steps.count;
    *loss = (mf_loss){0};
    for (; loss->index < count; loss->index++) {
        if (!one_element(run, first, end, from + loss->index * run->plan->from_size,
                         to + loss->index * run->plan->to_size, loss)) {
            return false;
        }
    }
    return true;
}

bool
mf_plan_run(const mf_plan *plan, const char *from, char *to, uint64_t count, const mf_mapping *mapping, mf_loss *loss)
{
    static const mf_mapping nothing = {0};
    running run = {plan, mapping != NULL ? mapping : &nothing};
    mf_places places = {from, to, count, plan->from_size, plan->to_size};
    const mf_step *first = plan->steps.step;
    return run_chunks(&run, first, first + plan->steps.count, places) || one_by_one(&run, from, to, count, loss);
}
