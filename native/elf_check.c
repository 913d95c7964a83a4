/* Checks a shared object before the loader sees it: see elf_file.h.
 *
 * The rules are those that glibc 2.36's elf/dl-load.c, dl-reloc.c, dl-version.c and dl-lookup.c rely on without
 * checking them.  Every read goes through `in_file` or `at`, so that no offset from the file is followed unchecked.
 */
#include "elf_file.h"

#include <string.h>

#if defined(__x86_64__)
#define MF_MACHINE EM_X86_64
#define MF_MACHINE_NAME "x86-64"
#elif defined(__aarch64__)
#define MF_MACHINE EM_AARCH64
#define MF_MACHINE_NAME "AArch64"
#else
#error "midflight serves x86-64 and AArch64"
#endif

enum { PAGE = 4096 };

/* More address space than any real library spans; a wilder figure is a corrupt header. */
static const uint64_t MAX_SPAN = (uint64_t)1 << 36;

/* The dynamic entries that say where things are.  A zero means absent. */
typedef struct tables {
    uint64_t hash, gnu_hash, strtab, strsz, symtab, syment;
    uint64_t rela, relasz, relaent, jmprel, pltrelsz, pltrel, rel, relr, relrsz, relrent;
    uint64_t versym, verneed, verneednum, verdef, verdefnum;
    uint64_t init, fini, init_array, init_arraysz, fini_array, fini_arraysz;
    bool textrel, symbolic_names_ok;
} tables;

#define BAD(...) mf_fail(failure, MF_BAD_LIBRARY, __VA_ARGS__)
#define TRY(expression)                        \
    do {                                       \
        if ((expression) != MF_OK) {           \
            return failure->kind;              \
        }                                      \
    } while (0)

static bool
in_file(const mf_elf *elf, uint64_t offset, uint64_t length)
{
    return offset <= elf->size && length <= elf->size - offset;
}

/* The file's bytes for `length` bytes at link-time address `address`; NULL where no segment holds all of them. */
static uint8_t *
at(const mf_elf *elf, uint64_t address, uint64_t length)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
            address - segment->p_vaddr <= segment->p_filesz &&
            length <= segment->p_filesz - (address - segment->p_vaddr)) {
            return elf->bytes + segment->p_offset + (address - segment->p_vaddr);
        }
    }
    return NULL;
}

/* How many bytes of its segment's file contents follow `address`. */
static uint64_t
room_after(const mf_elf *elf, uint64_t address)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
            address - segment->p_vaddr < segment->p_filesz) {
            return segment->p_filesz - (address - segment->p_vaddr);
        }
    }
    return 0;
}

/* Whether `length` bytes at `address` are mapped with all of `flags` (PF_*). */
static bool
mapped(const mf_elf *elf, uint64_t address, uint64_t length, uint32_t flags)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & flags) == flags && address >= segment->p_vaddr &&
            address - segment->p_vaddr <= segment->p_memsz &&
            length <= segment->p_memsz - (address - segment->p_vaddr)) {
            return true;
        }
    }
    return false;
}

static mf_failure_kind
check_header(mf_elf *elf, mf_failure *failure)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)elf->bytes;
    if (elf->size == 0) {
        return BAD("the file is empty");
    }
    if (elf->size < SELFMAG || memcmp(elf->bytes, ELFMAG, SELFMAG) != 0) {
        return BAD("this isn't a shared library (it doesn't begin as an ELF file does)");
    }
    if (elf->size < EI_NIDENT) {
        return BAD("the file ends inside its ELF header: it is truncated or still being written");
    }
    if (elf->bytes[EI_CLASS] != ELFCLASS64) {
        return mf_fail(failure, MF_WRONG_MACHINE, "a library for 32-bit programs; this process is 64-bit");
    }
    if (elf->bytes[EI_DATA] != ELFDATA2LSB) {
        return mf_fail(failure, MF_WRONG_MACHINE, "a library for a big-endian machine; this one is little-endian");
    }
    if (elf->size < sizeof *header) {
        return BAD("the file ends inside its ELF header: it is truncated or still being written");
    }
    if (header->e_machine != MF_MACHINE) {
        return mf_fail(failure, MF_WRONG_MACHINE, "a library for another processor (ELF machine %u); this one is %s",
                       header->e_machine, MF_MACHINE_NAME);
    }
    if (header->e_type != ET_DYN) {
        return BAD("an ELF file, but not a shared library (its type is %s)",
                   header->e_type == ET_REL    ? "object file"
                   : header->e_type == ET_EXEC ? "program"
                   : header->e_type == ET_CORE ? "core dump"
                                               : "unknown");
    }
    if (header->e_version != EV_CURRENT || elf->bytes[EI_VERSION] != EV_CURRENT) {
        return BAD("an ELF version that doesn't exist (%u)", header->e_version);
    }
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 || header->e_phoff % 8 != 0 ||
        !in_file(elf, header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr))) {
        return BAD("its program headers lie outside of the file");
    }
    if (header->e_shoff != 0 && header->e_shnum != 0 &&
        !in_file(elf, header->e_shoff, (uint64_t)header->e_shnum * header->e_shentsize)) {
        return BAD("the file ends before its section headers do: it is truncated or still being written");
    }
    elf->segments = (const Elf64_Phdr *)(elf->bytes + header->e_phoff);
    elf->segment_count = header->e_phnum;
    return MF_OK;
}

