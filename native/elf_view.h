/* Looking into the bytes of a shared object while it is being checked.  For elf_check.c,
 * elf_tables.c and elf_relocations.c only.
 *
 * Every offset and address that comes from the file goes through one of these before it is followed. */
#ifndef MF_ELF_VIEW_H
#define MF_ELF_VIEW_H

#include "elf_file.h"

/* A dynamic entry.  The loader goes by whether it is there, not by its value. */
typedef struct mf_entry {
    bool there;
    uint64_t value;
} mf_entry;

/* The dynamic entries that the loader follows. */
typedef struct mf_entries {
    mf_entry hash, gnu_hash, strtab, strsz, symtab, syment, pltgot;
    mf_entry rela, relasz, relaent, relacount, jmprel, pltrelsz, pltrel, rel, relr, relrsz, relrent;
    mf_entry versym, verneed, verneednum, verdef, verdefnum;
    mf_entry init, fini, init_array, init_arraysz, fini_array, fini_arraysz;
    mf_entry flags, flags_1;
    uint64_t dynamic_address; /* where all of them lie */
    bool textrel;
} mf_entries;

#define BAD(...) mf_fail(failure, MF_BAD_LIBRARY, __VA_ARGS__)
#define TRY(expression)              \
    do {                             \
        if ((expression) != MF_OK) { \
            return failure->kind;    \
        }                            \
    } while (0)

/* Whether the file has `length` bytes at `offset`. */
static inline bool
mf_elf_in_file(const mf_elf *elf, uint64_t offset, uint64_t length)
{
    return offset <= elf->size && length <= elf->size - offset;
}

/* The file's bytes for `length` bytes at link-time address `address`; NULL where no readable segment holds all of
 * them. */
uint8_t *mf_elf_at(const mf_elf *elf, uint64_t address, uint64_t length);

/* How many bytes of its segment's file contents follow `address`. */
uint64_t mf_elf_room_after(const mf_elf *elf, uint64_t address);

/* Whether `length` bytes at `address` are mapped with all of `flags` (PF_*). */
bool mf_elf_mapped(const mf_elf *elf, uint64_t address, uint64_t length, uint32_t flags);

/* Checks what the entries lead to: names, hash tables, symbols, relocations, versions.  Fills the rest of `elf`. */
mf_failure_kind mf_elf_check_tables(mf_elf *elf, const mf_entries *found, mf_failure *failure);

/* A part of that: relocations write into data only, are of known kinds, and make functions of all constructors and
 * destructors.  Raises `symbol_count` to cover the symbols that they name. */
mf_failure_kind mf_elf_check_relocations(mf_elf *elf, const mf_entries *found, mf_failure *failure);

/* Another part, once the symbols are checked. */
mf_failure_kind mf_elf_check_thread_relocations(const mf_elf *elf, const mf_entries *found, mf_failure *failure);

#endif
