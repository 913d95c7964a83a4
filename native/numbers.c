/* Many numbers at once, of step.h: what number.h does to one, with the classes known to the compiler. */
#include "step.h"

#include <string.h>

/* Written so that compilers don't warn of it where the class is unsigned. */
#define NEGATIVE(value) ((value) < 1 && (value) != 0)

/* An integer fits if it comes back, with its sign.  The compiler leaves out what can't happen.  That something is lost is
 * asked at the end: a branch in the loop would cost more than the loop. */
#define INTEGERS(source, target)                                                    \
    {                                                                               \
        bool lost = false;                                                          \
        EACH(source value; memcpy(&value, from, sizeof value);                      \
             target made = (target)value; memcpy(to, &made, sizeof made);           \
             lost |= (source)made != value || NEGATIVE(made) != NEGATIVE(value););  \
        return lost ? MF_SOME_LOST : MF_ALL_FIT;                                    \
    }

#define REALS(source, target)                                                       \
    {                                                                               \
        bool lost = false;                                                          \
        EACH(source value; memcpy(&value, from, sizeof value);                      \
             target made = (target)value; memcpy(to, &made, sizeof made);           \
             lost |= (int64_t)made != (int64_t)value;);                             \
        return lost ? MF_SOME_LOST : MF_ALL_FIT;                                    \
    }

/* One function for each class of the source. */
#define FROM_INTEGER(name, source, more)                                            \
    static mf_many name(unsigned to_class, mf_places places)                        \
    {                                                                               \
        switch (to_class) {                                                         \
        case MF_INT8: INTEGERS(source, int8_t)                                      \
        case MF_INT16: INTEGERS(source, int16_t)                                    \
        case MF_INT32: INTEGERS(source, int32_t)                                    \
        case MF_INT64: INTEGERS(source, int64_t)                                    \
        case MF_UINT8: INTEGERS(source, uint8_t)                                    \
        case MF_UINT16: INTEGERS(source, uint16_t)                                  \
        case MF_UINT32: INTEGERS(source, uint32_t)                                  \
        case MF_UINT64: INTEGERS(source, uint64_t)                                  \
        more                                                                        \
        default: return MF_NOT_KNOWN;                                               \
        }                                                                           \
    }

/* Of up to 32 bits, so that a floating number's value is one of int64_t. */
#define FROM_SMALL(name, source)                                                    \
    FROM_INTEGER(name, source,                                                      \
                 case MF_FLOAT32: REALS(source, float)                              \
                 case MF_FLOAT64: REALS(source, double))

FROM_SMALL(from_int8, int8_t)
FROM_SMALL(from_int16, int16_t)
FROM_SMALL(from_int32, int32_t)
FROM_INTEGER(from_int64, int64_t, )
FROM_SMALL(from_uint8, uint8_t)
FROM_SMALL(from_uint16, uint16_t)
FROM_SMALL(from_uint32, uint32_t)
FROM_INTEGER(from_uint64, uint64_t, )

static mf_many
from_float32(unsigned to_class, mf_places places)
{
    if (to_class != MF_FLOAT64) {
        return MF_NOT_KNOWN;
    }
    EACH(float value; memcpy(&value, from, sizeof value);
         double made = value; memcpy(to, &made, sizeof made););
    return MF_ALL_FIT;
}

mf_many
mf_numbers_many(unsigned from_class, unsigned to_class, mf_places places)
{
    switch (from_class) {
    case MF_INT8: return from_int8(to_class, places);
    case MF_INT16: return from_int16(to_class, places);
    case MF_INT32: return from_int32(to_class, places);
    case MF_INT64: return from_int64(to_class, places);
    case MF_UINT8: return from_uint8(to_class, places);
    case MF_UINT16: return from_uint16(to_class, places);
    case MF_UINT32: return from_uint32(to_class, places);
    case MF_UINT64: return from_uint64(to_class, places);
    case MF_FLOAT32: return from_float32(to_class, places);
    default: return MF_NOT_KNOWN;
    }
}
