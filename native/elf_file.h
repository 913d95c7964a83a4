/* The bytes of one shared object, checked, and the changes that midflight makes to its private copy of them.
 *
 * Owns nothing: it points into bytes that the caller keeps.  Not thread-safe for one mf_elf; different ones are
 * independent.  Nothing here loads or runs anything.
 */
#ifndef MF_ELF_FILE_H
#define MF_ELF_FILE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

typedef struct mf_elf {
    uint8_t *bytes; /* the whole file */
    size_t size;
    const Elf64_Phdr *segments;
    size_t segment_count;
    Elf64_Dyn *dynamic; /* up to, not including, DT_NULL */
    size_t dynamic_count;
    Elf64_Sym *symbols; /* the dynamic symbol table */
    size_t symbol_count;
    const char *strings; /* its names; the last byte is NUL */
    size_t strings_size;
    uint64_t low, high; /* the span of addresses that loading it takes, rounded to pages */
    uint64_t init, init_array, init_count; /* constructors (link-time addresses); 0: none */
    uint64_t flags, flags_1;               /* DT_FLAGS, DT_FLAGS_1 */
    bool lazy_possible;                    /* it has what binding functions at their first call needs */
} mf_elf;

/* Checks that everything the system's loader will follow lies inside the file and has the form that the loader takes
 * for granted (glibc asserts, reads out of bounds or crashes otherwise: see docs/internals).  Fills `elf`. */
mf_failure_kind mf_elf_check(mf_elf *elf, uint8_t *bytes, size_t size, mf_failure *failure);

/* Rewrites every STB_GNU_UNIQUE symbol to STB_WEAK, in .dynsym and .symtab: unique symbols pin a library for ever and
 * tie a second version to the first one's variables.  Returns how many. */
size_t mf_elf_weaken_unique(mf_elf *elf);

/* Turns the undefined symbol `name` into a local one with an absolute address, so that the library's own references,
 * also those of its constructors, go there.  Returns whether the library needs that symbol. */
bool mf_elf_bind(mf_elf *elf, const char *name, uintptr_t address);

/* Removes the DT_SONAME, so that no other library's DT_NEEDED can be satisfied by this private copy. */
void mf_elf_forget_soname(mf_elf *elf);

/* Hides the constructors (DT_INIT, DT_INIT_ARRAY) from the loader: the image runs them itself, outside of the loader's
 * lock and where a C++ exception can be caught. */
void mf_elf_take_constructors(mf_elf *elf);

#endif
