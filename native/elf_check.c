/* Checks a shared object before the loader sees it: see elf_file.h.  Here: headers, segments, the dynamic section.
 *
 * The rules are those that glibc 2.36's elf/dl-load.c, get-dynamic-info.h, dl-reloc.c, do-rel.h, dl-version.c and
 * dl-lookup.c rely on without checking them.
 */
#include "elf_view.h"

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

/* The loader ends the process when it has no memory for a thread's data. */
static const uint64_t MAX_THREAD_DATA = (uint64_t)1 << 30;

uint8_t *
mf_elf_at(const mf_elf *elf, uint64_t address, uint64_t length)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R) != 0 && address >= segment->p_vaddr &&
            address - segment->p_vaddr <= segment->p_filesz &&
            length <= segment->p_filesz - (address - segment->p_vaddr)) {
            return elf->bytes + segment->p_offset + (address - segment->p_vaddr);
        }
    }
    return NULL;
}

uint64_t
mf_elf_room_after(const mf_elf *elf, uint64_t address)
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

bool
mf_elf_mapped(const mf_elf *elf, uint64_t address, uint64_t length, uint32_t flags)
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
        !mf_elf_in_file(elf, header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr))) {
        return BAD("its program headers lie outside of the file");
    }
    if (header->e_shoff != 0 && header->e_shnum != 0 &&
        !mf_elf_in_file(elf, header->e_shoff, (uint64_t)header->e_shnum * header->e_shentsize)) {
        return BAD("the file ends before its section headers do: it is truncated or still being written");
    }
    elf->segments = (const Elf64_Phdr *)(elf->bytes + header->e_phoff);
    elf->segment_count = header->e_phnum;
    return MF_OK;
}

static mf_failure_kind
check_load_segment(mf_elf *elf, const Elf64_Phdr *segment, mf_failure *failure)
{
    if (!mf_elf_in_file(elf, segment->p_offset, segment->p_filesz)) {
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
    const uint8_t *notes = mf_elf_at(elf, segment->p_vaddr, segment->p_filesz);
    uint64_t align = segment->p_align == 8 ? 8 : 4;
    if (notes == NULL || (segment->p_vaddr % 4) != 0) {
        return BAD("its notes lie outside of what is loaded");
    }
    /* Each part of a note begins at a multiple of the alignment, counted from its start; the last needs no padding. */
    for (uint64_t offset = 0; offset < segment->p_filesz && segment->p_filesz - offset >= sizeof(Elf64_Nhdr);) {
        const Elf64_Nhdr *note = (const Elf64_Nhdr *)(notes + offset);
        uint64_t description = (sizeof *note + note->n_namesz + align - 1) & ~(align - 1);
        uint64_t end = description + note->n_descsz;
        if (end > segment->p_filesz - offset) {
            return BAD("a note ends outside of its segment");
        }
        offset += (end + align - 1) & ~(align - 1);
    }
    return MF_OK;
}

static mf_failure_kind
check_other_segment(const mf_elf *elf, const Elf64_Phdr *segment, mf_failure *failure)
{
    switch (segment->p_type) {
    case PT_TLS:
        if (segment->p_memsz < segment->p_filesz || segment->p_memsz > MAX_THREAD_DATA ||
            (segment->p_align & (segment->p_align - 1)) != 0 || segment->p_align > PAGE ||
            mf_elf_at(elf, segment->p_vaddr, segment->p_filesz) == NULL) {
            return BAD("its thread-local data have an impossible place or size");
        }
        return MF_OK;
    case PT_PHDR:
        if (mf_elf_at(elf, segment->p_vaddr, segment->p_filesz) != (const uint8_t *)elf->segments) {
            return BAD("it says that its program headers lie where they don't");
        }
        return MF_OK;
    case PT_GNU_RELRO:
        if (!mf_elf_mapped(elf, segment->p_vaddr, segment->p_memsz, PF_R | PF_W)) {
            return BAD("its read-only-after-relocation part lies outside of what is loaded");
        }
        return MF_OK;
    case PT_NOTE:
    case PT_GNU_PROPERTY:
        return check_notes(elf, segment, failure);
    case PT_GNU_EH_FRAME:
        if (mf_elf_at(elf, segment->p_vaddr, segment->p_filesz) == NULL) {
            return BAD("its unwind table lies outside of what is loaded");
        }
        return MF_OK;
    default:
        return MF_OK;
    }
}

/* The loader goes on reading the program headers where they are loaded, if they are. */
static mf_failure_kind
check_program_headers(const mf_elf *elf, mf_failure *failure)
{
    uint64_t offset = (uint64_t)((const uint8_t *)elf->segments - elf->bytes);
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        bool holds = offset >= segment->p_offset && offset - segment->p_offset < segment->p_filesz;
        if (segment->p_type == PT_LOAD && holds && (segment->p_flags & PF_R) == 0) {
            return BAD("its program headers can't be read where they are loaded");
        }
    }
    return MF_OK;
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
    return check_program_headers(elf, failure);
}

static mf_failure_kind
find_dynamic(mf_elf *elf, mf_entries *entries, mf_failure *failure)
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
    elf->dynamic = (Elf64_Dyn *)mf_elf_at(elf, found->p_vaddr, found->p_filesz);
    if (elf->dynamic == NULL || found->p_vaddr % 8 != 0 || ((uintptr_t)elf->dynamic & 7) != 0) {
        return BAD("its dynamic section lies outside of what is loaded");
    }
    entries->dynamic_address = found->p_vaddr;
    /* The loader writes relocated addresses into it. */
    if ((found->p_flags & PF_W) != 0 && !mf_elf_mapped(elf, found->p_vaddr, found->p_memsz, PF_W)) {
        return BAD("its dynamic section isn't writable");
    }
    for (size_t count = found->p_filesz / sizeof(Elf64_Dyn); elf->dynamic_count < count; elf->dynamic_count++) {
        if (elf->dynamic[elf->dynamic_count].d_tag == DT_NULL) {
            return MF_OK;
        }
    }
    return BAD("its dynamic section has no end");
}

