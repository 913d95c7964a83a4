/* See number.h. */
#include "number.h"

#include <math.h>
#include <string.h>

#define READ(type)                           \
    {                                        \
        type value;                          \
        memcpy(&value, from, sizeof value);  \
        return (mf_number){false, value, 0}; \
    }

#define READ_REAL(type)                      \
    {                                        \
        type value;                          \
        memcpy(&value, from, sizeof value);  \
        return (mf_number){true, 0, value};  \
    }

mf_number
mf_number_read(const char *from, mf_class class)
{
    switch (class) {
    case MF_INT8: READ(int8_t)
    case MF_INT16: READ(int16_t)
    case MF_INT32: READ(int32_t)
    case MF_INT64: READ(int64_t)
    case MF_UINT8: READ(uint8_t)
    case MF_UINT16: READ(uint16_t)
    case MF_UINT32: READ(uint32_t)
    case MF_UINT64: READ(uint64_t)
    case MF_FLOAT32: READ_REAL(float)
    case MF_FLOAT64: READ_REAL(double)
    case MF_BOOL: break;
    }
    return (mf_number){false, *from != 0, 0};
}

/* Whether an integer is one of `bits` bits. */
static bool
holds(unsigned bits, bool is_signed, __int128 value)
{
    __int128 limit = (__int128)1 << (is_signed ? bits - 1 : bits);
    return value < limit && value >= (is_signed ? -limit : 0);
}

/* The integer that a floating number is. */
static mf_fit
to_integer(const mf_number *number, __int128 *value)
{
    if (!number->floating) {
        *value = number->integer;
        return MF_FITS;
    }
    if (!(number->real >= -0x1p63 && number->real < 0x1p64)) { /* a NaN, too */
        return MF_OUT_OF_RANGE;
    }
    *value = (__int128)number->real;
    return (double)*value == number->real ? MF_FITS : MF_INEXACT;
}

static mf_fit
write_float32(char *to, const mf_number *number)
{
    float value = number->floating ? (float)number->real : (float)number->integer;
    if (!number->floating && (__int128)value != number->integer) {
        return MF_INEXACT;
    }
    if (number->floating && isinf(value) && !isinf(number->real)) {
        return MF_OUT_OF_RANGE;
    }
    if (number->floating && !isnan(number->real) && (double)value != number->real) {
        return MF_INEXACT;
    }
    memcpy(to, &value, sizeof value);
    return MF_FITS;
}

static mf_fit
write_float64(char *to, const mf_number *number)
{
    double value = number->floating ? number->real : (double)number->integer;
    if (!number->floating && (__int128)value != number->integer) {
        return MF_INEXACT;
    }
    memcpy(to, &value, sizeof value);
    return MF_FITS;
}

mf_fit
mf_number_write(char *to, mf_class class, const mf_number *number)
{
    __int128 value;
    if (class == MF_FLOAT32) {
        return write_float32(to, number);
    }
    if (class == MF_FLOAT64) {
        return write_float64(to, number);
    }
    mf_fit fit = to_integer(number, &value);
    if (fit != MF_FITS) {
        return fit;
    }
    size_t size = mf_class_size(class);
    if (!holds(class == MF_BOOL ? 1 : 8 * (unsigned)size, class <= MF_INT64, value)) {
        return MF_OUT_OF_RANGE;
    }
    uint64_t bits = (uint64_t)value;
    memcpy(to, &bits, size); /* little-endian, as both processors are */
    return MF_FITS;
}

/* How many bytes a bit-field lies in, at most 9. */
static size_t
bytes_of(uint64_t bit, unsigned bits)
{
    return (bit % 8 + bits + 7) / 8;
}

/* Those bytes as one number: at most eight of them, and a ninth.  Byte by byte, because a number that is loaded right after
 * parts of it were stored makes the processor wait. */
static unsigned __int128
load_bits(const char *from, size_t size)
{
    uint64_t word = 0;
    for (size_t i = 0; i < size && i < 8; i++) {
        word |= (uint64_t)(uint8_t)from[i] << 8 * i;
    }
    return size > 8 ? (unsigned __int128)(uint8_t)from[8] << 64 | word : word;
}

static void
store_bits(char *to, size_t size, unsigned __int128 word)
{
    uint64_t low = (uint64_t)word;
    for (size_t i = 0; i < size && i < 8; i++) {
        to[i] = (char)(low >> 8 * i);
    }
    if (size > 8) {
        to[8] = (char)(word >> 64);
    }
}

mf_number
mf_bits_read(const char *from, uint64_t bit, unsigned bits, bool is_signed)
{
    unsigned __int128 word = load_bits(from + bit / 8, bytes_of(bit, bits)) << (128 - bit % 8 - bits);
    __int128 value = is_signed ? (__int128)word >> (128 - bits) : (__int128)(word >> (128 - bits));
    return (mf_number){false, value, 0};
}

mf_fit
mf_bits_write(char *to, uint64_t bit, unsigned bits, bool is_signed, const mf_number *number)
{
    if (!holds(bits, is_signed, number->integer)) {
        return MF_OUT_OF_RANGE;
    }
    unsigned __int128 mask = (((unsigned __int128)1 << bits) - 1) << bit % 8;
    unsigned __int128 word = load_bits(to + bit / 8, bytes_of(bit, bits)) & ~mask;
    word |= (unsigned __int128)number->integer << bit % 8 & mask;
    store_bits(to + bit / 8, bytes_of(bit, bits), word);
    return MF_FITS;
}