static mf_failure_kind
check_load_segment(mf_elf *elf, const Elf64_Phdr *segment, mf_failure *failure)
{
    if (!in_file(elf, segment->p_offset, segment->p_filesz)) {
        return BAD("a segment ends outside of the file: it is truncated or still being written");
    }
    if (segment->p_memsz < segment->p_filesz || segment->p_vaddr + segment->p_memsz < segment->p_vaddr ||
        segment->p_vaddr + segment->p_memsz > MAX_SPAN) {
        return BAD("a segment has an impossible size or address");
    }
    if (segment->p_align < PAGE || (segment->p_align & (segment->p_align - 1)) != 0 ||
        ((segment->p_vaddr - segment->p_offset) & (segment->p_align - 1)) != 0) {
        return BAD("a segment isn't aligned to pages");
    }
    /* glibc maps the segments as it meets them and takes it for granted that they ascend. */
    if (elf->high != 0 && segment->p_vaddr < elf->high) {
        return BAD("its segments overlap or are out of order");
    }
    if (elf->high == 0) {
        elf->low = segment->p_vaddr & ~(uint64_t)(PAGE - 1);
    }
    elf->high = (segment->p_vaddr + segment->p_memsz + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    return MF_OK;
}

static mf_failure_kind
check_notes(const mf_elf *elf, const Elf64_Phdr *segment, mf_failure *failure)
{
    const uint8_t *notes = at(elf, segment->p_vaddr, segment->p_filesz);
    uint64_t align = segment->p_align == 8 ? 8 : 4;
    if (notes == NULL || (segment->p_vaddr % 4) != 0) {
        return BAD("its notes lie outside of what is loaded");
    }
    for (uint64_t offset = 0; segment->p_filesz - offset >= sizeof(Elf64_Nhdr);) {
        const Elf64_Nhdr *note = (const Elf64_Nhdr *)(notes + offset);
        uint64_t length = sizeof *note + ((note->n_namesz + align - 1) & ~(align - 1));
        length += ((uint64_t)note->n_descsz + align - 1) & ~(align - 1);
        if (length > segment->p_filesz - offset) {
            return BAD("a note ends outside of its segment");
        }
        offset += length;
    }
    return MF_OK;
}

static mf_failure_kind
check_other_segment(const mf_elf *elf, const Elf64_Phdr *segment, mf_failure *failure)
{
    switch (segment->p_type) {
    case PT_TLS:
        if (segment->p_memsz < segment->p_filesz || segment->p_memsz > MAX_SPAN ||
            (segment->p_align & (segment->p_align - 1)) != 0 || segment->p_align > PAGE ||
            at(elf, segment->p_vaddr, segment->p_filesz) == NULL) {
            return BAD("its thread-local data have an impossible place or size");
        }
        return MF_OK;
    case PT_GNU_RELRO:
        if (!mapped(elf, segment->p_vaddr, segment->p_memsz, PF_R)) {
            return BAD("its read-only-after-relocation part lies outside of what is loaded");
        }
        return MF_OK;
    case PT_NOTE:
    case PT_GNU_PROPERTY:
        return check_notes(elf, segment, failure);
    case PT_GNU_EH_FRAME:
        if (at(elf, segment->p_vaddr, segment->p_filesz) == NULL) {
            return BAD("its unwind table lies outside of what is loaded");
        }
        return MF_OK;
    default:
        return MF_OK;
    }
}

static mf_failure_kind
check_segments(mf_elf *elf, mf_failure *failure)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        if (elf->segments[i].p_type == PT_LOAD) {
            TRY(check_load_segment(elf, &elf->segments[i], failure));
        }
    }
    if (elf->high == 0) {
        return BAD("it has nothing to load");
    }
    for (size_t i = 0; i < elf->segment_count; i++) {
        TRY(check_other_segment(elf, &elf->segments[i], failure));
    }
    return MF_OK;
}

