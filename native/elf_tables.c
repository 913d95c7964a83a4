/* Checks names, hash tables, symbols and versions of a shared object: see elf_file.h. */
#include "elf_view.h"

#include <string.h>

static mf_failure_kind
check_strings(mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    uint64_t size = found->strsz.value;
    elf->strings = found->strtab.there ? (const char *)mf_elf_at(elf, found->strtab.value, size) : NULL;
    elf->strings_size = size;
    if (elf->strings == NULL || size == 0 || elf->strings[size - 1] != '\0') {
        return BAD("its table of names lies outside of what is loaded");
    }
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        const Elf64_Dyn *entry = &elf->dynamic[i];
        bool is_name = entry->d_tag == DT_NEEDED || entry->d_tag == DT_SONAME || entry->d_tag == DT_RPATH ||
                       entry->d_tag == DT_RUNPATH || entry->d_tag == DT_AUXILIARY || entry->d_tag == DT_FILTER;
        if (is_name && entry->d_un.d_val >= size) {
            return BAD("a name in its dynamic section lies outside of its table of names");
        }
    }
    return MF_OK;
}

/* Returns the number of symbols that the old-style hash table covers, through `count`. */
static mf_failure_kind
check_sysv_hash(const mf_elf *elf, uint64_t address, size_t *count, mf_failure *failure)
{
    const uint32_t *head = (const uint32_t *)mf_elf_at(elf, address, 8);
    if (head == NULL || address % 4 != 0) {
        return BAD("its hash table lies outside of what is loaded");
    }
    uint64_t buckets = head[0], chains = head[1];
    if (buckets == 0 || mf_elf_at(elf, address, 8 + 4 * (buckets + chains)) == NULL) {
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
    const uint32_t *head = (const uint32_t *)mf_elf_at(elf, address, 16);
    if (head == NULL || address % 8 != 0) {
        return BAD("its hash table lies outside of what is loaded");
    }
    uint64_t buckets = head[0], first = head[1], bloom = head[2];
    uint64_t fixed = 16 + 8 * bloom + 4 * buckets;
    if (buckets == 0 || bloom == 0 || (bloom & (bloom - 1)) != 0 || mf_elf_at(elf, address, fixed) == NULL) {
        return BAD("its hash table has an impossible size");
    }
    const uint32_t *bucket = head + 4 + 2 * bloom;
    const uint32_t *chain = bucket + buckets;
    uint64_t chain_room = mf_elf_room_after(elf, address + fixed) / 4, steps = 0, end = first;
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

static bool
lies_in_thread_storage(const mf_elf *elf, uint64_t offset, uint64_t size)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_TLS) {
            return offset <= segment->p_memsz && size <= segment->p_memsz - offset;
        }
    }
    return false;
}

/* What a symbol without a type stands for may lie anywhere: linker scripts define such ones. */
static mf_failure_kind
check_place(const mf_elf *elf, const Elf64_Sym *symbol, mf_failure *failure)
{
    const char *name = elf->strings + symbol->st_name;
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS) {
        return MF_OK;
    }
    switch (ELF64_ST_TYPE(symbol->st_info)) {
    case STT_FUNC:
    case STT_GNU_IFUNC:
        return mf_elf_mapped(elf, symbol->st_value, 1, PF_X) ? MF_OK : BAD("the function %s lies outside of its code", name);
    case STT_OBJECT:
        return mf_elf_mapped(elf, symbol->st_value, symbol->st_size, PF_R)
                   ? MF_OK
                   : BAD("the variable %s lies outside of its data", name);
    case STT_TLS:
        return lies_in_thread_storage(elf, symbol->st_value, symbol->st_size)
                   ? MF_OK
                   : BAD("the variable %s lies outside of its threads' data", name);
    default:
        return MF_OK;
    }
}

