/* Would catch: a read outside of the file for corrupt bytes, a check that lets wild offsets through, a patch that
 * misses its symbol.  Every mutation runs under AddressSanitizer on a heap block of exactly the file's size. */
#include "elf_file.h"

#include <string.h>

#include "check.h"

static unsigned long long state = 20261121; /* a fixed seed: xorshift64 */

static unsigned long long
next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Checks a copy of its own, then patches it if it passed; returns whether it passed. */
static bool
survives(const unsigned char *bytes, size_t size)
{
    unsigned char *copy = malloc(size != 0 ? size : 1);
    mf_elf elf;
    mf_failure failure;
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    bool passed = mf_elf_check(&elf, copy, size, &failure) == MF_OK;
    if (passed) {
        mf_elf_weaken_unique(&elf);
        mf_elf_bind(&elf, "pthread_create", 0x1234);
        mf_elf_forget_soname(&elf);
        mf_elf_take_constructors(&elf);
    } else {
        CHECK(failure.text[0] != '\0');
    }
    free(copy);
    return passed;
}

static void
mutate(unsigned char *bytes, size_t size)
{
    /* Most of what a loader follows is in the first pages and in the dynamic section. */
    for (unsigned count = 1 + next_random() % 4; count != 0; count--) {
        size_t limit = next_random() % 2 != 0 ? size : size < 1024 ? size : 1024;
        size_t place = next_random() % limit;
        switch (next_random() % 4) {
        case 0: bytes[place] ^= (unsigned char)(1U << next_random() % 8); break;
        case 1: bytes[place] = (unsigned char)next_random(); break;
        case 2: memset(bytes + place, 0xff, size - place < 8 ? size - place : 8); break;
        default: memset(bytes + place, 0, size - place < 8 ? size - place : 8); break;
        }
    }
}

static void
test_mutations(const unsigned char *bytes, size_t size)
{
    unsigned char *copy = malloc(size);
    CHECK(copy != NULL);
    for (int i = 0; i < 4000; i++) {
        memcpy(copy, bytes, size);
        mutate(copy, size);
        survives(copy, size);
    }
    free(copy);
}

static void
test_every_truncation(const unsigned char *bytes, size_t size)
{
    for (size_t length = 0; length < size; length += length < 4096 ? 1 : 97) {
        CHECK(!survives(bytes, length));
    }
}

static const Elf64_Sym *
find_symbol(const mf_elf *elf, const char *name)
{
    for (size_t i = 0; i < elf->symbol_count; i++) {
        if (strcmp(elf->strings + elf->symbols[i].st_name, name) == 0) {
            return &elf->symbols[i];
        }
    }
    return NULL;
}

static void
test_patches(unsigned char *bytes, size_t size)
{
    mf_elf elf;
    mf_failure failure;
    CHECK(mf_elf_check(&elf, bytes, size, &failure) == MF_OK);
    CHECK(mf_elf_weaken_unique(&elf) == 1);
    CHECK(mf_elf_weaken_unique(&elf) == 0);
    CHECK(mf_elf_bind(&elf, "pthread_create", 0x1234));
    CHECK(!mf_elf_bind(&elf, "nobody_needs_this", 0x1234));
    const Elf64_Sym *symbol = find_symbol(&elf, "pthread_create");
    CHECK(symbol != NULL && symbol->st_shndx == SHN_ABS && symbol->st_value == 0x1234);
    mf_elf_take_constructors(&elf);
    for (size_t i = 0; i < elf.dynamic_count; i++) {
        CHECK(elf.dynamic[i].d_tag != DT_INIT_ARRAY && elf.dynamic[i].d_tag != DT_INIT);
    }
    CHECK(elf.init_count != 0 || elf.init != 0);
}

int
main(int count, char **arguments)
{
    CHECK(count == 2);
    const char *const libraries[] = {"plain.so", "unique.so", "throws.so"};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        size_t size;
        unsigned char *bytes = read_file(arguments[1], libraries[i], &size);
        CHECK(survives(bytes, size));
        test_every_truncation(bytes, size);
        test_mutations(bytes, size);
        free(bytes);
    }
    size_t size;
    unsigned char *bytes = read_file(arguments[1], "unique.so", &size);
    test_patches(bytes, size);
    free(bytes);
    return 0;
}