static mf_failure_kind
find_dynamic(mf_elf *elf, mf_failure *failure)
{
    const Elf64_Phdr *found = NULL;
    for (size_t i = 0; i < elf->segment_count; i++) {
        if (elf->segments[i].p_type == PT_DYNAMIC) {
            if (found != NULL) {
                return BAD("it has two dynamic sections");
            }
            found = &elf->segments[i];
        }
    }
    if (found == NULL) {
        return BAD("it has no dynamic section: it isn't a shared library");
    }
    elf->dynamic = (Elf64_Dyn *)at(elf, found->p_vaddr, found->p_filesz);
    if (elf->dynamic == NULL || found->p_vaddr % 8 != 0 || found->p_vaddr != (found->p_vaddr & ~(uint64_t)7) ||
        ((uintptr_t)elf->dynamic & 7) != 0) {
        return BAD("its dynamic section lies outside of what is loaded");
    }
    /* The loader writes relocated addresses into it. */
    if ((found->p_flags & PF_W) != 0 && !mapped(elf, found->p_vaddr, found->p_memsz, PF_W)) {
        return BAD("its dynamic section isn't writable");
    }
    for (size_t count = found->p_filesz / sizeof(Elf64_Dyn); elf->dynamic_count < count; elf->dynamic_count++) {
        if (elf->dynamic[elf->dynamic_count].d_tag == DT_NULL) {
            return MF_OK;
        }
    }
    return BAD("its dynamic section has no end");
}

/* Where each dynamic entry's value goes; the loader takes the last of equal tags, so do we. */
static uint64_t *
slot_of(tables *found, mf_elf *elf, int64_t tag)
{
    switch (tag) {
    case DT_HASH: return &found->hash;
    case DT_GNU_HASH: return &found->gnu_hash;
    case DT_STRTAB: return &found->strtab;
    case DT_STRSZ: return &found->strsz;
    case DT_SYMTAB: return &found->symtab;
    case DT_SYMENT: return &found->syment;
    case DT_RELA: return &found->rela;
    case DT_RELASZ: return &found->relasz;
    case DT_RELAENT: return &found->relaent;
    case DT_JMPREL: return &found->jmprel;
    case DT_PLTRELSZ: return &found->pltrelsz;
    case DT_PLTREL: return &found->pltrel;
    case DT_REL: return &found->rel;
    case DT_RELR: return &found->relr;
    case DT_RELRSZ: return &found->relrsz;
    case DT_RELRENT: return &found->relrent;
    case DT_VERSYM: return &found->versym;
    case DT_VERNEED: return &found->verneed;
    case DT_VERNEEDNUM: return &found->verneednum;
    case DT_VERDEF: return &found->verdef;
    case DT_VERDEFNUM: return &found->verdefnum;
    case DT_INIT: return &found->init;
    case DT_FINI: return &found->fini;
    case DT_INIT_ARRAY: return &found->init_array;
    case DT_INIT_ARRAYSZ: return &found->init_arraysz;
    case DT_FINI_ARRAY: return &found->fini_array;
    case DT_FINI_ARRAYSZ: return &found->fini_arraysz;
    case DT_FLAGS: return &elf->flags;
    case DT_FLAGS_1: return &elf->flags_1;
    default: return NULL;
    }
}

static mf_failure_kind
read_dynamic(mf_elf *elf, tables *found, mf_failure *failure)
{
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        uint64_t *slot = slot_of(found, elf, elf->dynamic[i].d_tag);
        if (slot != NULL) {
            *slot = elf->dynamic[i].d_un.d_val;
        }
        found->textrel |= elf->dynamic[i].d_tag == DT_TEXTREL;
    }
    found->textrel |= (elf->flags & DF_TEXTREL) != 0;
    if (found->rel != 0) {
        return BAD("it uses relocations of a form that this machine's loader doesn't take");
    }
    /* glibc asserts the next four; a failed assertion would end the process. */
    if ((found->rela != 0 && found->relaent != sizeof(Elf64_Rela)) ||
        (found->jmprel != 0 && found->pltrel != DT_RELA) || (found->symtab != 0 && found->syment != sizeof(Elf64_Sym)) ||
        (found->relr != 0 && found->relrent != sizeof(Elf64_Relr))) {
        return BAD("its dynamic section gives table entries an impossible size");
    }
    return MF_OK;
}

