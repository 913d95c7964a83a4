/* Would catch: an argument in the wrong register or stack word, a misaligned stack, a lost C++ exception. */
#include "call.h"

#include <dlfcn.h>
#include <string.h>

#include "check.h"

static int64_t
nine(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h, int64_t i)
{
    double aligned __attribute__((aligned(16))) = (double)i; /* movaps would fault on a misaligned stack */
    return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g + 10000000 * h +
           100000000 * (int64_t)aligned;
}

static int64_t
six(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
    double aligned __attribute__((aligned(16))) = (double)f; /* movaps would fault on a misaligned stack */
    return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * (int64_t)aligned;
}

static double
mixed(int64_t a, double b, float c, int64_t d)
{
    return (double)a + 2 * b + 4 * (double)c + 8 * (double)d;
}

static double
as_register(float value)
{
    double wide = 0;
    memcpy(&wide, &value, sizeof value);
    return wide;
}

static void
test_stack_words(void)
{
    for (uint64_t count = 6; count <= 9; count++) {
        mf_registers registers;
        uint64_t stack[3] = {0, 0, 0};
        memset(&registers, 0, sizeof registers);
        int64_t expected = 0, factor = 1;
        for (uint64_t i = 0; i < count; i++, factor *= 10) {
            *(i < MF_INTEGER_REGISTERS ? &registers.integers[i] : &stack[i - MF_INTEGER_REGISTERS]) = i + 1;
            expected += factor * (int64_t)(i + 1);
        }
        registers.stack = stack;
        registers.stack_count = 9 - MF_INTEGER_REGISTERS;
        CHECK((int64_t)mf_call_integer(&registers, (uintptr_t)nine) == expected);
        CHECK(registers.exception == NULL);
    }
}

static void
test_only_integers(void)
{
    mf_registers registers;
    memset(&registers, 0x7f, sizeof registers); /* what it has no use for may hold anything */
    registers.exception = NULL;
    for (uint64_t i = 0; i < 6; i++) {
        registers.integers[i] = i + 1;
    }
    CHECK(mf_call_integers(&registers, (uintptr_t)six) == 654321);
    CHECK(registers.exception == NULL);
}

static void
test_mixed_registers(void)
{
    mf_registers registers;
    memset(&registers, 0, sizeof registers);
    registers.integers[0] = 1;
    registers.integers[1] = (uint64_t)-4;
    registers.doubles[0] = 2.5;
    registers.doubles[1] = as_register(0.25f);
    CHECK(mf_call_double(&registers, (uintptr_t)mixed) == 1 + 5 + 1 - 32);
}

static void
test_exceptions(const char *directory)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/throws.so", directory);
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    uintptr_t function = (uintptr_t)dlsym(library, "throws");
    const char *expected[][2] = {{"std::runtime_error", "boom"}, {"int", ""}, {"Odd", "odd indeed"}};
    uint64_t (*const calls[])(mf_registers *, uintptr_t) = {mf_call_integer, mf_call_integers};
    for (uint64_t i = 0; i < 6; i++) {
        mf_registers registers;
        mf_exception_text text;
        memset(&registers, 0, sizeof registers);
        registers.integers[0] = i % 3;
        calls[i / 3](&registers, function);
        CHECK(registers.exception != NULL);
        mf_exception_take(&registers, &text);
        CHECK(strcmp(text.type_name, expected[i % 3][0]) == 0);
        CHECK(strcmp(text.what, expected[i % 3][1]) == 0);
    }
    mf_registers registers;
    memset(&registers, 0, sizeof registers);
    registers.integers[0] = 3;
    CHECK(mf_call_integer(&registers, function) == 7 && registers.exception == NULL);
    CHECK(mf_call_integers(&registers, function) == 7 && registers.exception == NULL);
    dlclose(library);
}

int
main(int count, char **arguments)
{
    CHECK(count == 2);
    test_stack_words();
    test_only_integers();
    test_mixed_registers();
    test_exceptions(arguments[1]);
    return 0;
}