static mf_failure_kind
check_symbols(mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    if (!found->symtab.there || found->symtab.value % 8 != 0) {
        return BAD("it has no table of dynamic symbols");
    }
    elf->symbols = (Elf64_Sym *)mf_elf_at(elf, found->symtab.value, elf->symbol_count * sizeof(Elf64_Sym));
    if (elf->symbols == NULL) {
        return BAD("its table of dynamic symbols lies outside of what is loaded");
    }
    for (size_t i = 0; i < elf->symbol_count; i++) {
        if (elf->symbols[i].st_name >= elf->strings_size) {
            return BAD("symbol %zu's name lies outside of its table of names", i);
        }
        TRY(check_place(elf, &elf->symbols[i], failure));
    }
    return MF_OK;
}

/* The loader asserts that a library whose versions are needed is loaded. */
static bool
is_needed(const mf_elf *elf, const char *name)
{
    for (size_t i = 0; i < elf->dynamic_count; i++) {
        const Elf64_Dyn *entry = &elf->dynamic[i];
        if (entry->d_tag == DT_NEEDED && strcmp(elf->strings + entry->d_un.d_val, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The highest version index that the two version tables define, through `highest`. */
static mf_failure_kind
check_needed_versions(const mf_elf *elf, const mf_entries *found, uint32_t *highest, mf_failure *failure)
{
    uint64_t address = found->verneed.value;
    for (uint64_t left = found->verneednum.value;; left--) {
        const Elf64_Verneed *need = (const Elf64_Verneed *)mf_elf_at(elf, address, sizeof *need);
        if (need == NULL || address % 4 != 0 || left == 0 || need->vn_version != 1 ||
            need->vn_file >= elf->strings_size || !is_needed(elf, elf->strings + need->vn_file)) {
            return BAD("its table of needed versions is corrupt");
        }
        uint64_t entry = address + need->vn_aux;
        for (uint32_t count = need->vn_cnt;; count--) {
            const Elf64_Vernaux *aux = (const Elf64_Vernaux *)mf_elf_at(elf, entry, sizeof *aux);
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
check_defined_versions(const mf_elf *elf, const mf_entries *found, uint32_t *highest, mf_failure *failure)
{
    uint64_t address = found->verdef.value;
    for (uint64_t left = found->verdefnum.value;; left--) {
        const Elf64_Verdef *definition = (const Elf64_Verdef *)mf_elf_at(elf, address, sizeof *definition);
        if (definition == NULL || address % 4 != 0 || left == 0 || definition->vd_version != 1) {
            return BAD("its table of defined versions is corrupt");
        }
        const Elf64_Verdaux *aux = (const Elf64_Verdaux *)mf_elf_at(elf, address + definition->vd_aux, sizeof *aux);
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
check_versions(const mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    uint32_t highest = 1;
    if (found->verneed.there) {
        TRY(check_needed_versions(elf, found, &highest, failure));
    }
    if (found->verdef.there) {
        TRY(check_defined_versions(elf, found, &highest, failure));
    }
    if (!found->versym.there) {
        return found->verneed.there || found->verdef.there
                   ? BAD("it has versions, but doesn't say which symbols they belong to")
                   : MF_OK;
    }
    const uint16_t *indices = (const uint16_t *)mf_elf_at(elf, found->versym.value, elf->symbol_count * sizeof *indices);
    if (indices == NULL || found->versym.value % 2 != 0) {
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

mf_failure_kind
mf_elf_check_tables(mf_elf *elf, const mf_entries *found, mf_failure *failure)
{
    TRY(check_strings(elf, found, failure));
    if (found->gnu_hash.there) {
        TRY(check_gnu_hash(elf, found->gnu_hash.value, &elf->symbol_count, failure));
    }
    if (found->hash.there) {
        TRY(check_sysv_hash(elf, found->hash.value, &elf->symbol_count, failure));
    }
    TRY(mf_elf_check_relocations(elf, found, failure));
    TRY(check_symbols(elf, found, failure));
    TRY(mf_elf_check_thread_relocations(elf, found, failure));
    return check_versions(elf, found, failure);
}
