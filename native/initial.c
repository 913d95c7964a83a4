/* See initial.h. */
#include "initial.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

/* One writable segment: link-time addresses, not rounded. */
typedef struct span {
    uint64_t low, high;
    uint8_t **pages; /* a copy of each page from `low` on; NULL: all zero */
} span;

struct mf_initial {
    mf_attached *attached; /* owned */
    size_t count;
    span spans[];
};

static bool
is_writable(const Elf64_Phdr *segment)
{
    return segment->p_type == PT_LOAD && (segment->p_flags & PF_W) != 0 && segment->p_memsz != 0;
}

static size_t
page_count(const span *one)
{
    return (one->high - one->low + PAGE - 1) / PAGE;
}

mf_initial *
mf_initial_new(const mf_elf *elf)
{
    mf_initial *initial = calloc(1, sizeof *initial + elf->segment_count * sizeof *initial->spans);
    for (size_t i = 0; initial != NULL && i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (is_writable(segment)) {
            initial->spans[initial->count++] = (span){segment->p_vaddr, segment->p_vaddr + segment->p_memsz, NULL};
        }
    }
    return initial;
}

/* The size of the page number `index`: the last one may be shorter. */
static size_t
size_of_page(const span *one, size_t index)
{
    uint64_t left = one->high - one->low - (uint64_t)index * PAGE;
    return left < PAGE ? left : PAGE;
}

static bool
is_zero(const uint8_t *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static bool
take_span(span *one, uintptr_t base)
{
    size_t count = page_count(one);
    one->pages = calloc(count, sizeof *one->pages);
    for (size_t i = 0; one->pages != NULL && i < count; i++) {
        const uint8_t *now = (const uint8_t *)(base + one->low + i * PAGE);
        size_t size = size_of_page(one, i);
        if (!is_zero(now, size)) {
            one->pages[i] = malloc(size);
            if (one->pages[i] == NULL) {
                return false;
            }
            memcpy(one->pages[i], now, size);
        }
    }
    return one->pages != NULL;
}

/* Segments begin at addresses that are multiples of eight, so their copies' words are theirs. */
static void
follow(mf_initial *initial, const span *one)
{
    for (size_t i = 0; one->low % sizeof(uint64_t) == 0 && i < page_count(one); i++) {
        if (one->pages[i] != NULL) {
            mf_attached_follow(initial->attached, (const uint64_t *)one->pages[i],
                               size_of_page(one, i) / sizeof(uint64_t));
        }
    }
}

bool
mf_initial_take(mf_initial *initial, uintptr_t base, uintptr_t low, uintptr_t high)
{
    initial->attached = mf_attached_new(low, high);
    for (size_t i = 0; i < initial->count; i++) {
        if (initial->attached == NULL || !take_span(&initial->spans[i], base)) {
            return false;
        }
        follow(initial, &initial->spans[i]);
    }
    return true;
}

mf_attachment
mf_initial_attached(const mf_initial *initial, uint64_t address)
{
    return mf_attached_state(initial->attached, address);
}

/* `size` bytes from `offset` on, all in one page. */
static bool
differs(const span *one, uintptr_t base, uint64_t offset, size_t size)
{
    const uint8_t *now = (const uint8_t *)(base + one->low + offset);
    const uint8_t *then = one->pages[offset / PAGE];
    return then == NULL ? !is_zero(now, size) : memcmp(now, then + offset % PAGE, size) != 0;
}

static bool
changed_in(const span *one, uintptr_t base, uint64_t low, uint64_t high)
{
    uint64_t offset = (low > one->low ? low : one->low) - one->low;
    uint64_t end = (high < one->high ? high : one->high) - one->low;
    while (offset < end) {
        uint64_t left = PAGE - offset % PAGE;
        size_t size = left < end - offset ? left : end - offset;
        if (differs(one, base, offset, size)) {
            return true;
        }
        offset += size;
    }
    return false;
}

bool
mf_initial_changed(const mf_initial *initial, uintptr_t base, uint64_t address, uint64_t size)
{
    for (size_t i = 0; i < initial->count; i++) {
        const span *one = &initial->spans[i];
        if (one->pages != NULL && address < one->high && size <= UINT64_MAX - address && address + size > one->low &&
            changed_in(one, base, address, address + size)) {
            return true;
        }
    }
    return false;
}

void
mf_initial_free(mf_initial *initial)
{
    for (size_t i = 0; initial != NULL && i < initial->count; i++) {
        span *one = &initial->spans[i];
        for (size_t j = 0; one->pages != NULL && j < page_count(one); j++) {
            free(one->pages[j]);
        }
        free(one->pages);
    }
    if (initial != NULL) {
        mf_attached_free(initial->attached);
    }
    free(initial);
}
