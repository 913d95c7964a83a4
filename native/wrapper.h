/* A function of ours that a private copy is bound to instead of the system's. */
#ifndef MF_WRAPPER_H
#define MF_WRAPPER_H

#include <stdint.h>

typedef struct mf_wrapper {
    const char *symbol;
    uintptr_t address;
} mf_wrapper;

#define MF_WRAPPER(symbol, function) {symbol, (uintptr_t)(function)}

#endif