static mf_failure_kind
check_strings(mf_elf *elf, const tables *found, mf_failure *failure)
{
    elf->strings = (const char *)at(elf, found->strtab, found->strsz);
    elf->strings_size = found->strsz;
    if (found->strtab == 0 || elf->strings == NULL || found->strsz == 0 || elf->strings[found->strsz - 1] != '\0') {
        return BAD("its table of names lies outside of what is loaded");
    }
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        const Elf64_Dyn *entry = &elf->dynamic[i];
        bool is_name = entry->d_tag == DT_NEEDED || entry->d_tag == DT_SONAME || entry->d_tag == DT_RPATH ||
                       entry->d_tag == DT_RUNPATH || entry->d_tag == DT_AUXILIARY || entry->d_tag == DT_FILTER;
        if (is_name && entry->d_un.d_val >= found->strsz) {
            return BAD("a name in its dynamic section lies outside of its table of names");
        }
    }
    return MF_OK;
}

/* Returns the number of symbols that the old-style hash table covers, through `count`. */
static mf_failure_kind
check_sysv_hash(const mf_elf *elf, uint64_t address, size_t *count, mf_failure *failure)
{
    const uint32_t *head = (const uint32_t *)at(elf, address, 8);
    if (head == NULL || address % 4 != 0) {
        return BAD("its hash table lies outside of what is loaded");
    }
    uint64_t buckets = head[0], chains = head[1];
    if (buckets == 0 || at(elf, address, 8 + 4 * (buckets + chains)) == NULL) {
        return BAD("its hash table has an impossible size");
    }
    uint64_t steps = 0;
    for (uint64_t i = 0; i < buckets; i++) {
        for (uint32_t symbol = head[2 + i]; symbol != 0; symbol = head[2 + buckets + symbol]) {
            if (symbol >= chains || ++steps > chains) {
                return BAD("its hash table runs in a circle or out of bounds");
            }
        }
    }
    *count = chains > *count ? chains : *count;
    return MF_OK;
}

static mf_failure_kind
check_gnu_hash(const mf_elf *elf, uint64_t address, size_t *count, mf_failure *failure)
{
    const uint32_t *head = (const uint32_t *)at(elf, address, 16);
    if (head == NULL || address % 8 != 0) {
        return BAD("its hash table lies outside of what is loaded");
    }
    uint64_t buckets = head[0], first = head[1], bloom = head[2];
    uint64_t fixed = 16 + 8 * bloom + 4 * buckets;
    if (buckets == 0 || bloom == 0 || (bloom & (bloom - 1)) != 0 || at(elf, address, fixed) == NULL) {
        return BAD("its hash table has an impossible size");
    }
    const uint32_t *bucket = head + 4 + 2 * bloom;
    const uint32_t *chain = bucket + buckets;
    uint64_t chain_room = room_after(elf, address + fixed) / 4, steps = 0, end = first;
    for (uint64_t i = 0; i < buckets; i++) {
        if (bucket[i] == 0) {
            continue;
        }
        if (bucket[i] < first) {
            return BAD("its hash table runs out of bounds");
        }
        for (uint64_t symbol = bucket[i];; symbol++) {
            if (symbol - first >= chain_room || ++steps > chain_room) {
                return BAD("its hash table runs out of bounds");
            }
            end = symbol + 1 > end ? symbol + 1 : end;
            if ((chain[symbol - first] & 1) != 0) {
                break;
            }
        }
    }
    *count = end > *count ? end : *count;
    return MF_OK;
}

static uint64_t
relocation_width(uint32_t type)
{
#if defined(__x86_64__)
    switch (type) {
    case R_X86_64_NONE: return 0;
    case R_X86_64_TLSDESC: return 16;
    case R_X86_64_32:
    case R_X86_64_PC32: return 4;
    default: return 8;
    }
#else
    return type == R_AARCH64_TLSDESC ? 16 : 8;
#endif
}

static bool
is_indirect(uint32_t type)
{
#if defined(__x86_64__)
    return type == R_X86_64_IRELATIVE;
#else
    return type == R_AARCH64_IRELATIVE;
#endif
}

