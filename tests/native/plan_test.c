/* Would catch: an op that reads or writes beyond its element, undefined behaviour in a conversion, a plan that leaks, ops
 * made of noise that get past the checks. */
#include "plan.h"

#include <string.h>

#include "check.h"

static const char *
make(mf_plan *plan, const mf_op *ops, size_t count, uint64_t from_size, uint64_t to_size)
{
    return mf_plan_make(plan, ops, count * sizeof *ops, from_size, to_size, NULL, 0);
}

/* Memory of exactly this size, so that AddressSanitizer sees what goes beyond. */
static char *
memory(size_t size, int byte)
{
    char *made = malloc(size);
    CHECK(made != NULL);
    memset(made, byte, size);
    return made;
}

static void
test_a_struct_that_changes(void)
{
    struct before { int32_t id; float x, y; int16_t hp; } *before = (void *)memory(1000 * sizeof *before, 0);
    struct after { int64_t hp; float x, y; int32_t id; } *after = (void *)memory(1000 * sizeof *after, 0xaa);
    const mf_op ops[] = {
        {.kind = MF_OP_COPY, .from = 0, .to = 16, .size = 4},
        {.kind = MF_OP_COPY, .from = 4, .to = 8, .size = 8},
        {.kind = MF_OP_NUMBER, .a = MF_INT16, .b = MF_INT64, .from = 12, .to = 0},
    };
    mf_plan plan;
    mf_loss loss;
    for (int i = 0; i < 1000; i++) {
        before[i] = (struct before){i, (float)i, -1, (int16_t)-i};
    }
    CHECK(make(&plan, ops, 3, sizeof *before, sizeof *after) == NULL);
    CHECK(mf_plan_run(&plan, (char *)before, (char *)after, 1000, NULL, &loss));
    for (int i = 0; i < 1000; i++) {
        CHECK(after[i].id == i && after[i].x == (float)i && after[i].y == -1 && after[i].hp == -i);
    }
    mf_plan_free(&plan);
    free(before);
    free(after);
}

/* Numbers at the edges of all classes, as bits. */
static void
run_edges(const mf_plan *plan, char *from, size_t size, char *to)
{
    static const double reals[] = {0.5, 1e300, -1e300, 0x1p63, 0x1p64, -0x1p63, 0x1p24 + 1, 1e-320};
    mf_loss loss;
    for (unsigned bit = 0; bit < 128; bit++) {
        uint64_t value = (UINT64_C(1) << bit % 64) - (bit >= 64);
        memcpy(from, &value, size);
        mf_plan_run(plan, from, to, 1, NULL, &loss);
    }
    for (size_t i = 0; size == sizeof *reals && i < sizeof reals / sizeof *reals; i++) {
        memcpy(from, &reals[i], size);
        mf_plan_run(plan, from, to, 1, NULL, &loss);
    }
}

/* Every pair of classes: nothing undefined.  What comes out is tests/core/test_plan.py's matter. */
static void
test_numbers(void)
{
    for (unsigned pair = 0; pair < MF_BOOL * MF_BOOL; pair++) {
        mf_op op = {.kind = MF_OP_NUMBER, .a = (uint8_t)(1 + pair / MF_BOOL), .b = (uint8_t)(1 + pair % MF_BOOL)};
        size_t from_size = mf_class_size(op.a), to_size = mf_class_size(op.b);
        char *from = memory(from_size, 0), *to = memory(to_size, 0);
        mf_plan plan;
        CHECK(make(&plan, &op, 1, from_size, to_size) == NULL);
        run_edges(&plan, from, from_size, to);
        mf_plan_free(&plan);
        free(from);
        free(to);
    }
}

static uint64_t noise = 88172645463325252u;

static uint64_t
random_number(uint64_t below)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return noise % below;
}

static mf_op
random_op(void)
{
    uint64_t size = random_number(20);
    switch (random_number(4)) {
    case 0: size |= random_number(70) << 16; break;
    case 1: size |= random_number(5) << 40; break;
    case 2: size |= random_number(20) << 32; break;
    default: break;
    }
    return (mf_op){(uint16_t)(1 + random_number(12)), (uint8_t)random_number(12), (uint8_t)random_number(12), 0,
                   random_number(24), random_number(24), size};
}

/* AddressSanitizer sees every byte beyond. */
static void
test_noise_stays_inside(void)
{
    int accepted = 0;
    for (int round = 0; round < 200000; round++) {
        mf_op ops[6];
        mf_plan plan;
        mf_loss loss;
        size_t count = 1 + random_number(6), elements = 1 + random_number(3);
        size_t from_size = random_number(64), to_size = random_number(64);
        for (size_t i = 0; i < count; i++) {
            ops[i] = random_op();
        }
        if (make(&plan, ops, count, from_size, to_size) != NULL) {
            continue;
        }
        char *from = memory(from_size * elements, (int)random_number(3)), *to = memory(to_size * elements, 0);
        mf_plan_run(&plan, from, to, elements, NULL, &loss);
        mf_plan_free(&plan);
        free(from);
        free(to);
        accepted++;
    }
    CHECK(accepted > 5000);
}

static void
test_which_loss_is_first(void)
{
    const mf_op ops[] = {
        {.kind = MF_OP_LOOP, .from = 4, .to = 1, .size = 3 | UINT64_C(2) << 40},
        {.kind = MF_OP_NUMBER, .a = MF_INT16, .b = MF_INT8, .path = 7},
        {.kind = MF_OP_ZERO, .from = 2, .size = 2, .path = 8},
    };
    int16_t values[5000][3][2] = {0};
    static int8_t narrow[5000][3];
    mf_plan plan;
    mf_loss loss;
    CHECK(make(&plan, ops, 3, 12, 3) == NULL);
    values[4000][2][0] = 300;
    values[4000][1][1] = 0x100;
    values[4999][0][0] = -129;
    CHECK(!mf_plan_run(&plan, (char *)values, (char *)narrow, 5000, NULL, &loss));
    CHECK(loss.index == 4000 && loss.path == 8 && loss.depth == 1 && loss.at[0] == 1 && loss.kind == MF_LOSS_LOST);
    CHECK(loss.value.integer == 1);
    values[4000][1][1] = 0;
    CHECK(!mf_plan_run(&plan, (char *)values, (char *)narrow, 5000, NULL, &loss));
    CHECK(loss.index == 4000 && loss.path == 7 && loss.at[0] == 2 && loss.kind == MF_LOSS_RANGE);
    CHECK(loss.value.integer == 300);
    mf_plan_free(&plan);
}

int
main(void)
{
    test_a_struct_that_changes();
    test_numbers();
    test_noise_stays_inside();
    test_which_loss_is_first();
    return 0;
}
