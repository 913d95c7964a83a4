/* A module's heap: what is made, resized, freed, held, shared with processes that are killed, and full of nonsense.
 *
 * Would catch memory that isn't zero or not aligned, a block given twice, a free that does harm, a process that dies and
 * takes memory with it, and a worker that leads its host out of the heap. */
#include "heap.h"
#include "module.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { SMALL_HEAP = 16 << 20, THREADS = 4, ROUNDS = 4000 };

static const mf_block_type INTS = {.size = 4, .align = 4, .name = "int"};
static const mf_block_type PAIRS = {.size = 24, .align = 8, .name = "struct pair"};

static void *
make(mf_heap *heap, const mf_block_type *type, uint64_t count, uint32_t owner)
{
    void *made;
    CHECK(mf_heap_make(heap, type, count, owner, &made) == MF_HEAP_OK && made != NULL);
    return made;
}

static bool
is_zero(const char *memory, size_t size)
{
    return size == 0 || (memory[0] == 0 && memcmp(memory, memory + 1, size - 1) == 0);
}

static size_t
count_of(mf_heap *heap)
{
    size_t count;
    free(mf_heap_list(heap, &count));
    return count;
}

static void *
shared_memory(void)
{
    void *memory = mmap(NULL, SMALL_HEAP, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* ---- one process ------------------------------------------------------------------------------------------------------- */

static void
test_sizes(void)
{
    mf_heap *heap = mf_heap_new();
    uintptr_t low, high;
    CHECK(!mf_heap_range(heap, &low, &high));
    for (uint64_t bytes = 0; bytes < 300000; bytes += bytes / 7 + 1) {
        for (uint64_t align = 1; align <= 4096; align *= 4) {
            mf_block_type type = {.size = 1, .align = align, .name = "char"};
            char *one = make(heap, &type, bytes, 1);
            CHECK((uintptr_t)one % 16 == 0 && (uintptr_t)one % align == 0 && is_zero(one, bytes));
            CHECK(bytes < 1024 || (uintptr_t)one % 64 == 0);
            memset(one, 0xff, bytes);
            char *other = make(heap, &type, bytes, 1);
            CHECK(other != one && is_zero(other, bytes));
            CHECK(mf_heap_discard(heap, one, 1) == MF_HEAP_OK);
            CHECK(mf_heap_discard(heap, one, 1) == MF_HEAP_NO_BLOCK);
            one = make(heap, &type, bytes, 1);
            CHECK(is_zero(one, bytes));
            mf_heap_discard(heap, one, 1);
            mf_heap_discard(heap, other, 1);
        }
    }
    CHECK(count_of(heap) == 0);
    mf_heap_free(heap);
}

static void
test_resize(void)
{
    mf_heap *heap = mf_heap_new();
    unsigned char *block = make(heap, &PAIRS, 1, 3);
    uint64_t count = 1, sizes[] = {2, 5, 100, 4000, 40000, 10, 11, 3000, 0, 1};
    memset(block, 1, 24);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *place = block;
        CHECK(mf_heap_resize(heap, &place, &PAIRS, sizes[i], 3) == MF_HEAP_OK);
        block = place;
        uint64_t kept = count < sizes[i] ? count : sizes[i];
        for (uint64_t at = 0; at < sizes[i] * 24; at++) {
            CHECK(block[at] == (at < kept * 24));
        }
        memset(block, 1, sizes[i] * 24);
        count = sizes[i];
        mf_block found;
        CHECK(mf_heap_find(heap, (uintptr_t)block, &found) && found.count == count && found.owner == 3);
    }
    void *place = block;
    CHECK(mf_heap_resize(heap, &place, &PAIRS, UINT64_MAX / 8, 3) == MF_HEAP_NO_ROOM && place == block);
    CHECK(mf_heap_resize(heap, &place, &INTS, 1, 3) == MF_HEAP_BAD_TYPE && place == block);
    place = block + 8;
    CHECK(mf_heap_resize(heap, &place, &PAIRS, 1, 3) == MF_HEAP_NO_BLOCK);
    mf_heap_free(heap);
}

static void
test_wrong_pointers(void)
{
    mf_heap *heap = mf_heap_new();
    char local, *block = make(heap, &PAIRS, 10, 1), *python = make(heap, &PAIRS, 10, MF_PYTHON);
    char *large = make(heap, &PAIRS, 100000, 1);
    uintptr_t low, high;
    CHECK(mf_heap_range(heap, &low, &high));
    void *wrong[] = {&local, NULL, block + 1, block - 1, block + 24, large + 24, (void *)low, (void *)(low + 4096),
                     (void *)(high - 1), (void *)high, (void *)UINTPTR_MAX, large + 200000};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(mf_heap_discard(heap, wrong[i], 1) == MF_HEAP_NO_BLOCK);
    }
    CHECK(mf_heap_discard(heap, python, 1) == MF_HEAP_NOT_YOURS && count_of(heap) == 3);
    CHECK(mf_heap_discard(heap, python, MF_PYTHON) == MF_HEAP_OK);
    mf_heap_free(heap);
}