/* Where each dynamic entry goes; the loader takes the last of equal tags, so do we. */
static mf_entry *
entry_for(mf_entries *found, int64_t tag)
{
    switch (tag) {
    case DT_HASH: return &found->hash;
    case DT_GNU_HASH: return &found->gnu_hash;
    case DT_STRTAB: return &found->strtab;
    case DT_STRSZ: return &found->strsz;
    case DT_SYMTAB: return &found->symtab;
    case DT_SYMENT: return &found->syment;
    case DT_PLTGOT: return &found->pltgot;
    case DT_RELA: return &found->rela;
    case DT_RELASZ: return &found->relasz;
    case DT_RELAENT: return &found->relaent;
    case DT_RELACOUNT: return &found->relacount;
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
    case DT_FLAGS: return &found->flags;
    case DT_FLAGS_1: return &found->flags_1;
    default: return NULL;
    }
}

static void
read_dynamic(mf_elf *elf, mf_entries *found)
{
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        mf_entry *entry = entry_for(found, elf->dynamic[i].d_tag);
        if (entry != NULL) {
            *entry = (mf_entry){true, elf->dynamic[i].d_un.d_val};
        }
        found->textrel |= elf->dynamic[i].d_tag == DT_TEXTREL;
    }
    elf->flags = found->flags.value;
    elf->flags_1 = found->flags_1.value;
    found->textrel |= (elf->flags & DF_TEXTREL) != 0;
}

static bool
has_size(const mf_entry *entry, uint64_t size)
{
    return entry->there && entry->value == size;
}

/* The loader asserts these (and a failed assertion ends the process), or uses the one entry without asking for the
 * other. */
static mf_failure_kind
check_entries(const mf_entries *found, mf_failure *failure)
{
    if ((found->flags_1.value & DF_1_PIE) != 0) {
        return BAD("an ELF file, but not a shared library: it is a program (a position-independent executable)");
    }
    if (found->rel.there || (found->pltrel.there && found->pltrel.value != DT_RELA)) {
        return BAD("it uses relocations of a form that this machine's loader doesn't take");
    }
    bool complete = (!found->rela.there || found->relasz.there) && (!found->relr.there || found->relrsz.there) &&
                    found->pltrel.there == found->jmprel.there && found->jmprel.there == found->pltrelsz.there &&
                    found->init_array.there == found->init_arraysz.there &&
                    found->fini_array.there == found->fini_arraysz.there;
    if (!complete) {
        return BAD("its dynamic section gives a table's place without its size, or the other way round");
    }
    if ((found->rela.there && !has_size(&found->relaent, sizeof(Elf64_Rela))) ||
        (found->symtab.there && !has_size(&found->syment, sizeof(Elf64_Sym))) ||
        (found->relr.there && !has_size(&found->relrent, sizeof(Elf64_Relr)))) {
        return BAD("its dynamic section gives table entries an impossible size");
    }
    return MF_OK;
}

static bool
is_list(const mf_elf *elf, const mf_entry *place, const mf_entry *size)
{
    return !place->there || size->value == 0 ||
           (place->value % 8 == 0 && size->value % 8 == 0 && mf_elf_at(elf, place->value, size->value) != NULL);
}

/* Binding at the first call keeps two words of the loader's own in the table of addresses, which are zero before. */
static bool
is_lazy_table(const mf_elf *elf, const mf_entry *place)
{
    const uint64_t *words = place->there && place->value % 8 == 0 ? (const uint64_t *)mf_elf_at(elf, place->value, 24) : NULL;
    return words != NULL && mf_elf_mapped(elf, place->value, 24, PF_W) && words[1] == 0 && words[2] == 0;
}

static mf_failure_kind
check_entry_points(mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    if ((found->init.there && !mf_elf_mapped(elf, found->init.value, 1, PF_X)) ||
        (found->fini.there && !mf_elf_mapped(elf, found->fini.value, 1, PF_X))) {
        return BAD("its constructor or destructor lies outside of its code");
    }
    if (!is_list(elf, &found->init_array, &found->init_arraysz) ||
        !is_list(elf, &found->fini_array, &found->fini_arraysz)) {
        return BAD("its list of constructors or destructors lies outside of what is loaded");
    }
    elf->lazy_possible = is_lazy_table(elf, &found->pltgot);
    elf->init = found->init.value;
    elf->init_array = found->init_array.value;
    elf->init_count = found->init_arraysz.value / 8;
    return MF_OK;
}

mf_failure_kind
mf_elf_check(mf_elf *elf, uint8_t *bytes, size_t size, mf_failure *failure)
{
    mf_entries found;
    memset(&found, 0, sizeof found);
    memset(elf, 0, sizeof *elf);
    elf->bytes = bytes;
    elf->size = size;
    failure->kind = MF_OK;
    TRY(check_header(elf, failure));
    TRY(check_segments(elf, failure));
    TRY(find_dynamic(elf, &found, failure));
    read_dynamic(elf, &found);
    TRY(check_entries(&found, failure));
    TRY(check_entry_points(elf, &found, failure));
    return mf_elf_check_tables(elf, &found, failure);
}
