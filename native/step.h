/* Step: one op, run on one element, or on many that lie at equal distances.  Owns nothing. */
#ifndef MF_STEP_H
#define MF_STEP_H

#include "plan.h"

/* Places at equal distances. */
typedef struct mf_places {
    const char *from;
    char *to;
    uint64_t count, from_stride, to_stride;
} mf_places;

/* Runs statements in all places, which `from` and `to` are. */
#define EACH(...)                                                                                  \
    do {                                                                                           \
        const char *restrict from = places.from;                                                   \
        char *restrict to = places.to;                                                             \
        for (uint64_t i = 0; i < places.count; i++, from += places.from_stride, to += places.to_stride) { \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/* Runs any op but a LOOP in one place.  False: `loss` has its kind and value. */
bool mf_step_one(const mf_plan *plan, const mf_step *step, const char *from, char *to, const mf_mapping *mapping,
                 mf_loss *loss);

/* The same in many places, fast; false: something is lost in one of them. */
bool mf_step_many(const mf_plan *plan, const mf_step *step, mf_places places, const mf_mapping *mapping);

typedef enum mf_many { MF_ALL_FIT, MF_SOME_LOST, MF_NOT_KNOWN } mf_many;

/* Converts numbers in many places, if there is a fast way for these two classes. */
mf_many mf_numbers_many(unsigned from_class, unsigned to_class, mf_places places);

#endif
