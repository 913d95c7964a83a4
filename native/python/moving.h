/* What Plan, Mapping and Trace share. */
#ifndef MF_MOVING_H
#define MF_MOVING_H

#include "core.h"

#include "../mapping.h"

/* A converter for PyArg_Parse: a number of 64 bits, not negative. */
int convert_word(PyObject *object, void *result);

PyObject *tuple_of(const uint64_t *numbers, uint32_t count);

/* A converter for PyArg_Parse: a Mapping, or NULL for None; borrowed. */
int convert_mapping(PyObject *object, void *result);
const mf_mapping *mapping_of(PyObject *mapping);

/* A sequence's items as a new array; -1 with an exception set.  `item` fills one of `size` bytes, or returns -1. */
typedef int item_from(PyObject *object, void *item, void *closure);
int items_from(PyObject *sequence, const char *what, size_t size, item_from *item, void *closure, void **items,
               size_t *count);

#endif