static mf_failure_kind
check_relocations(const mf_elf *elf, uint64_t address, uint64_t size, bool textrel, size_t *count,
                  mf_failure *failure)
{
    const Elf64_Rela *relocations = (const Elf64_Rela *)at(elf, address, size);
    if (size == 0) {
        return MF_OK;
    }
    if (relocations == NULL || address % 8 != 0 || size % sizeof *relocations != 0) {
        return BAD("its relocations lie outside of what is loaded");
    }
    for (size_t i = 0; i < size / sizeof *relocations; i++) {
        const Elf64_Rela *one = &relocations[i];
        uint32_t type = (uint32_t)ELF64_R_TYPE(one->r_info);
        uint64_t width = relocation_width(type), symbol = ELF64_R_SYM(one->r_info);
        if (width != 0 && !mapped(elf, one->r_offset, width, textrel ? PF_R : PF_W)) {
            return BAD("a relocation would write outside of its data (at 0x%llx)", (unsigned long long)one->r_offset);
        }
        if (is_indirect(type) && !mapped(elf, (uint64_t)one->r_addend, 1, PF_X)) {
            return BAD("an indirect function's resolver lies outside of its code");
        }
        *count = symbol + 1 > *count ? symbol + 1 : *count;
    }
    return MF_OK;
}

static mf_failure_kind
check_relative_relocations(const mf_elf *elf, uint64_t address, uint64_t size, mf_failure *failure)
{
    const Elf64_Relr *words = (const Elf64_Relr *)at(elf, address, size);
    if (size == 0) {
        return MF_OK;
    }
    if (words == NULL || address % 8 != 0 || size % sizeof *words != 0) {
        return BAD("its relative relocations lie outside of what is loaded");
    }
    uint64_t where = 0;
    for (size_t i = 0; i < size / sizeof *words; i++) {
        if ((words[i] & 1) == 0) {
            where = words[i];
            if (!mapped(elf, where, 8, PF_W)) {
                return BAD("a relative relocation would write outside of its data");
            }
            where += 8;
            continue;
        }
        for (unsigned bit = 1; bit < 64; bit++) {
            if ((words[i] >> bit & 1) != 0 && !mapped(elf, where + (uint64_t)(bit - 1) * 8, 8, PF_W)) {
                return BAD("a relative relocation would write outside of its data");
            }
        }
        where += 63 * 8;
    }
    return MF_OK;
}

static mf_failure_kind
check_symbols(mf_elf *elf, const tables *found, mf_failure *failure)
{
    if (found->symtab == 0 || found->symtab % 8 != 0) {
        return BAD("it has no table of dynamic symbols");
    }
    elf->symbols = (Elf64_Sym *)at(elf, found->symtab, elf->symbol_count * sizeof(Elf64_Sym));
    if (elf->symbols == NULL) {
        return BAD("its table of dynamic symbols lies outside of what is loaded");
    }
    for (size_t i = 0; i < elf->symbol_count; i++) {
        const Elf64_Sym *symbol = &elf->symbols[i];
        if (symbol->st_name >= elf->strings_size) {
            return BAD("symbol %zu's name lies outside of its table of names", i);
        }
        bool is_code = ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC;
        if (is_code && symbol->st_shndx != SHN_UNDEF && !mapped(elf, symbol->st_value, 1, PF_X)) {
            return BAD("the resolver of %s lies outside of its code", elf->strings + symbol->st_name);
        }
    }
    return MF_OK;
}

/* The highest version index that the two version tables define, through `highest`. */
static mf_failure_kind
check_needed_versions(const mf_elf *elf, const tables *found, uint32_t *highest, mf_failure *failure)
{
    uint64_t address = found->verneed;
    for (uint64_t left = found->verneednum;; left--) {
        const Elf64_Verneed *need = (const Elf64_Verneed *)at(elf, address, sizeof *need);
        if (need == NULL || address % 4 != 0 || left == 0 || need->vn_version != 1 ||
            need->vn_file >= elf->strings_size) {
            return BAD("its table of needed versions is corrupt");
        }
        uint64_t entry = address + need->vn_aux;
        for (uint32_t count = need->vn_cnt;; count--) {
            const Elf64_Vernaux *aux = (const Elf64_Vernaux *)at(elf, entry, sizeof *aux);
            if (aux == NULL || entry % 4 != 0 || count == 0 || aux->vna_name >= elf->strings_size) {
                return BAD("its table of needed versions is corrupt");
            }
            uint32_t index = aux->vna_other & 0x7fff;
            *highest = index > *highest ? index : *highest;
            if (aux->vna_next == 0) {
                break;
            }
            entry += aux->vna_next;
        }
        if (need->vn_next == 0) {
            return MF_OK;
        }
        address += need->vn_next;
    }
}

