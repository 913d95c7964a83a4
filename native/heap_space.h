/* A heap's range of addresses, in chunks of 64 KiB: which are free, and which process has the others.
 *
 * The range begins with what says so; each process that has it mapped takes and gives back chunks by itself, with one
 * atomic store each: a process that is killed at any point leaves at worst chunks that `mf_space_sweep` finds.
 *
 * A worker may write what it likes into a shared range.  So whatever is read from it is read once, then checked, and
 * nothing in it says where this process writes outside of the range.
 *
 * Free chunks are all zero.  One space is used by one thread at a time.
 */
#ifndef MF_HEAP_SPACE_H
#define MF_HEAP_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MF_CHUNK = 64 * 1024,
    MF_TYPE_NAME = 480,
    MF_TAIL_NAME = 112,
    MF_TYPES = 4096,
    MF_HOST_SEAT = 1
};

#define MF_NO_CHUNK UINT32_MAX

/* What a chunk is used for. */
enum { MF_FREE_CHUNK, MF_CLAIMED, MF_SLAB, MF_LARGE, MF_MORE };

/* One block, or the place for one: in front of the objects of a slab, and in the table for a large block. */
typedef struct mf_note {
    _Atomic uint32_t state, type;
    _Atomic uint64_t count;
    _Atomic uint32_t owner, serial;
} mf_note;

typedef struct mf_chunk {
    _Atomic uint32_t word;    /* what for, and the seat of the process that has it */
    _Atomic uint32_t foreign; /* objects of a slab that other processes have freed */
    _Atomic uint32_t detail;  /* MF_SLAB: the class; MF_LARGE: how many chunks; MF_MORE: which of them */
    uint32_t reserved;
    mf_note large;
} mf_chunk;

typedef struct mf_type_record {
    _Atomic uint32_t ready;
    uint32_t reserved;
    uint64_t size, align, tail_offset, tail_size;
    char name[MF_TYPE_NAME], tail[MF_TAIL_NAME];
} mf_type_record;

typedef struct mf_space_head {
    uint64_t magic;
    uint64_t size;
    _Atomic uint32_t top;            /* chunks from here on were never used */
    _Atomic uint32_t types;          /* how many records are taken */
    _Atomic uint32_t given, foreign; /* count up: chunks given back, objects freed by others */
    _Atomic uint32_t orphans;        /* slabs that nobody has */
    _Atomic uint32_t serial;         /* of the next block */
} mf_space_head;

typedef struct mf_space {
    char *base, *data;
    size_t size;
    uint32_t count; /* of chunks */
    mf_space_head *head;
    mf_type_record *types;
    mf_chunk *chunks;
    bool shared;
    uint32_t seat, hint, given_seen, open; /* open: of a private space: chunks that can be read and written */
    uint64_t claimed, most;                /* bytes that this process has claimed, and may; most 0: no limit */
} mf_space;

/* How much to ask for, to begin with: less where the process's address space is limited. */
size_t mf_space_wish(void);

/* Private memory, of the size that can be had.  False: there is none. */
bool mf_space_reserve(mf_space *space);

/* Memory that is shared with workers: zeroed, and at the same address everywhere. */
bool mf_space_format(mf_space *space, void *memory, size_t size);

/* The same in a worker. */
bool mf_space_join(mf_space *space, void *memory, size_t size, uint32_t seat);

/* Unmaps a private one. */
void mf_space_release(mf_space *space);

/* How many chunks may be in use. */
uint32_t mf_space_top(const mf_space *space);

static inline uint32_t
mf_chunk_kind(uint32_t word)
{
    return word & 7;
}

static inline uint32_t
mf_chunk_seat(uint32_t word)
{
    return word >> 3;
}

static inline uint32_t
mf_chunk_word(uint32_t kind, uint32_t seat)
{
    return kind | seat << 3;
}

static inline char *
mf_chunk_memory(const mf_space *space, uint32_t index)
{
    return space->data + (size_t)index * MF_CHUNK;
}

/* The number of the chunk that an address lies in, MF_NO_CHUNK: in none that was ever used. */
uint32_t mf_space_chunk_of(const mf_space *space, uintptr_t address);

/* How many chunks the large block has that begins at this one, 0: none does. */
uint32_t mf_space_run(const mf_space *space, uint32_t index);

/* Claims `run` chunks in a row: their memory is zero.  MF_NO_CHUNK: there is no room. */
uint32_t mf_space_claim(mf_space *space, uint32_t run);

/* Gives chunks of any process back, and their memory to the system. */
void mf_space_give(mf_space *space, uint32_t index, uint32_t run);

/* Takes from seats that aren't alive what they have: slabs become orphans, and what holds no block is free. */
void mf_space_sweep(mf_space *space, bool (*alive)(void *, uint32_t), void *data);

#endif
