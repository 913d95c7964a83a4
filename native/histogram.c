/* See histogram.h. */
#include "histogram.h"

enum { FIRST_BITS = 4 }; /* of MF_HISTOGRAM_STEPS */

/* By how many bits the values of a bucket are cut. */
static unsigned
shift_of(size_t bucket)
{
    return bucket < 2 * MF_HISTOGRAM_STEPS ? 0 : (unsigned)(bucket / MF_HISTOGRAM_STEPS) - 1;
}

static size_t
bucket_of(uint64_t value)
{
    if (value < 2 * MF_HISTOGRAM_STEPS) {
        return (size_t)value;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - FIRST_BITS;
    size_t bucket = (size_t)shift * MF_HISTOGRAM_STEPS + (size_t)(value >> shift);
    return bucket < MF_HISTOGRAM_BUCKETS ? bucket : MF_HISTOGRAM_BUCKETS - 1;
}

void
mf_histogram_add(mf_histogram *self, uint64_t nanoseconds)
{
    self->count++;
    self->total += nanoseconds;
    self->longest = nanoseconds > self->longest ? nanoseconds : self->longest;
    self->at[bucket_of(nanoseconds)]++;
}

uint64_t
mf_histogram_lowest(size_t bucket)
{
    unsigned shift = shift_of(bucket);
    return (uint64_t)(bucket - (size_t)shift * MF_HISTOGRAM_STEPS) << shift;
}

uint64_t
mf_histogram_highest(size_t bucket)
{
    return mf_histogram_lowest(bucket) + (UINT64_C(1) << shift_of(bucket)) - 1;
}
