/* See shared.h. */
#include "shared.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GRANULE = 2 * 1024 * 1024 };

static _Atomic uint64_t next_place = MF_ZONE_START;
static _Atomic uint64_t next_number = 1;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER; /* protects the list */
static mf_shared *blocks;

void *
mf_shared_place(size_t size)
{
    uint64_t whole = ((uint64_t)size + 2 * GRANULE - 1) & ~(uint64_t)(GRANULE - 1); /* a gap behind each */
    uint64_t place = atomic_fetch_add(&next_place, whole);
    if (place + whole > MF_ZONE_END) {
        /* Forty-eight terabytes are used up: begin again, where the oldest lie or have lain; MAP_FIXED_NOREPLACE tells. */
        atomic_store(&next_place, MF_ZONE_START);
        place = atomic_fetch_add(&next_place, whole);
    }
    return (void *)(uintptr_t)place;
}

mf_shared *
mf_shared_new(size_t size, mf_failure *failure)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    mf_shared *block = calloc(1, sizeof *block);
    failure->kind = MF_OK;
    if (block == NULL || size > (size_t)(MF_ZONE_END - MF_ZONE_START) / 4) {
        free(block);
        mf_fail(failure, MF_SYSTEM, "no memory for %zu bytes", size);
        return NULL;
    }
    block->size = size == 0 ? page : (size + page - 1) / page * page;
    block->number = atomic_fetch_add(&next_number, 1);
    block->descriptor = memfd_create("midflight:shared", MFD_CLOEXEC);
    block->memory = MAP_FAILED;
    if (block->descriptor >= 0 && ftruncate(block->descriptor, (off_t)block->size) == 0) {
        for (int i = 0; i < 16 && block->memory == MAP_FAILED; i++) {
            block->memory = mmap(mf_shared_place(block->size), block->size, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_FIXED_NOREPLACE, block->descriptor, 0);
        }
    }
    if (block->memory == MAP_FAILED) {
        mf_fail(failure, MF_SYSTEM, "%zu bytes of shared memory can't be had: %s", size, strerror(errno));
        if (block->descriptor >= 0) {
            close(block->descriptor);
        }
        free(block);
        return NULL;
    }
    pthread_rwlock_wrlock(&lock);
    block->next = blocks;
    blocks = block;
    pthread_rwlock_unlock(&lock);
    return block;
}

void
mf_shared_free(mf_shared *block)
{
    pthread_rwlock_wrlock(&lock);
    for (mf_shared **link = &blocks; *link != NULL; link = &(*link)->next) {
        if (*link == block) {
            *link = block->next;
            break;
        }
    }
    pthread_rwlock_unlock(&lock);
    munmap(block->memory, block->size);
    close(block->descriptor);
    free(block);
}

mf_shared *
mf_shared_find(const void *address, size_t size)
{
    uintptr_t start = (uintptr_t)address;
    if (!mf_shared_zone(start)) {
        return NULL; /* as nearly all memory */
    }
    pthread_rwlock_rdlock(&lock);
    mf_shared *found = blocks;
    while (found != NULL && !(start >= (uintptr_t)found->memory && size <= found->size &&
                              start - (uintptr_t)found->memory <= found->size - size)) {
        found = found->next;
    }
    pthread_rwlock_unlock(&lock);
    return found;
}

static void
after_fork_in_child(void)
{
    pthread_rwlock_init(&lock, NULL);
}

__attribute__((constructor)) static void
register_fork_handler(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}
