/* Damages a library in many ways, and lets the system's loader have every copy that the check lets through.
 *
 * usage: mutants LIBRARY SEED COUNT
 *
 * Each copy is loaded and closed in a child process.  Its constructors and destructors are hidden, and a copy in which a
 * change made new code run (indirect functions) is left out, so that a child's death is the loader's, not the
 * library's.  glibc's loader ends the process with status 127 when one of its assertions fails: that counts as a death
 * too.  Prints "made refused loaded rejected died"; exits with 1 if anything died. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../native/check.h"
#include "elf_file.h"

enum { LOADED = 0, REJECTED = 3, SECONDS = 20, OPERATING_SYSTEMS_TAG = 0x60000d1e };

static unsigned long long state;

static unsigned long long
next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static unsigned long long
below(unsigned long long limit)
{
    return limit != 0 ? next_random() % limit : 0;
}

/* ---- where to strike ------------------------------------------------------------------------------------------- */

typedef struct part {
    size_t offset, size;
} part;

static part
section(const unsigned char *bytes, uint32_t type)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(bytes + header->e_shoff);
    size_t first = below(header->e_shnum);
    for (size_t i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *one = &sections[(first + i) % header->e_shnum];
        if (one->sh_type == type && one->sh_size != 0) {
            return (part){one->sh_offset, one->sh_size};
        }
    }
    return (part){0, sizeof *header};
}

/* Headers and the tables that the loader follows; now and then any byte of the file. */
static part
choose_part(const unsigned char *bytes, size_t size)
{
    static const uint32_t tables[] = {SHT_DYNSYM, SHT_RELA, SHT_GNU_HASH, SHT_GNU_versym, SHT_GNU_verneed, SHT_NOTE};
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;
    unsigned long long kind = below(16);
    if (kind == 0) {
        return (part){0, size};
    }
    if (kind == 1) {
        return (part){0, sizeof *header};
    }
    if (kind < 5) {
        return (part){header->e_phoff, header->e_phnum * sizeof(Elf64_Phdr)};
    }
    if (kind < 9) {
        return section(bytes, SHT_DYNAMIC);
    }
    return section(bytes, tables[below(sizeof tables / sizeof *tables)]);
}

static unsigned long long
wild_value(const unsigned char *bytes, part where, unsigned long long old)
{
    unsigned long long other;
    switch (below(8)) {
    case 0: return 0;
    case 1: return ~0ULL >> below(64);
    case 2: return 1ULL << below(64);
    case 3: return old + below(64);
    case 4: return old - below(64);
    case 5: return old ^ 1ULL << below(64);
    case 6: memcpy(&other, bytes + where.offset + (below(where.size / 8) * 8), sizeof other); return other;
    default: return next_random();
    }
}

/* Where to strike is read from the undamaged `whole`. */
static void
damage(unsigned char *bytes, const unsigned char *whole, size_t size)
{
    static const size_t widths[] = {1, 2, 4, 8, 8};
    part where = choose_part(whole, size);
    size_t width = widths[below(5)];
    size_t place = where.offset + below(where.size / width) * width;
    unsigned long long value = 0;
    if (where.size < width || place + width > size) {
        return;
    }
    memcpy(&value, bytes + place, width);
    value = wild_value(whole, where, value);
    memcpy(bytes + place, &value, width);
}

/* ---- what comes of it ------------------------------------------------------------------------------------------ */

static size_t
count_indirect(const unsigned char *bytes, size_t size, const mf_elf *elf)
{
    size_t count = 0;
    for (size_t i = 0; i < elf->symbol_count; i++) {
        count += ELF64_ST_TYPE(elf->symbols[i].st_info) == STT_GNU_IFUNC;
    }
    for (size_t i = 0; i + sizeof(Elf64_Rela) <= size; i += 8) {
        const Elf64_Rela *one = (const Elf64_Rela *)(bytes + i);
#if defined(__x86_64__)
        count += ELF64_R_TYPE(one->r_info) == R_X86_64_IRELATIVE && one->r_offset < elf->high;
#else
        count += ELF64_R_TYPE(one->r_info) == R_AARCH64_IRELATIVE && one->r_offset < elf->high;
#endif
    }
    return count;
}

static void
hide_destructors(mf_elf *elf)
{
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        int64_t tag = elf->dynamic[i].d_tag;
        if (tag == DT_FINI || tag == DT_FINI_ARRAY || tag == DT_FINI_ARRAYSZ) {
            elf->dynamic[i].d_tag = OPERATING_SYSTEMS_TAG;
        }
    }
}

static void
load_and_exit(const unsigned char *bytes, size_t size, int flags)
{
    char path[64];
    alarm(SECONDS);
    int file = memfd_create("mutant", MFD_CLOEXEC);
    CHECK(file >= 0 && write(file, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    void *handle = dlopen(path, flags);
    if (handle == NULL) {
        _exit(REJECTED);
    }
    dlclose(handle);
    _exit(LOADED);
}

static int
outcome(const unsigned char *bytes, size_t size, int flags)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        load_and_exit(bytes, size, flags);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Writes a copy that was deadly into $MUTANT_DIR, if that is set, to be looked at. */
static void
keep(const unsigned char *bytes, size_t size, unsigned number)
{
    char path[4096];
    const char *directory = getenv("MUTANT_DIR");
    if (directory == NULL) {
        return;
    }
    snprintf(path, sizeof path, "%s/%u.so", directory, number);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

int
main(int count, char **arguments)
{
    CHECK(count == 4);
    size_t size;
    unsigned char *whole = read_file("/", arguments[1], &size), *copy = malloc(size);
    CHECK(copy != NULL);
    unsigned refused = 0, loaded = 0, rejected = 0, died = 0, made = (unsigned)strtoul(arguments[3], NULL, 10);
    mf_elf elf;
    mf_failure failure;
    CHECK(mf_elf_check(&elf, whole, size, &failure) == MF_OK);
    size_t indirect = count_indirect(whole, size, &elf);
    for (unsigned i = 0; i < made; i++) {
        state = (strtoull(arguments[2], NULL, 10) + i) * 0x9e3779b97f4a7c15ULL | 1;
        memcpy(copy, whole, size);
        for (unsigned long long left = 1 + below(3); left != 0; left--) {
            damage(copy, whole, size);
        }
        if (mf_elf_check(&elf, copy, size, &failure) != MF_OK) {
            refused++;
            continue;
        }
        if (count_indirect(copy, size, &elf) != indirect) {
            continue;
        }
        mf_elf_weaken_unique(&elf);
        mf_elf_bind(&elf, "pthread_create", (uintptr_t)main);
        mf_elf_forget_soname(&elf);
        mf_elf_take_constructors(&elf);
        hide_destructors(&elf);
        int result = outcome(copy, size, elf.lazy_possible && below(2) != 0 ? RTLD_LAZY : RTLD_NOW);
        loaded += result == LOADED;
        rejected += result == REJECTED;
        if (result != LOADED && result != REJECTED) {
            died++;
            fprintf(stderr, "mutant %u of %s ended with %d\n", i, arguments[1], result);
            keep(copy, size, i);
        }
    }
    printf("%u %u %u %u %u\n", made, refused, loaded, rejected, died);
    free(copy);
    free(whole);
    return died != 0;
}
