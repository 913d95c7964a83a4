/* Would catch: a walk that reads beyond the bytes it was given, that doesn't end, or that takes a sibling which leads
 * back; a value that is read with the wrong width or sign. */
#include "dies.h"

#include <string.h>

#include "check.h"

enum { SUBPROGRAM = 0x2e, VARIABLE = 0x34, NOISE_ROUNDS = 20000 };

/* 1: a function with a sibling (4 bytes) and children; 2: a variable with a block; 3: a signed number and a string. */
static mf_dies
make(void)
{
    static const int16_t widths[] = {4, MF_DIE_BLOCK, MF_DIE_SIGNED_LEB, MF_DIE_STRING, MF_DIE_INDIRECT, 16};
    mf_dies dies = {.shapes = calloc(4, sizeof *dies.shapes), .count = 4, .widths = malloc(sizeof widths)};
    CHECK(dies.shapes != NULL && dies.widths != NULL);
    memcpy(dies.widths, widths, sizeof widths);
    dies.shapes[0] = (mf_die_shape){.code = 3, .tag = 0x4109, .sibling = MF_DIE_NO_SIBLING, .first = 2, .count = 2};
    dies.shapes[1] = (mf_die_shape){.code = 1, .tag = SUBPROGRAM, .children = true, .sibling = 0, .count = 1};
    dies.shapes[2] = (mf_die_shape){
        .code = 2, .tag = VARIABLE, .chosen = true, .sibling = MF_DIE_NO_SIBLING, .first = 1, .count = 1};
    dies.shapes[3] = (mf_die_shape){.code = 900, .tag = 1, .sibling = MF_DIE_NO_SIBLING, .first = 4, .count = 2};
    for (int form = 0; form < MF_DIE_FORMS; form++) {
        dies.forms[form] = MF_DIE_INDIRECT;
    }
    dies.forms[0x0b] = 1;
    mf_dies_finish(&dies);
    return dies;
}

typedef struct seen {
    size_t offsets[8], after[8], count, limit;
} seen;

static bool
note(void *context, size_t offset, size_t after)
{
    seen *seen = context;
    if (seen->count < 8) {
        seen->offsets[seen->count] = offset;
        seen->after[seen->count] = after;
    }
    return ++seen->count != seen->limit;
}

/* Memory of exactly this size, so that AddressSanitizer sees what goes beyond. */
static uint8_t *
copy(const uint8_t *bytes, size_t size)
{
    uint8_t *made = malloc(size != 0 ? size : 1);
    CHECK(made != NULL);
    memcpy(made, bytes, size);
    return made;
}

static const uint8_t ENTRIES[] = {
    1, 16, 0, 0, 0, /* a function that ends at 16 */
    2, 1, 0xaa,     /* a variable in it */
    1, 0, 0, 0, 0,  /* a function in it, whose sibling is nowhere */
    0, 0,           /* both end */
    0x7f,           /* never read: the sibling leads past it */
    3, 0x7f, 'a', 'b', 0,
    2, 2, 1, 2,
    0, 9,
};

static void
test_walks(void)
{
    mf_dies dies = make();
    uint8_t *data = copy(ENTRIES, sizeof ENTRIES), all[32], variables[32] = {0};
    memset(all, 0xff, sizeof all);
    variables[VARIABLE / 8] = 1 << VARIABLE % 8;
    mf_die_range range = {data, 0, 0, sizeof ENTRIES};
    seen level = {0};
    CHECK(mf_dies_level(&dies, &range, all, note, &level) == MF_DIE_DONE);
    CHECK(level.count == 3 && range.at == sizeof ENTRIES - 1);
    CHECK(level.offsets[0] == 0 && level.after[0] == 16 && level.offsets[1] == 16 && level.offsets[2] == 21);
    range.at = 0;
    seen chosen = {0};
    CHECK(mf_dies_level(&dies, &range, variables, note, &chosen) == MF_DIE_DONE);
    CHECK(chosen.count == 1 && chosen.offsets[0] == 21);
    range.at = 5;
    seen below = {0};
    CHECK(mf_dies_below(&dies, &range, note, &below) == MF_DIE_DONE);
    CHECK(below.count == 1 && below.offsets[0] == 5 && range.at == 15);
    range.at = 0;
    seen one = {.limit = 1};
    CHECK(mf_dies_level(&dies, &range, all, note, &one) == MF_DIE_STOPPED && range.at == 16);
    range.at = 15;
    CHECK(mf_dies_level(&dies, &range, all, note, &one) == MF_DIE_DAMAGED);
    free(data);
    mf_dies_free(&dies);
}

static void
test_values(void)
{
    mf_dies dies = make();
    const uint8_t bytes[] = {0x7f, 'a', 'b', 0, 0x0b, 7, 0x21, 0x84, 0x07};
    uint8_t *data = copy(bytes, sizeof bytes);
    mf_die_range range = {data, 0, 0, sizeof bytes};
    mf_die_value value;
    CHECK(mf_dies_value(&dies, &range, MF_DIE_SIGNED_LEB, &value) && (int64_t)value.number == -1 && value.is_signed);
    CHECK(mf_dies_value(&dies, &range, MF_DIE_STRING, &value) && value.size == 2 && value.bytes[1] == 'b');
    CHECK(mf_dies_value(&dies, &range, MF_DIE_INDIRECT, &value) && value.form == 0x0b && value.number == 7);
    CHECK(!mf_dies_value(&dies, &range, MF_DIE_INDIRECT, &value));
    CHECK(mf_dies_shape(&dies, &range)->code == 900);
    CHECK(!mf_dies_value(&dies, &range, 1, &value));
    CHECK(mf_dies_shape(&dies, &range) == NULL);
    free(data);
    mf_dies_free(&dies);
}

static void
test_noise(void)
{
    mf_dies dies = make();
    uint32_t state = 7;
    uint8_t all[32];
    memset(all, 0xff, sizeof all);
    for (int round = 0; round < NOISE_ROUNDS; round++) {
        uint8_t bytes[48];
        size_t size = (size_t)round % (sizeof bytes + 1);
        for (size_t i = 0; i < size; i++) {
            state = state * 1664525 + 1013904223;
            bytes[i] = (state >> 24) % ((state & 0x100) != 0 ? 5 : 256);
        }
        uint8_t *data = copy(bytes, size);
        seen found = {0};
        mf_die_range range = {data, 0, 0, size};
        mf_dies_level(&dies, &range, all, note, &found);
        CHECK(range.at <= size && found.count <= size);
        range.at = 0;
        mf_dies_below(&dies, &range, note, &found);
        CHECK(range.at <= size);
        free(data);
    }
    mf_dies_free(&dies);
}

int
main(void)
{
    test_walks();
    test_values();
    test_noise();
    return 0;
}
