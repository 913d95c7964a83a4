/* The changes to a private copy of a checked shared object: see elf_file.h. */
#include "elf_file.h"

#include <string.h>

/* A tag in the range that is the operating system's to define and that glibc passes over. */
enum { TAG_IGNORED = 0x60000d1e };

static size_t
weaken(Elf64_Sym *symbols, size_t count)
{
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
        if (ELF64_ST_BIND(symbols[i].st_info) == STB_GNU_UNIQUE) {
            symbols[i].st_info = ELF64_ST_INFO(STB_WEAK, ELF64_ST_TYPE(symbols[i].st_info));
            changed++;
        }
    }
    return changed;
}

/* The loader reads only the dynamic symbols, but debuggers read .symtab: keep the two of one mind. */
static void
weaken_static_symbols(mf_elf *elf)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)elf->bytes;
    if (header->e_shoff == 0 || header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shoff % 8 != 0) {
        return;
    }
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(elf->bytes + header->e_shoff);
    for (size_t i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *section = &sections[i];
        bool inside = section->sh_offset <= elf->size && section->sh_size <= elf->size - section->sh_offset;
        if (section->sh_type == SHT_SYMTAB && inside && section->sh_offset % 8 == 0) {
            weaken((Elf64_Sym *)(elf->bytes + section->sh_offset), section->sh_size / sizeof(Elf64_Sym));
        }
    }
}

size_t
mf_elf_weaken_unique(mf_elf *elf)
{
    size_t changed = weaken(elf->symbols, elf->symbol_count);
    if (changed != 0) {
        weaken_static_symbols(elf);
    }
    return changed;
}

bool
mf_elf_bind(mf_elf *elf, const char *name, uintptr_t address)
{
    for (size_t i = 1; i < elf->symbol_count; i++) {
        Elf64_Sym *symbol = &elf->symbols[i];
        if (symbol->st_shndx == SHN_UNDEF && strcmp(elf->strings + symbol->st_name, name) == 0) {
            /* glibc (2.28 and later) takes a local or hidden SHN_ABS symbol's value as it stands: dl-lookup isn't
             * asked, and the load address isn't added.  Hidden is for lazy binding, local for all else. */
            symbol->st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
            symbol->st_other = STV_HIDDEN;
            symbol->st_shndx = SHN_ABS;
            symbol->st_value = address;
            return true;
        }
    }
    return false;
}

static void
ignore_tag(mf_elf *elf, int64_t tag)
{
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        if (elf->dynamic[i].d_tag == tag) {
            elf->dynamic[i].d_tag = TAG_IGNORED;
        }
    }
}

void
mf_elf_forget_soname(mf_elf *elf)
{
    ignore_tag(elf, DT_SONAME);
}

void
mf_elf_take_constructors(mf_elf *elf)
{
    ignore_tag(elf, DT_INIT);
    ignore_tag(elf, DT_INIT_ARRAY);
    ignore_tag(elf, DT_INIT_ARRAYSZ);
}