static void
test_find(void)
{
    mf_heap *heap = mf_heap_new();
    char *small = make(heap, &PAIRS, 3, 1), *large = make(heap, &PAIRS, 30000, 2);
    mf_block found;
    for (int i = 0; i <= 72; i++) {
        CHECK(mf_heap_find(heap, (uintptr_t)small + (uintptr_t)i, &found) && found.address == (uintptr_t)small);
    }
    CHECK(mf_heap_find(heap, (uintptr_t)large + 720000, &found) && found.address == (uintptr_t)large && found.owner == 2);
    CHECK(!mf_heap_find(heap, (uintptr_t)large + 720001, &found));
    char name[MF_TYPE_NAME], tail[MF_TAIL_NAME];
    mf_block_type type;
    CHECK(mf_heap_type(heap, found.type, &type, name, tail) && strcmp(type.name, "struct pair") == 0 && type.size == 24);
    CHECK(mf_heap_types(heap) == 1 && !mf_heap_type(heap, 1, &type, name, tail));
    mf_heap_free(heap);
}

static void
test_tail(void)
{
    mf_heap *heap = mf_heap_new();
    mf_block_type packet = {.size = 8, .align = 8, .tail_offset = 4, .tail_size = 4, .name = "struct packet", .tail = "items"};
    void *block = make(heap, &packet, 0, 1);
    mf_block found;
    CHECK(mf_heap_find(heap, (uintptr_t)block, &found) && found.size == 8 && found.count == 0);
    CHECK(mf_heap_resize(heap, &block, &packet, 10, 1) == MF_HEAP_OK);
    CHECK(mf_heap_find(heap, (uintptr_t)block, &found) && found.size == 44 && found.count == 10);
    mf_heap_free(heap);
}

static void
test_hold(void)
{
    mf_heap *heap = mf_heap_new();
    for (uint64_t count = 10; count <= 100000; count *= 100) {
        int *block = make(heap, &INTS, count, 1);
        mf_block found;
        CHECK(mf_heap_find(heap, (uintptr_t)block, &found));
        CHECK(!mf_heap_hold(heap, (uintptr_t)block, found.serial + 1));
        CHECK(mf_heap_hold(heap, (uintptr_t)block, found.serial) && mf_heap_hold(heap, (uintptr_t)block, found.serial));
        block[3] = 7;
        CHECK(mf_heap_discard(heap, block, 1) == MF_HEAP_OK && mf_heap_discard(heap, block, 1) == MF_HEAP_NO_BLOCK);
        CHECK(!mf_heap_hold(heap, (uintptr_t)block, found.serial) && count_of(heap) == 0);
        mf_heap_let_go(heap, (uintptr_t)block);
        CHECK(make(heap, &INTS, count, 1) != block && block[3] == 7);
        mf_heap_let_go(heap, (uintptr_t)block);
        CHECK(make(heap, &INTS, count, 1) == (void *)block && block[3] == 0);
        mf_heap_drop(heap, 1);
    }
    mf_heap_free(heap);
}

static void
test_versions(void)
{
    mf_heap *heap = mf_heap_new();
    mf_block_type renamed = PAIRS;
    void *first = make(heap, &PAIRS, 5, 1), *second = make(heap, &PAIRS, 5, 2);
    make(heap, &PAIRS, 5, MF_PYTHON);
    renamed.name = "struct couple";
    CHECK(mf_heap_rename(heap, first, &renamed) == MF_HEAP_OK && mf_heap_rename(heap, first, &INTS) == MF_HEAP_BAD_TYPE);
    CHECK(mf_heap_condemn(heap, first, true, 1) == MF_HEAP_OK && count_of(heap) == 2);
    CHECK(mf_heap_condemn(heap, first, false, 1) == MF_HEAP_OK && count_of(heap) == 3);
    CHECK(mf_heap_condemn(heap, first, true, 1) == MF_HEAP_OK);
    mf_heap_retire(heap, 2, false);
    CHECK(mf_heap_condemn(heap, first, true, 1) == MF_HEAP_OK);
    mf_heap_retire(heap, 1, false);
    CHECK(mf_heap_condemn(heap, first, true, 1) == MF_HEAP_NO_BLOCK && count_of(heap) == 2);
    mf_heap_retire(heap, 2, true);
    CHECK(mf_heap_discard(heap, second, 2) == MF_HEAP_NO_BLOCK && count_of(heap) == 1);
    mf_heap_free(heap);
}

