"""Pointers of every kind, in data that move.

Would catch: a pointer that goes on leading into the old version or into a block that has moved, one that is off by an
element, a refusal that doesn't name the place, a search that doesn't end, memory that is rewritten though it can't be.
"""

from __future__ import annotations

import pytest

import midflight
from tests.carry.conftest import memory_of, said
from tests.lanes import is_there

# ---- into blocks that are made anew ----------------------------------------------------------------------------------

BLOCKS = """
#include <midflight.h>
#if V == 1
struct item { int id; struct item *next, *other; short parts[4]; };
#else
struct item { struct item *other; long more; short parts[4]; struct item *next; int id; };
#endif
struct range { struct item *begin, *middle, *end; short *inside; struct item **chain; };
struct range range;
struct item *ring;
struct item **table;

static struct item *made(int id) { struct item *item = MF_NEW(struct item, 1); item->id = id; return item; }

void fill(int count)
{
    struct item *items = MF_NEW(struct item, count);
    for (int i = 0; i < count; i++) items[i].id = i, items[i].other = &items[count - 1 - i];
    items[3].parts[2] = 77;
    range = (struct range){items, items + count / 2, items + count, &items[3].parts[2], &items[4].next};
    struct item *last = ring = made(0);
    for (int i = 1; i < 1000; i++) last = last->next = made(i);
    last->next = ring;
    table = MF_NEW(struct item *, 3);
    table[0] = ring->next, table[1] = range.middle, table[2] = range.end;
    items[4].next = ring;
}

/* Each digit is one thing that is right. */
int check(int count)
{
    struct item *items = range.begin, *at = ring;
    long sum = 0;
    for (int i = 0; i < 1000; i++, at = at->next) sum += at->id;
    return (range.middle == items + count / 2 && range.end == items + count) +
           10 * (range.inside == &items[3].parts[2] && *range.inside == 77) +
           100 * (at == ring && sum == 499500) +
           1000 * (items[1].other == &items[count - 2] && items[1].other->id == count - 2) +
           10000 * (table[0] == ring->next && table[1] == range.middle && table[2] == range.end) +
           100000 * (range.chain == &items[4].next && *range.chain == ring);
}
"""


def test_pointers_follow_their_blocks(load, compiled) -> None:
    one, two = (compiled(BLOCKS, f"-DV={number}") for number in (1, 2))
    module = load(one)
    module.fill(20)
    assert module.check(20) == 111111
    for path in (two, one, two):
        report = said(midflight.swap(module, path))
        assert report["1001 blocks of struct item"].startswith("migrated")
        assert module.check(20) == 111111


PART = """
#include <midflight.h>
struct item { int id; GONE int last; };
struct item *items;
int *inside;
void fill(void) { items = MF_NEW(struct item, 5); inside = &items[2].AT; }
int *get(void) { return inside; }
int version(void) { return V; }
"""


def test_a_pointer_into_a_part_that_is_gone_is_refused(load, compiled) -> None:
    module = load(compiled(PART, "-DV=1", "-DGONE=int gone;", "-DAT=gone"))
    module.fill()
    before = memory_of(module)
    with pytest.raises(midflight.StateError) as caught:
        midflight.swap(module, compiled(PART, "-DV=2", "-DGONE=", "-DAT=id"))
    assert len(caught.value.refusals) == 1
    assert caught.value.refusals[0].startswith("inside points to "), caught.value.refusals
    assert module.version() == 1
    assert memory_of(module) == before


# ---- into the old version --------------------------------------------------------------------------------------------

