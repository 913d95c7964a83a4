/* Checks the relocations of a shared object: see elf_file.h. */
#include "elf_view.h"

#if defined(__x86_64__)
enum { RELATIVE = R_X86_64_RELATIVE, INDIRECT = R_X86_64_IRELATIVE, NONE = R_X86_64_NONE };
#else
enum { RELATIVE = R_AARCH64_RELATIVE, INDIRECT = R_AARCH64_IRELATIVE, NONE = R_AARCH64_NONE };
#endif

/* How many entries of the lists of constructors and destructors a relocation fills in. */
typedef struct coverage {
    uint64_t init, fini;
} coverage;

/* How many bytes a relocation of a kind that shared libraries have writes; negative for every other kind. */
static int
relocation_width(uint32_t type)
{
    switch (type) {
#if defined(__x86_64__)
    case R_X86_64_64:
    case R_X86_64_GLOB_DAT:
    case R_X86_64_JUMP_SLOT:
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64: return 8;
    case R_X86_64_32:
    case R_X86_64_PC32: return 4;
    case R_X86_64_TLSDESC: return 16;
#else
    case R_AARCH64_ABS64:
    case R_AARCH64_GLOB_DAT:
    case R_AARCH64_JUMP_SLOT:
    case R_AARCH64_TLS_DTPMOD:
    case R_AARCH64_TLS_DTPREL:
    case R_AARCH64_TLS_TPREL: return 8;
    case R_AARCH64_TLSDESC: return 16;
#endif
    case RELATIVE:
    case INDIRECT: return 8;
    case NONE: return 0;
    default: return -1;
    }
}

static bool
is_thread_local(uint32_t type)
{
    switch (type) {
#if defined(__x86_64__)
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64:
    case R_X86_64_TLSDESC: return true;
#else
    case R_AARCH64_TLS_DTPMOD:
    case R_AARCH64_TLS_DTPREL:
    case R_AARCH64_TLS_TPREL:
    case R_AARCH64_TLSDESC: return true;
#endif
    default: return false;
    }
}

/* Whether `width` bytes at `address` may be written while relocating: data, but not the dynamic section, which the
 * loader goes on reading. */
static bool
may_write(const mf_elf *elf, const mf_entries *found, uint64_t address, uint64_t width)
{
    uint64_t start = found->dynamic_address, end = start + (elf->dynamic_count + 1) * sizeof(Elf64_Dyn);
    return mf_elf_mapped(elf, address, width, found->textrel ? PF_R : PF_W) && (address + width <= start || address >= end);
}

static bool
covers(const mf_entry *list, const mf_entry *size, uint64_t address)
{
    return list->there && address >= list->value && address - list->value < size->value;
}

/* Notes that `address` gets a value; `target`, if it isn't NULL, is that value as a link-time address.  Returns whether
 * it may: a constructor or destructor must be code. */
static bool
cover(const mf_elf *elf, const mf_entries *found, uint64_t address, const uint64_t *target, coverage *covered)
{
    bool init = covers(&found->init_array, &found->init_arraysz, address);
    bool fini = covers(&found->fini_array, &found->fini_arraysz, address);
    covered->init += init;
    covered->fini += fini;
    return (!init && !fini) || (address % 8 == 0 && (target == NULL || mf_elf_mapped(elf, *target, 1, PF_X)));
}

static mf_failure_kind
check_relocation(const mf_elf *elf, const mf_entries *found, const Elf64_Rela *one, coverage *covered,
                 mf_failure *failure)
{
    uint32_t type = (uint32_t)ELF64_R_TYPE(one->r_info);
    uint64_t target = (uint64_t)one->r_addend;
    int width = relocation_width(type);
    if (width < 0) {
        return BAD("it has a relocation of a kind that shared libraries don't have (%u)", type);
    }
    if (width != 0 && !may_write(elf, found, one->r_offset, (uint64_t)width)) {
        return BAD("a relocation would write outside of its data (at 0x%llx)", (unsigned long long)one->r_offset);
    }
    if (type == INDIRECT && !mf_elf_mapped(elf, target, 1, PF_X)) {
        return BAD("an indirect function's resolver lies outside of its code");
    }
    if (width != 0 && !cover(elf, found, one->r_offset, type == RELATIVE ? &target : NULL, covered)) {
        return BAD("a constructor or destructor lies outside of its code");
    }
    return MF_OK;
}

static mf_failure_kind
check_relocations(mf_elf *elf, const mf_entries *found, const mf_entry *place, uint64_t size, coverage *covered,
                  mf_failure *failure)
{
    if (!place->there || size == 0) {
        return MF_OK;
    }
    const Elf64_Rela *relocations = (const Elf64_Rela *)mf_elf_at(elf, place->value, size);
    if (relocations == NULL || place->value % 8 != 0 || size % sizeof *relocations != 0) {
        return BAD("its relocations lie outside of what is loaded");
    }
    for (size_t i = 0; i < size / sizeof *relocations; i++) {
        uint64_t symbol = ELF64_R_SYM(relocations[i].r_info);
        TRY(check_relocation(elf, found, &relocations[i], covered, failure));
        elf->symbol_count = symbol + 1 > elf->symbol_count ? symbol + 1 : elf->symbol_count;
    }
    return MF_OK;
}