static mf_failure_kind
check_defined_versions(const mf_elf *elf, const tables *found, uint32_t *highest, mf_failure *failure)
{
    uint64_t address = found->verdef;
    for (uint64_t left = found->verdefnum;; left--) {
        const Elf64_Verdef *definition = (const Elf64_Verdef *)at(elf, address, sizeof *definition);
        if (definition == NULL || address % 4 != 0 || left == 0 || definition->vd_version != 1) {
            return BAD("its table of defined versions is corrupt");
        }
        const Elf64_Verdaux *aux = (const Elf64_Verdaux *)at(elf, address + definition->vd_aux, sizeof *aux);
        if (aux == NULL || (address + definition->vd_aux) % 4 != 0 || aux->vda_name >= elf->strings_size) {
            return BAD("its table of defined versions is corrupt");
        }
        uint32_t index = definition->vd_ndx & 0x7fff;
        *highest = index > *highest ? index : *highest;
        if (definition->vd_next == 0) {
            return MF_OK;
        }
        address += definition->vd_next;
    }
}

static mf_failure_kind
check_versions(const mf_elf *elf, const tables *found, mf_failure *failure)
{
    uint32_t highest = 1;
    if (found->verneed != 0) {
        TRY(check_needed_versions(elf, found, &highest, failure));
    }
    if (found->verdef != 0) {
        TRY(check_defined_versions(elf, found, &highest, failure));
    }
    if (found->versym == 0) {
        return MF_OK;
    }
    const uint16_t *indices = (const uint16_t *)at(elf, found->versym, elf->symbol_count * sizeof *indices);
    if (indices == NULL || found->versym % 2 != 0) {
        return BAD("its symbol versions lie outside of what is loaded");
    }
    for (size_t i = 0; i < elf->symbol_count; i++) {
        /* The loader indexes an array of `highest` + 1 entries with it. */
        if ((indices[i] & 0x7fff) > highest) {
            return BAD("symbol %zu has a version that the library doesn't define", i);
        }
    }
    return MF_OK;
}

static mf_failure_kind
check_entry_points(mf_elf *elf, const tables *found, mf_failure *failure)
{
    if ((found->init != 0 && !mapped(elf, found->init, 1, PF_X)) ||
        (found->fini != 0 && !mapped(elf, found->fini, 1, PF_X))) {
        return BAD("its constructor or destructor lies outside of its code");
    }
    bool init_ok = found->init_arraysz == 0 || (found->init_array % 8 == 0 && found->init_arraysz % 8 == 0 &&
                                                at(elf, found->init_array, found->init_arraysz) != NULL);
    bool fini_ok = found->fini_arraysz == 0 || (found->fini_array % 8 == 0 && found->fini_arraysz % 8 == 0 &&
                                                at(elf, found->fini_array, found->fini_arraysz) != NULL);
    if (!init_ok || !fini_ok) {
        return BAD("its list of constructors or destructors lies outside of what is loaded");
    }
    elf->init = found->init;
    elf->init_array = found->init_array;
    elf->init_count = found->init_arraysz / 8;
    return MF_OK;
}

mf_failure_kind
mf_elf_check(mf_elf *elf, uint8_t *bytes, size_t size, mf_failure *failure)
{
    tables found = {0};
    memset(elf, 0, sizeof *elf);
    elf->bytes = bytes;
    elf->size = size;
    failure->kind = MF_OK;
    TRY(check_header(elf, failure));
    TRY(check_segments(elf, failure));
    TRY(find_dynamic(elf, failure));
    TRY(read_dynamic(elf, &found, failure));
    TRY(check_strings(elf, &found, failure));
    if (found.gnu_hash != 0) {
        TRY(check_gnu_hash(elf, found.gnu_hash, &elf->symbol_count, failure));
    }
    if (found.hash != 0) {
        TRY(check_sysv_hash(elf, found.hash, &elf->symbol_count, failure));
    }
    TRY(check_relocations(elf, found.rela, found.relasz, found.textrel, &elf->symbol_count, failure));
    TRY(check_relocations(elf, found.jmprel, found.pltrelsz, found.textrel, &elf->symbol_count, failure));
    TRY(check_relative_relocations(elf, found.relr, found.relrsz, failure));
    TRY(check_symbols(elf, &found, failure));
    TRY(check_versions(elf, &found, failure));
    return check_entry_points(elf, &found, failure);
}
