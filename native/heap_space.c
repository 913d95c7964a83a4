/* See heap_space.h. */
#include "heap_space.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31504145484d46)
#define LARGEST ((size_t)64 << 30)
#define SMALLEST ((size_t)8 << 20)

enum { STEP = 64 /* chunks that a private space is opened by */ };

static size_t
page_up(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

size_t
mf_space_wish(void)
{
    struct rlimit limit;
    size_t wish = LARGEST;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        while (wish > limit.rlim_cur / 8 && wish > SMALLEST) {
            wish /= 2;
        }
    }
    return wish;
}

/* Where what lies in the range is, given its size.  False: it is too small. */
static bool
lay_out(mf_space *space, void *memory, size_t size, uint32_t seat)
{
    size_t types_at = 4096, chunks_at = page_up(types_at + MF_TYPES * sizeof(mf_type_record));
    size_t count = size > chunks_at ? (size - chunks_at) / (MF_CHUNK + sizeof(mf_chunk)) : 0;
    size_t data_at = (chunks_at + count * sizeof(mf_chunk) + MF_CHUNK - 1) / MF_CHUNK * MF_CHUNK;
    while (count > 0 && data_at + count * MF_CHUNK > size) {
        count--;
    }
    if (count == 0) {
        return false;
    }
    uint64_t most = space->most;
    *space = (mf_space){.base = memory, .data = (char *)memory + data_at, .size = size, .count = (uint32_t)count,
                        .seat = seat, .most = most};
    space->head = memory;
    space->types = (mf_type_record *)(void *)((char *)memory + types_at);
    space->chunks = (mf_chunk *)(void *)((char *)memory + chunks_at);
    return true;
}

static void
write_head(mf_space *space)
{
    space->head->size = space->size;
    space->head->magic = MAGIC;
}

bool
mf_space_reserve(mf_space *space)
{
    for (size_t wish = mf_space_wish(); wish >= SMALLEST; wish /= 2) {
        /* Not accessible yet: only what is used counts for the system's limits. */
        char *memory = mmap(NULL, wish, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            continue;
        }
        lay_out(space, memory, wish, MF_HOST_SEAT);
        if (mprotect(memory, (size_t)((char *)space->chunks - memory), PROT_READ | PROT_WRITE) == 0) {
            write_head(space);
            return true;
        }
        munmap(memory, wish);
    }
    space->base = NULL;
    return false;
}

bool
mf_space_format(mf_space *space, void *memory, size_t size)
{
    if (!lay_out(space, memory, size, MF_HOST_SEAT)) {
        return false;
    }
    space->shared = true;
    write_head(space);
    return true;
}

bool
mf_space_join(mf_space *space, void *memory, size_t size, uint32_t seat)
{
    if (!lay_out(space, memory, size, seat)) {
        return false;
    }
    space->shared = true;
    return space->head->magic == MAGIC && space->head->size == size;
}

void
mf_space_release(mf_space *space)
{
    if (space->base != NULL && !space->shared) {
        munmap(space->base, space->size);
    }
    space->base = NULL;
}

uint32_t
mf_space_top(const mf_space *space)
{
    uint32_t top = atomic_load(&space->head->top), most = space->shared ? space->count : space->open;
    return top < most ? top : most;
}

uint32_t
mf_space_chunk_of(const mf_space *space, uintptr_t address)
{
    uintptr_t start = (uintptr_t)space->data;
    if (space->base == NULL || address < start || (address - start) / MF_CHUNK >= mf_space_top(space)) {
        return MF_NO_CHUNK;
    }
    return (uint32_t)((address - start) / MF_CHUNK);
}

uint32_t
mf_space_run(const mf_space *space, uint32_t index)
{
    uint32_t word = atomic_load(&space->chunks[index].word), run = atomic_load(&space->chunks[index].detail);
    bool fits = mf_chunk_kind(word) == MF_LARGE && run != 0 && run <= mf_space_top(space) - index;
    return fits ? run : 0;
}

/* ---- claiming -------------------------------------------------------------------------------------------------------- */

/* Makes the first `top` chunks usable, and lets the others know. */
static bool
open_up(mf_space *space, uint32_t top)
{
    if (!space->shared && top > space->open) {
        uint32_t wanted = (top + STEP - 1) / STEP * STEP;
        wanted = wanted < space->count ? wanted : space->count;
        size_t table = page_up(wanted * sizeof(mf_chunk));
        size_t room = (size_t)(space->data - (char *)space->chunks);
        if (mprotect(space->chunks, table < room ? table : room, PROT_READ | PROT_WRITE) != 0 ||
            mprotect(space->data, (size_t)wanted * MF_CHUNK, PROT_READ | PROT_WRITE) != 0) {
            return false;
        }
        space->open = wanted;
    }
    uint32_t old = atomic_load(&space->head->top);
    while (old < top && !atomic_compare_exchange_weak(&space->head->top, &old, top)) {
    }
    return true;
}