/* The loader takes the first DT_RELACOUNT relocations for relative ones: it asserts so, and doesn't look for the end. */
static mf_failure_kind
check_relative_count(const mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    if (!found->rela.there || !found->relacount.there) {
        return MF_OK;
    }
    if (found->relacount.value > found->relasz.value / sizeof(Elf64_Rela)) {
        return BAD("it counts more relative relocations than it has");
    }
    const Elf64_Rela *relocations = (const Elf64_Rela *)mf_elf_at(elf, found->rela.value, found->relasz.value);
    for (size_t i = 0; i < found->relacount.value; i++) {
        if (ELF64_R_TYPE(relocations[i].r_info) != RELATIVE) {
            return BAD("it counts a relocation as relative that isn't");
        }
    }
    return MF_OK;
}

static mf_failure_kind
check_packed_relocation(const mf_elf *elf, const mf_entries *found, uint64_t where, coverage *covered,
                        mf_failure *failure)
{
    const uint64_t *content = (const uint64_t *)mf_elf_at(elf, where, sizeof *content);
    if (where % 8 != 0 || content == NULL || !may_write(elf, found, where, 8)) {
        return BAD("a relative relocation would write outside of its data");
    }
    if (!cover(elf, found, where, content, covered)) {
        return BAD("a constructor or destructor lies outside of its code");
    }
    return MF_OK;
}

/* DT_RELR: an even word is an address; an odd one is a bitmap of the 63 words after the last. */
static mf_failure_kind
check_packed_relocations(const mf_elf *elf, const mf_entries *found, coverage *covered, mf_failure *failure)
{
    uint64_t size = found->relrsz.value, where = 0;
    if (!found->relr.there || size == 0) {
        return MF_OK;
    }
    const Elf64_Relr *words = (const Elf64_Relr *)mf_elf_at(elf, found->relr.value, size);
    if (words == NULL || found->relr.value % 8 != 0 || size % sizeof *words != 0) {
        return BAD("its relative relocations lie outside of what is loaded");
    }
    for (size_t i = 0; i < size / sizeof *words; i++) {
        if ((words[i] & 1) == 0) {
            TRY(check_packed_relocation(elf, found, words[i], covered, failure));
            where = words[i] + 8;
            continue;
        }
        for (unsigned bit = 1; bit < 64; bit++) {
            if ((words[i] >> bit & 1) != 0) {
                TRY(check_packed_relocation(elf, found, where + (uint64_t)(bit - 1) * 8, covered, failure));
            }
        }
        where += 63 * 8;
    }
    return MF_OK;
}

mf_failure_kind
mf_elf_check_relocations(mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    coverage covered = {0, 0};
    TRY(check_relocations(elf, found, &found->rela, found->relasz.value, &covered, failure));
    TRY(check_relocations(elf, found, &found->jmprel, found->pltrelsz.value, &covered, failure));
    TRY(check_packed_relocations(elf, found, &covered, failure));
    TRY(check_relative_count(elf, found, failure));
    /* An address that isn't relocated is none in this process. */
    if (covered.init < found->init_arraysz.value / 8 || covered.fini < found->fini_arraysz.value / 8) {
        return BAD("its list of constructors or destructors holds something else than addresses of functions");
    }
    return MF_OK;
}

/* The loader divides by the alignment of a library's thread-local data, also where there are none. */
static mf_failure_kind
check_thread_table(const mf_elf *elf, const mf_entry *place, uint64_t size, bool has_data, mf_failure *failure)
{
    const Elf64_Rela *relocations = place->there ? (const Elf64_Rela *)mf_elf_at(elf, place->value, size) : NULL;
    for (size_t i = 0; relocations != NULL && i < size / sizeof *relocations; i++) {
        size_t number = ELF64_R_SYM(relocations[i].r_info);
        const Elf64_Sym *symbol = &elf->symbols[number];
        bool own = number == 0 || symbol->st_shndx != SHN_UNDEF;
        if (is_thread_local((uint32_t)ELF64_R_TYPE(relocations[i].r_info)) &&
            ((own && !has_data) || (number != 0 && ELF64_ST_TYPE(symbol->st_info) != STT_TLS))) {
            return BAD("a relocation takes something for thread-local data that isn't");
        }
    }
    return MF_OK;
}

static bool
has_thread_data(const mf_elf *elf)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        if (elf->segments[i].p_type == PT_TLS && elf->segments[i].p_memsz != 0) {
            return true;
        }
    }
    return false;
}

mf_failure_kind
mf_elf_check_thread_relocations(const mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    bool has_data = has_thread_data(elf);
    TRY(check_thread_table(elf, &found->rela, found->relasz.value, has_data, failure));
    return check_thread_table(elf, &found->jmprel, found->pltrelsz.value, has_data, failure);
}