static void
test_types_run_out(void)
{
    mf_heap *heap = mf_heap_new();
    char name[32], longest[MF_TYPE_NAME + 1];
    mf_block_type type = INTS;
    void *made;
    type.name = name;
    for (int i = 0; i < MF_TYPES; i++) {
        snprintf(name, sizeof name, "type %d", i);
        CHECK(mf_heap_discard(heap, make(heap, &type, 1, 1), 1) == MF_HEAP_OK);
    }
    CHECK(mf_heap_make(heap, &INTS, 1, 1, &made) == MF_HEAP_NO_ROOM && made == NULL);
    make(heap, &type, 1, 1);
    memset(longest, 'x', sizeof longest);
    longest[MF_TYPE_NAME] = '\0';
    type.name = longest;
    CHECK(mf_heap_make(heap, &type, 1, 1, &made) == MF_HEAP_BAD_TYPE);
    mf_heap_free(heap);
}

/* All there is can be used, again and again. */
static void
test_exhausted(void)
{
    void *memory = shared_memory(), *made;
    mf_heap *heap = mf_heap_new();
    CHECK(mf_heap_share(heap, memory, SMALL_HEAP));
    size_t first = 0;
    for (int round = 0; round < 3; round++) {
        size_t count = 0;
        while (mf_heap_make(heap, &PAIRS, round == 1 ? 4000 : 4, 1, &made) == MF_HEAP_OK) {
            CHECK(is_zero(made, 96));
            memset(made, 1, 96);
            count++;
        }
        CHECK(round != 2 || count == first);
        first = round == 0 ? count : first;
        CHECK(count_of(heap) == count && count > 50);
        mf_heap_drop(heap, 1);
        CHECK(count_of(heap) == 0);
    }
    mf_heap_free(heap);
    munmap(memory, SMALL_HEAP);
}

/* ---- threads ----------------------------------------------------------------------------------------------------------- */

typedef struct crowd {
    mf_heap *heap;
    pthread_barrier_t start;
} crowd;

static void *
make_and_free(void *data)
{
    crowd *all = data;
    unsigned char mine = (unsigned char)(uintptr_t)pthread_self(), *kept[16] = {NULL};
    unsigned random = (unsigned)(uintptr_t)pthread_self() >> 12;
    size_t sizes[16];
    pthread_barrier_wait(&all->start);
    for (int i = 0; i < ROUNDS; i++) {
        random = random * 1664525u + 1013904223u;
        unsigned which = random >> 28;
        if (kept[which] != NULL) {
            for (size_t at = 0; at < sizes[which]; at++) {
                CHECK(kept[which][at] == mine);
            }
            CHECK(mf_heap_discard(all->heap, kept[which], 1) == MF_HEAP_OK);
        }
        sizes[which] = (random >> 8) % 3000 * 4;
        kept[which] = make(all->heap, &INTS, sizes[which] / 4, 1);
        memset(kept[which], mine, sizes[which]);
    }
    return NULL;
}

static void
test_threads(void)
{
    crowd all = {.heap = mf_heap_new()};
    pthread_t threads[THREADS];
    pthread_barrier_init(&all.start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, make_and_free, &all) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(count_of(all.heap) <= 16 * THREADS);
    pthread_barrier_destroy(&all.start);
    mf_heap_free(all.heap);
}

/* ---- several processes ------------------------------------------------------------------------------------------------- */

/* A worker that makes and frees until it is killed. */
static _Noreturn void
work(void *memory, uint32_t seat, int ready)
{
    mf_heap *heap = mf_heap_join(memory, SMALL_HEAP, seat);
    void *kept[64] = {NULL};
    unsigned random = seat;
    for (uint64_t i = 0;; i++) {
        random = random * 1664525u + 1013904223u;
        void **one = &kept[random >> 26];
        if (*one != NULL) {
            mf_heap_discard(heap, *one, seat);
        }
        mf_heap_make(heap, &INTS, (random >> 4) % 40000, seat, one);
        if (i == 200) {
            CHECK(write(ready, "", 1) == 1);
        }
    }
}

