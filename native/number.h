/* Number: a value that is moved from one class of C's numbers to another, exactly or not at all.  Owns nothing. */
#ifndef MF_NUMBER_H
#define MF_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mf_class {
    MF_INT8 = 1,
    MF_INT16,
    MF_INT32,
    MF_INT64,
    MF_UINT8,
    MF_UINT16,
    MF_UINT32,
    MF_UINT64,
    MF_FLOAT32,
    MF_FLOAT64,
    MF_BOOL,
} mf_class;

typedef struct mf_number {
    bool floating;
    __int128 integer; /* all of int64_t and uint64_t */
    double real;
} mf_number;

typedef enum mf_fit { MF_FITS = 0, MF_OUT_OF_RANGE, MF_INEXACT } mf_fit;

/* Bytes; 0: there is no such class. */
static inline size_t
mf_class_size(unsigned class)
{
    static const uint8_t sizes[] = {0, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 1};
    return class < sizeof sizes ? sizes[class] : 0;
}

static inline bool
mf_class_is_integer(unsigned class)
{
    return class >= MF_INT8 && class <= MF_UINT64;
}

mf_number mf_number_read(const char *from, mf_class class);

/* Writes nothing unless it fits.  A NaN stays a NaN. */
mf_fit mf_number_write(char *to, mf_class class, const mf_number *number);

/* A bit-field of 1 to 64 bits, `bit` bits behind `from`, numbered as the processor does (little-endian). */
mf_number mf_bits_read(const char *from, uint64_t bit, unsigned bits, bool is_signed);

/* Leaves the bits around it as they are. */
mf_fit mf_bits_write(char *to, uint64_t bit, unsigned bits, bool is_signed, const mf_number *number);

#endif