IMAGE = """
#include <stdint.h>
#include <string.h>
#include <midflight.h>
#if V == 2
long moved_up[5];
int other(int n) { return -n; }
#endif
int plus(int n) { return n + V; }
#ifndef WITHOUT
int minus(int n) { return n - V; }
int target[10];
#else
int unrelated[3];
#endif
int numbers[10];
short odd[5]; /* nothing can begin where it ends: it would not be aligned */
struct holder {
    int (*apply)(int);
    int *number;
    short *end;
    const char *text;
    uintptr_t word;
    unsigned char raw[16];
} holder;
union either { long number; void *pointer; } either;
struct node { int (*apply)(int); struct node *next; long pad[4]; } *heap;
struct node *blocks;
char *tail;

void fill(int on_heap)
{
    holder = (struct holder){plus, &numbers[3], odd + 5, "some text", (uintptr_t)&numbers[4], {0}};
    memcpy(holder.raw, &(int *){&numbers[5]}, 8);
    either.pointer = plus;
    for (int i = 0; i < 3; i++) numbers[i + 3] = i + 40;
    blocks = MF_NEW(struct node, 2);
    blocks[0] = (struct node){plus, &blocks[1], {0}};
    blocks[1] = (struct node){plus, &blocks[0], {0}};
    for (int i = 0; on_heap && i < 5; i++) {
        struct node *node = calloc(1, sizeof *node);
        *node = (struct node){plus, heap, {0}};
        heap = node;
    }
    if (heap) heap->next->next->next->next->next = heap; /* a ring */
    tail = strchr(holder.text, 't');
}
#ifndef WITHOUT
void dangle(void) { holder.apply = minus; holder.number = &target[2]; }
void dangle_in_block(void) { blocks[1].apply = minus; }
void dangle_on_heap(void) { heap->next->next->apply = minus; }
#endif
int check(void)
{
    int right = holder.apply == plus && holder.number == &numbers[3] && holder.end == odd + 5;
    right += 10 * (strcmp(holder.text, "some text") == 0 && strcmp(tail, "text") == 0);
    right += 100 * (holder.word == (uintptr_t)&numbers[4] && *(int *)holder.word == 41);
    int *raw;
    memcpy(&raw, holder.raw, 8);
    right += 1000 * (raw == &numbers[5] && *raw == 42);
    right += 10000 * (either.pointer == (void *)plus);
    right += 100000 * (blocks[0].next->apply == plus && blocks[1].next == blocks);
    for (struct node *at = heap; at && at->next != heap; at = at->next) if (at->apply != plus) return -1;
    return right;
}
int apply(int n) { return holder.apply(n); }
int apply_heap(int n) { return heap ? heap->next->next->apply(n) : 0; }
int version(void) { return V; }
"""


def test_pointers_into_the_old_version_are_translated(load, lane, compiled) -> None:
    one, two = (compiled(IMAGE, f"-DV={number}") for number in (1, 2))
    module = load(one, compat="any")
    module.fill(int(lane == "here"))
    assert module.check() == 111111
    for path in (two, one, two):
        place = next(one.path for one in midflight.versions(module) if one.status == "current")
        report = midflight.swap(module, path)
        assert report.old.status == "unloaded"
        assert not is_there(place)
        assert module.check() == 111111
        assert module.apply(10) == 10 + module.version()
        assert module.apply_heap(10) == (10 + module.version() if lane == "here" else 0)


@pytest.mark.parametrize(
    ("call", "refusals"),
    [
        (
            "dangle",
            [
                "holder.apply points to the function minus, which the new version doesn't have",
                "holder.number points to the variable target + 8, which the new version doesn't have",
            ],
        ),
        ("dangle_in_block", ["blocks[1].apply points to the function minus, which the new version doesn't have"]),
        (
            "dangle_on_heap",
            ["heap->next->next->apply points to the function minus, which the new version doesn't have"],
        ),
    ],
)
def test_what_dangles_is_refused(load, lane, compiled, call, refusals) -> None:
    if lane == "worker" and call == "dangle_on_heap":
        return  # there everything on the heap is refused: see test_matrix
    module = load(compiled(IMAGE, "-DV=1"), compat="any")
    module.fill(int(lane == "here"))
    getattr(module, call)()
    before = memory_of(module)
    with pytest.raises(midflight.StateError) as caught:
        midflight.swap(module, compiled(IMAGE, "-DV=2", "-DWITHOUT"))
    assert sorted(caught.value.refusals) == refusals
    assert module.version() == 1
    assert memory_of(module) == before


