/* A call of a native function from values in registers, without knowing its type at compile time.
 *
 * On x86-64 System V and AArch64 (AAPCS64) integer and floating registers are filled independently, so one trampoline
 * that loads all argument registers serves every signature of register-sized arguments; what doesn't fit goes onto the
 * stack in the order of the parameters.  A `float` travels as its 32 bits in the low half of a double.
 *
 * Owns nothing.  Safe to call from many threads at once, with an mf_registers each.
 */
#ifndef MF_CALL_H
#define MF_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
enum { MF_INTEGER_REGISTERS = 6, MF_DOUBLE_REGISTERS = 8 };
#elif defined(__aarch64__)
enum { MF_INTEGER_REGISTERS = 8, MF_DOUBLE_REGISTERS = 8 };
#else
#error "midflight serves x86-64 and AArch64"
#endif

enum { MF_STACK_WORDS = 64 }; /* more parameters than C guarantees a function may have need no registers */

/* The layout is known to the assembly in call.c. */
typedef struct mf_registers {
    uint64_t integers[MF_INTEGER_REGISTERS];
    double doubles[MF_DOUBLE_REGISTERS];
    const uint64_t *stack; /* `stack_count` words, first parameter first */
    uint64_t stack_count;
    void *exception; /* set to NULL before a call; after it: a C++ exception that left the function */
} mf_registers;

/* Calls `function`.  The integer result and the floating result come back in their own registers, so the same code is
 * declared twice: use the one for the function's result type. */
uint64_t mf_call_integer(mf_registers *registers, uintptr_t function);
double mf_call_double(mf_registers *registers, uintptr_t function);

/* The same as mf_call_integer where no argument is floating and none is on the stack: neither is looked at. */
uint64_t mf_call_integers(mf_registers *registers, uintptr_t function);

/* The same as mf_call_integer, for a function whose type isn't known here: all registers that a result can be in. */
typedef struct mf_results {
    uint64_t integers[2];
    double doubles[2];
} mf_results;

void mf_call_results(mf_registers *registers, uintptr_t function, mf_results *results);

/* A call that somebody else makes (ctypes, for a struct by value), with the same landing pad for C++ exceptions: he calls
 * mf_call_through with the arguments of the function, and this thread's innermost mf_through says which function it is.
 * The layout is known to the assembly in call.c. */
typedef struct mf_through {
    uintptr_t function;
    void *exception;           /* set to NULL before a call; after it: a C++ exception that left the function */
    uintptr_t kept[2];         /* the caller's return address, and a register of his */
    struct mf_through *outer;
} mf_through;

extern _Thread_local mf_through *mf_through_innermost
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

void mf_call_through(void) __attribute__((visibility("hidden")));

/* What a C++ exception says of itself. */
typedef struct mf_exception_text {
    char type_name[256]; /* as C++ writes it; as std::type_info::name() gives it where the runtime can't be asked */
    char what[512];      /* std::exception::what(), or "" */
} mf_exception_text;

/* Describes the exception in `registers->exception` and ends it, as a catch clause would. */
void mf_exception_take(mf_registers *registers, mf_exception_text *text);

#endif