static bool
is_free(const mf_space *space, uint32_t index)
{
    return atomic_load_explicit(&space->chunks[index].word, memory_order_relaxed) == MF_FREE_CHUNK;
}

/* The first place from `start` on where `run` chunks look free; it may reach beyond the top. */
static uint32_t
find(const mf_space *space, uint32_t start, uint32_t run)
{
    uint32_t top = mf_space_top(space), length = 0, index = start;
    for (; index < top && length < run; index++) {
        length = is_free(space, index) ? length + 1 : 0;
    }
    return index - length;
}

/* Claims all of them, or none. */
static bool
take(mf_space *space, uint32_t index, uint32_t run)
{
    uint32_t mine = mf_chunk_word(MF_CLAIMED, space->seat);
    for (uint32_t i = 0; i < run; i++) {
        uint32_t word = MF_FREE_CHUNK;
        if (!atomic_compare_exchange_strong(&space->chunks[index + i].word, &word, mine)) {
            while (i-- > 0) {
                atomic_store(&space->chunks[index + i].word, MF_FREE_CHUNK);
            }
            return false;
        }
    }
    return true;
}

uint32_t
mf_space_claim(mf_space *space, uint32_t run)
{
    uint64_t bytes = (uint64_t)run * MF_CHUNK;
    uint32_t given = atomic_load(&space->head->given);
    if (space->most != 0 && bytes > space->most - (space->claimed < space->most ? space->claimed : space->most)) {
        return MF_NO_CHUNK;
    }
    if (given != space->given_seen) { /* somewhere below the hint */
        space->given_seen = given;
        space->hint = 0;
    }
    for (uint32_t start = space->hint;;) {
        uint32_t index = find(space, start, run);
        if (run > space->count || index > space->count - run || !open_up(space, index + run)) {
            return MF_NO_CHUNK;
        }
        if (take(space, index, run)) {
            space->hint = run == 1 ? index + 1 : space->hint;
            space->claimed += bytes;
            return index;
        }
        start = index + 1;
    }
}

/* ---- giving back ----------------------------------------------------------------------------------------------------- */

static void
wipe(char *memory, size_t size, bool shared)
{
    if (madvise(memory, size, shared ? MADV_REMOVE : MADV_DONTNEED) != 0) {
        memset(memory, 0, size);
    }
}

void
mf_space_give(mf_space *space, uint32_t index, uint32_t run)
{
    uint64_t bytes = (uint64_t)run * MF_CHUNK;
    bool mine = mf_chunk_seat(atomic_load(&space->chunks[index].word)) == space->seat;
    atomic_store(&space->chunks[index].word, mf_chunk_word(MF_CLAIMED, space->seat));
    wipe(mf_chunk_memory(space, index), (size_t)bytes, space->shared);
    for (uint32_t i = run; i-- > 0;) {
        atomic_store(&space->chunks[index + i].large.state, 0);
        atomic_store(&space->chunks[index + i].word, MF_FREE_CHUNK);
    }
    if (mine) {
        space->claimed -= bytes < space->claimed ? bytes : space->claimed;
    }
    atomic_fetch_add(&space->head->given, 1);
}

/* What becomes of one chunk whose process is gone; returns how many chunks that decided about. */
static uint32_t
sweep_one(mf_space *space, uint32_t index, uint32_t word)
{
    uint32_t run = mf_space_run(space, index);
    switch (mf_chunk_kind(word)) {
    case MF_LARGE:
        if (run != 0 && atomic_load(&space->chunks[index].large.state) != 0) {
            return run;
        }
        mf_space_give(space, index, run != 0 ? run : 1);
        return run != 0 ? run : 1;
    case MF_SLAB:
        atomic_store(&space->chunks[index].word, mf_chunk_word(MF_SLAB, 0));
        atomic_fetch_add(&space->head->orphans, 1);
        return 1;
    default: mf_space_give(space, index, 1); return 1;
    }
}

void
mf_space_sweep(mf_space *space, bool (*alive)(void *, uint32_t), void *data)
{
    if (space->base == NULL) {
        return;
    }
    for (uint32_t index = 0, top = mf_space_top(space); index < top;) {
        uint32_t word = atomic_load(&space->chunks[index].word), seat = mf_chunk_seat(word);
        uint32_t run = mf_space_run(space, index);
        bool orphan = mf_chunk_kind(word) == MF_SLAB && seat == 0;
        if (word == MF_FREE_CHUNK || orphan || (seat != 0 && alive(data, seat))) {
            index += run != 0 ? run : 1;
        } else {
            index += sweep_one(space, index, word);
        }
    }
}
