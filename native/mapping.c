/* See mapping.h. */
#include "mapping.h"

#include <stdlib.h>

/* Each record begins with what it is sorted by. */
static int
by_first(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void
sort(void *records, size_t count, size_t size)
{
    if (count > 0) { /* there may be no array */
        qsort(records, count, size, by_first);
    }
}

static const char *
check_runs(const mf_mapping *mapping, const mf_moved *moved)
{
    mf_run *runs = moved->run_count > 0 ? mapping->run + moved->run : NULL;
    sort(runs, moved->run_count, sizeof *runs);
    uint64_t end = 0;
    for (size_t i = 0; i < moved->run_count; i++) {
        const mf_run *run = &runs[i];
        if (run->from < end || run->from > moved->stride || run->size > moved->stride - run->from ||
            run->to > moved->to_stride || run->size > moved->to_stride - run->to) {
            return "a field of a moved block lies outside of the element, or on another one";
        }
        end = run->from + run->size;
    }
    return NULL;
}

static const char *
check_moved(mf_mapping *mapping)
{
    sort(mapping->moved, mapping->moved_count, sizeof *mapping->moved);
    uint64_t end = 0;
    for (size_t i = 0; i < mapping->moved_count; i++) {
        const mf_moved *moved = &mapping->moved[i];
        if (moved->start < end || moved->end < moved->start || moved->stride == 0 ||
            (moved->end - moved->start) % moved->stride != 0) {
            return "a moved block isn't whole elements, or lies on another one";
        }
        if (moved->run > mapping->run_count || moved->run_count > mapping->run_count - moved->run) {
            return "a moved block has more fields than there are";
        }
        const char *problem = check_runs(mapping, moved);
        if (problem != NULL) {
            return problem;
        }
        end = moved->end;
    }
    return NULL;
}

static const char *
check_exact(mf_mapping *mapping)
{
    sort(mapping->exact, mapping->exact_count, sizeof *mapping->exact);
    for (size_t i = 1; i < mapping->exact_count; i++) {
        if (mapping->exact[i - 1].from == mapping->exact[i].from && mapping->exact[i - 1].to != mapping->exact[i].to) {
            return "one value is translated in two ways";
        }
    }
    return NULL;
}

static void
set_spans(mf_mapping *mapping)
{
    uint64_t low = mapping->low, high = mapping->high;
    if (mapping->exact_count > 0) {
        uint64_t first = mapping->exact[0].from, last = mapping->exact[mapping->exact_count - 1].from;
        low = low == high || first < low ? first : low;
        high = mapping->low == high || last >= high ? last + 1 : high;
    }
    mapping->exact_low = low;
    mapping->exact_span = high - low;
    if (mapping->moved_count > 0) {
        mapping->moved_low = mapping->moved[0].start;
        /* One past the end is a pointer to it, too. */
        mapping->moved_span = mapping->moved[mapping->moved_count - 1].end - mapping->moved_low + 1;
    }
}

const char *
mf_mapping_ready(mf_mapping *mapping)
{
    const char *problem = mapping->low > mapping->high ? "the old image ends before it begins" : NULL;
    problem = problem != NULL ? problem : check_exact(mapping);
    problem = problem != NULL ? problem : check_moved(mapping);
    if (problem == NULL) {
        set_spans(mapping);
    }
    return problem;
}

void
mf_mapping_free(mf_mapping *mapping)
{
    free(mapping->exact);
    free(mapping->moved);
    free(mapping->run);
}

/* How many of `count` sorted records of `size` bytes begin with at most `value`. */
static size_t
count_up_to(const void *records, size_t count, size_t size, uint64_t value)
{
    size_t low = 0;
    while (count > 0) {
        size_t half = count / 2;
        if (*(const uint64_t *)((const char *)records + (low + half) * size) <= value) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

/* The block that the value points into, or one past the end of; NULL: none. */
static const mf_moved *
moved_around(const mf_mapping *mapping, uint64_t value)
{
    size_t count = count_up_to(mapping->moved, mapping->moved_count, sizeof *mapping->moved, value);
    return count > 0 && value <= mapping->moved[count - 1].end ? &mapping->moved[count - 1] : NULL;
}

static mf_fate
find_moved(const mf_mapping *mapping, const mf_moved *moved, uint64_t value, uint64_t *result)
{
    uint64_t index = (value - moved->start) / moved->stride, rest = (value - moved->start) % moved->stride;
    *result = moved->to + index * moved->to_stride;
    if (rest == 0) {
        return MF_TRANSLATED;
    }
    const mf_run *runs = mapping->run + moved->run;
    size_t count = count_up_to(runs, moved->run_count, sizeof *runs, rest);
    if (count == 0 || rest - runs[count - 1].from >= runs[count - 1].size) {
        return MF_DANGLES;
    }
    *result += runs[count - 1].to + (rest - runs[count - 1].from);
    return MF_TRANSLATED;
}

mf_fate
mf_mapping_find(const mf_mapping *mapping, uint64_t value, uint64_t *result)
{
    if (value - mapping->exact_low < mapping->exact_span) {
        size_t count = count_up_to(mapping->exact, mapping->exact_count, sizeof *mapping->exact, value);
        if (count > 0 && mapping->exact[count - 1].from == value) {
            *result = mapping->exact[count - 1].to;
            return MF_TRANSLATED;
        }
        if (value - mapping->low < mapping->high - mapping->low) {
            return MF_DANGLES;
        }
    }
    const mf_moved *moved = moved_around(mapping, value);
    if (moved != NULL) {
        return find_moved(mapping, moved, value, result);
    }
    *result = value;
    return MF_KEPT;
}

bool
mf_mapping_owns(const mf_mapping *mapping, uint64_t value)
{
    return mf_mapping_concerns(mapping, value) &&
           (value - mapping->low < mapping->high - mapping->low || moved_around(mapping, value) != NULL);
}