@pytest.mark.here_only("a worker's version ends with its process, and so there is nothing to keep")
@pytest.mark.parametrize("call", ["dangle", "dangle_in_block", "dangle_on_heap"])
def test_what_dangles_keeps_its_version(load, compiled, call) -> None:
    module = load(compiled(IMAGE, "-DV=1"), compat="any", on_dangling="keep")
    module.fill(1)
    getattr(module, call)()
    report = midflight.swap(module, compiled(IMAGE, "-DV=2", "-DWITHOUT"))
    kept = [row for row in report.state if row.what == "kept"]
    assert kept, report.state
    assert report.old.status != "unloaded"
    assert is_there(report.old.path)
    assert any(row.name in " ".join(report.old.held_by) for row in kept), report.old.held_by
    called = {"dangle": module.apply, "dangle_in_block": module.version, "dangle_on_heap": module.apply_heap}[call]
    assert called(10) == 10 - 1 if call != "dangle_in_block" else module.version() == 2
    midflight.rollback(module)
    assert called(10) == 9 if call != "dangle_in_block" else module.version() == 1
    assert report.new.status == "unloaded", "nothing points there"
    assert report.old.status != "unloaded", "the pointers still do"


def test_a_worker_refuses_what_would_be_kept(compiled) -> None:
    module = midflight.load(compiled(IMAGE, "-DV=1"), compat="any", on_dangling="keep", lane="worker")
    module.fill(0)
    module.dangle()
    with pytest.raises(midflight.StateError, match="the function minus"):
        midflight.swap(module, compiled(IMAGE, "-DV=2", "-DWITHOUT"))
    assert module.check() % 10 == 0
    assert module.apply(10) == 9


# ---- virtual functions -----------------------------------------------------------------------------------------------

SHAPES = """
#include <midflight.h>
#include <new>
struct shape { virtual int sides(); int size; };
struct square : shape { int sides() override; };
int shape::sides() { return 0; }
int square::sides() { return 4 * V; }
struct drawing { shape *first; int count; };
static drawing drawing_of;
extern "C" {
void fill()
{
    drawing_of.first = new (malloc(sizeof(square))) square;
    drawing_of.first->size = 3;
    drawing_of.count = 1;
}
int sides() { return drawing_of.first->sides() * 10 + drawing_of.first->size; }
}
"""


@pytest.mark.here_only("a worker's malloc memory ends with it")
def test_objects_with_virtual_functions_call_the_new_ones(load, compiled) -> None:
    module = load(compiled(SHAPES, "-DV=1", suffix=".cc"))
    module.fill()
    assert module.sides() == 43
    report = midflight.swap(module, compiled(SHAPES, "-DV=2", suffix=".cc"))
    assert report.old.status == "unloaded"
    assert module.sides() == 83


# ---- memory that can't be rewritten ----------------------------------------------------------------------------------

READ_ONLY = """
#include <sys/mman.h>
#include <midflight.h>
int plus(int n) { return n + V; }
struct node { int (*apply)(int); long pad[5]; } *node;
void fill(void)
{
    node = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    node->apply = plus;
}
void protect(int on) { mprotect(node, 4096, on ? PROT_READ : PROT_READ | PROT_WRITE); }
int apply(int n) { return node->apply(n); }
int version(void) { return V; }
"""


@pytest.mark.here_only("a worker's mmap memory ends with it")
def test_read_only_memory_is_refused_and_left_alone(load, compiled) -> None:
    module = load(compiled(READ_ONLY, "-DV=1"))
    new = compiled(READ_ONLY, "-DV=2")
    module.fill()
    module.protect(1)
    with pytest.raises(midflight.StateError, match="node->apply points into the old version, and can't be corrected"):
        midflight.swap(module, new)
    assert (module.version(), module.apply(1)) == (1, 2)
    module.protect(0)
    midflight.swap(module, new)
    assert (module.version(), module.apply(1)) == (2, 3)


STRAY = """
#include <stdint.h>
struct node { int (*apply)(int); struct node *next; long pad[4]; };
struct node *stray;
void set(uint64_t value) { stray = (struct node *)value; }
uint64_t get(void) { return (uint64_t)stray; }
int version(void) { return V; }
"""


@pytest.mark.here_only("in a worker each pointer to its memory is refused")
@pytest.mark.parametrize("value", [1, 0x1000, 0x7FFFFFFFF000, 0xFFFFFFFFFFFFFFF8, 0x8000000000000000])
def test_a_pointer_to_nowhere_is_carried_as_it_is(load, compiled, value) -> None:
    module = load(compiled(STRAY, "-DV=1"))
    module.set(value)
    midflight.swap(module, compiled(STRAY, "-DV=2"))
    assert (module.version(), module.get()) == (2, value)