static pid_t
start_worker(void *memory, uint32_t seat)
{
    int ends[2];
    char said;
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        work(memory, seat, ends[1]);
    }
    CHECK(read(ends[0], &said, 1) == 1);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

/* Whatever a worker was doing, its host goes on, and gets all of the memory back. */
static void
test_killed(void)
{
    void *memory = shared_memory(), *made;
    mf_heap *heap = mf_heap_new();
    CHECK(mf_heap_share(heap, memory, SMALL_HEAP));
    unsigned char *own = make(heap, &INTS, 1000, MF_PYTHON);
    memset(own, 5, 4000);
    for (int round = 0; round < 40; round++) {
        uint32_t first = mf_heap_seat(heap), second = mf_heap_seat(heap);
        pid_t one = start_worker(memory, first), other = start_worker(memory, second);
        for (int i = 0; i < 50; i++) {
            if (mf_heap_make(heap, &INTS, 50, 1, &made) == MF_HEAP_OK) {
                mf_heap_discard(heap, made, 1);
            }
        }
        kill(one, SIGKILL);
        waitpid(one, NULL, 0);
        mf_heap_left(heap, first);
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
        mf_heap_left(heap, second);
        mf_heap_drop(heap, second);
        CHECK(count_of(heap) == 1);
    }
    size_t bytes = 0;
    for (; mf_heap_make(heap, &INTS, 100000, 1, &made) == MF_HEAP_OK; bytes += 400000) {
        CHECK(is_zero(made, 400000));
    }
    CHECK(bytes > SMALL_HEAP / 2);
    for (int i = 0; i < 4000; i++) {
        CHECK(own[i] == 5);
    }
    mf_heap_free(heap);
    munmap(memory, SMALL_HEAP);
}

/* A block that one process made is freed by another; its memory comes back to the first. */
static void
test_freed_by_others(void)
{
    void *memory = shared_memory();
    mf_heap *host = mf_heap_new();
    CHECK(mf_heap_share(host, memory, SMALL_HEAP));
    mf_heap *worker = mf_heap_join(memory, SMALL_HEAP, mf_heap_seat(host));
    CHECK(worker != NULL);
    for (int round = 0; round < 100; round++) {
        void *made[500];
        for (int i = 0; i < 500; i++) {
            made[i] = make(host, &PAIRS, (uint64_t)(i % 50), 1);
        }
        for (int i = 0; i < 500; i++) {
            CHECK(mf_heap_discard(worker, made[i], 1) == MF_HEAP_OK);
        }
    }
    char *large = make(host, &PAIRS, 100000, 1);
    CHECK(mf_heap_discard(worker, large, 1) == MF_HEAP_OK && count_of(host) == 0);
    mf_heap_free(worker);
    mf_heap_free(host);
    munmap(memory, SMALL_HEAP);
}

/* The child of a fork has Python's blocks, and what is held, in memory of its own. */
static void
test_copy(void)
{
    void *memory = shared_memory();
    char name[] = "/tmp/heap-XXXXXX";
    int descriptor = mkstemp(name);
    CHECK(descriptor >= 0 && unlink(name) == 0 && ftruncate(descriptor, SMALL_HEAP) == 0);
    mf_heap *heap = mf_heap_new();
    CHECK(mf_heap_share(heap, memory, SMALL_HEAP));
    int *own = make(heap, &INTS, 10, MF_PYTHON), *large = make(heap, &INTS, 100000, MF_PYTHON), *held = make(heap, &INTS, 10, 1);
    int *library = make(heap, &INTS, 10, 1);
    mf_block found;
    own[9] = large[99999] = held[1] = library[0] = 4;
    CHECK(mf_heap_find(heap, (uintptr_t)held, &found) && mf_heap_hold(heap, (uintptr_t)held, found.serial));
    CHECK(mf_heap_copy(heap, descriptor));
    CHECK(mmap(memory, SMALL_HEAP, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0) == memory);
    mf_heap_copied(heap);
    CHECK(own[9] == 4 && large[99999] == 4 && held[1] == 4 && library[0] == 0 && count_of(heap) == 2);
    mf_heap_let_go(heap, (uintptr_t)held);
    CHECK(is_zero(make(heap, &INTS, 10, 1), 40));
    close(descriptor);
    mf_heap_free(heap);
    munmap(memory, SMALL_HEAP);
}

