/* A histogram of durations: as precise for nanoseconds as for minutes, in little memory.
 *
 * Log-linear, as HdrHistogram (Gil Tene, hdrhistogram.org): each power of two is cut into 16 equal buckets, so a bucket is
 * at most a sixteenth as wide as the values in it, whatever their size.  Adding costs a few instructions, and never
 * allocates.
 */
#ifndef MF_HISTOGRAM_H
#define MF_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    MF_HISTOGRAM_STEPS = 16, /* buckets for each power of two; smaller values have one each */
    MF_HISTOGRAM_OCTAVES = 37, /* 2^41 nanoseconds are 36 minutes; what takes longer counts as that */
    MF_HISTOGRAM_BUCKETS = MF_HISTOGRAM_STEPS * (MF_HISTOGRAM_OCTAVES + 1),
};

typedef struct mf_histogram {
    uint64_t count, total, longest; /* the last two are exact */
    uint64_t at[MF_HISTOGRAM_BUCKETS];
} mf_histogram;

void mf_histogram_add(mf_histogram *histogram, uint64_t nanoseconds);

/* The smallest and the greatest value of a bucket.  Precondition: there is such a bucket. */
uint64_t mf_histogram_lowest(size_t bucket);
uint64_t mf_histogram_highest(size_t bucket);

#endif