/* ---- a hostile worker --------------------------------------------------------------------------------------------------- */

static void
use_all(mf_heap *heap, uintptr_t low, unsigned random)
{
    mf_block found;
    size_t count;
    void *made, *place = (void *)(low + random % SMALL_HEAP);
    mf_block *all = mf_heap_list(heap, &count);
    for (size_t i = 0; i < count && count != SIZE_MAX; i++) {
        CHECK(all[i].address >= low && all[i].size <= SMALL_HEAP && all[i].address + all[i].size <= low + SMALL_HEAP);
    }
    free(all);
    mf_heap_find(heap, (uintptr_t)place, &found);
    mf_heap_discard(heap, place, 1);
    mf_heap_resize(heap, &place, &PAIRS, random % 1000, 1);
    if (mf_heap_make(heap, &PAIRS, random % 5000, 1, &made) == MF_HEAP_OK) {
        CHECK((uintptr_t)made >= low && (uintptr_t)made < low + SMALL_HEAP);
        mf_heap_discard(heap, made, 1);
    }
    mf_heap_let_go(heap, (uintptr_t)place);
    mf_heap_retire(heap, random % 4, false);
    mf_heap_left(heap, 7);
    mf_heap_drop(heap, 3);
}

/* Where a worker may do most harm: the head, the first types, the chunk table, the notes of the first slabs. */
static void
write_nonsense(char *memory, unsigned random)
{
    const size_t types = 4096, chunks = (types + MF_TYPES * sizeof(mf_type_record) + 4095) / 4096 * 4096;
    const size_t data = (chunks / MF_CHUNK + 1) * MF_CHUNK;
    const struct {
        size_t at, size;
    } parts[] = {{16, 32}, {types, 2000}, {chunks, 200 * sizeof(mf_chunk)}, {data, 1 << 20}};
    unsigned part = random >> 30, place = random >> 4;
    uint32_t value = random & 1 ? random >> 24 & 15 : random & 2 ? random : random >> 16;
    memcpy(memory + parts[part].at + place % parts[part].size / 4 * 4, &value, sizeof value);
}

/* Guarded on both sides by memory that can't be touched. */
static char *
guarded_memory(void)
{
    char *memory = mmap(NULL, 3 * (size_t)SMALL_HEAP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(mmap(memory + SMALL_HEAP, SMALL_HEAP, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          memory + SMALL_HEAP);
    return memory;
}

static void
test_hostile(void)
{
    char *guarded = guarded_memory(), *memory = guarded + SMALL_HEAP;
    unsigned random = 1;
    for (int round = 0; round < 60; round++) {
        memset(memory, 0, SMALL_HEAP);
        mf_heap *heap = mf_heap_new();
        CHECK(mf_heap_share(heap, memory, SMALL_HEAP));
        for (uint64_t i = 0; i < 200; i++) {
            make(heap, &PAIRS, i * i % 1500, i % 3);
        }
        for (int change = 0; change < 3000; change++) {
            random = random * 1664525u + 1013904223u;
            write_nonsense(memory, random);
            if (change % 20 == 0) {
                use_all(heap, (uintptr_t)memory, random);
            }
        }
        mf_heap_free(heap);
    }
    munmap(guarded, 3 * (size_t)SMALL_HEAP);
}

/* ---- what the library sees ---------------------------------------------------------------------------------------------- */

static void
test_module(void)
{
    mf_heap *heap = mf_heap_new();
    mf_module module;
    mf_module_init(&module, heap, "game", 4, NULL);
    struct midflight_module *face = &module.face;
    struct midflight_type type = {"int", 4, 4, NULL, 0, 0}, other = {"double", 8, 8, NULL, 0, 0};
    int *block = face->allocate(face, &type, 10);
    CHECK(block != NULL && face->version == 1 && *face->should_yield == 0);
    CHECK(face->resize(face, block, &other, 4) == NULL && face->allocate(face, &type, SIZE_MAX) == NULL);
    face->release(face, NULL);
    face->release(face, block);
    face->release(face, block);
    face->release(face, &heap);
    module.should_yield = 1;
    CHECK(*face->should_yield == 1);
    mf_heap_free(heap);
}

int
main(void)
{
    test_sizes();
    test_resize();
    test_wrong_pointers();
    test_find();
    test_tail();
    test_hold();
    test_versions();
    test_types_run_out();
    test_exhausted();
    test_threads();
    test_killed();
    test_freed_by_others();
    test_copy();
    test_hostile();
    test_module();
    return 0;
}
