"""Following pointers, and rewriting them, over memory made for it.

Would catch: a pointer that is overlooked, an endless walk in a circle, a crash at a stray or tagged pointer, a path
that names another place than the pointer's, a pointer rewritten wrongly or not restored, a write to read-only memory.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import midflight
from midflight import _core
from tests.core.test_plan import BASE, LOOP, POINTER, WORDS, loop, op

LOW, HIGH = 0x5E5700010000, 0x5E5700020000  # no word of the test's own looks like one of it
BAD, STOP = 1, 2


class Memory:
    """Words at an address, for as long as the test runs."""

    kept: ClassVar[list[Memory]] = []

    def __init__(self, *words: int) -> None:
        self.words = (ctypes.c_uint64 * len(words))(*words)
        self.start = ctypes.addressof(self.words)
        self.end = self.start + 8 * len(words)
        self.kept.append(self)

    def root(self, shape: int = 0, count: int = 1, *, in_place: bool = True) -> tuple[int, int, int, int, bool]:
        return (self.start, self.start, shape, count, in_place)


@pytest.fixture(autouse=True)
def forget():
    yield
    Memory.kept.clear()


def pointer(at: int, shape: int | None = None, path: int = 0) -> bytes:
    return op(POINTER, path=path, at=(at, 0), size=0 if shape is None else shape + 1)


def words(at: int, size: int, path: int = 0) -> bytes:
    return op(WORDS, path=path, at=(at, 0), size=size)


def shapes(*made: tuple[bytes, int] | tuple[bytes, int, int]) -> _core.Shapes:
    return _core.Shapes([(one[0], one[1], one[2] if len(one) > 2 else 0) for one in made])


NODE = (pointer(0, 0, path=1) + pointer(8, path=2), 16)  # struct node { struct node *next; void *data; }


def chain(length: int, data: dict[int, int]) -> list[Memory]:
    """Make a list of nodes, with data at some of them; the last one points to the first."""
    nodes = [Memory(0, data.get(index, 0)) for index in range(length)]
    for index, node in enumerate(nodes):
        node.words[0] = nodes[(index + 1) % length].start
    return nodes


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.dictionaries(st.integers(0, 199), st.integers(LOW, HIGH - 1)))
def test_a_circle_is_walked_once_and_every_pointer_into_the_image_is_found(length, data) -> None:
    nodes = chain(length, data)
    found = _core.trace(shapes(NODE), [nodes[0].root()], LOW, HIGH)
    wanted = {index: value for index, value in data.items() if index < length}
    assert found.objects == length - 1
    assert {value for value, _, _ in found.image} == set(wanted.values())
    assert len(found.image) == len(set(wanted.values()))
    assert not found.limit_reached
    assert found.foreign == []
    for value, root, via in found.image:
        index = min(index for index, there in wanted.items() if there == value)
        step, last = (0, 0, 1, ()), (0, 0, 2, ())
        steps = [*[step] * index, last]
        assert root == 0
        assert list(via) == (steps if len(steps) <= 32 else [*steps[:16], None, *steps[-16:]])


def test_a_pointer_to_itself_ends() -> None:
    node = Memory(0, 0)
    node.words[0] = node.words[1] = node.start
    assert _core.trace(shapes(NODE), [node.root()], LOW, HIGH).objects == 0
    other = Memory(node.start, LOW)
    assert _core.trace(shapes(NODE), [other.root()], LOW, HIGH).objects == 1


def test_loops_and_bases_are_named_by_iteration() -> None:
    inner = loop(2, (16, 0), pointer(8, path=5))
    shape = (op(BASE, at=(8, 0)) + loop(3, (32, 0), inner) + words(104, 12, path=6), 120)
    memory = Memory(*[0] * 30)
    memory.words[15 + 1 + 4 * 2 + 2 + 1] = LOW + 1  # element 1, iteration 2, iteration 1
    memory.words[13] = LOW + 2
    memory.words[14] = LOW + 3  # the words end in the middle of it
    found = _core.trace(shapes(shape), [memory.root(count=2)], LOW, HIGH)
    assert found.image == [(LOW + 2, 0, ((0, 0, 6, ()),)), (LOW + 1, 0, ((0, 1, 5, (2, 1)),))]


def test_words_are_seen_at_aligned_addresses_only_and_not_followed() -> None:
    other = Memory(LOW + 7)
    raw = ctypes.create_string_buffer(48)
    start = ctypes.addressof(raw) + -ctypes.addressof(raw) % 8
    ctypes.memmove(start + 4, struct.pack("=QQQ", LOW + 1, other.start, LOW + 2), 24)
    ctypes.memmove(start + 8, struct.pack("=Q", LOW + 5), 8)
    found = _core.trace(shapes((words(0, 28), 28)), [(start + 4, start + 4, 0, 1)], LOW, HIGH)
    assert [value for value, _, _ in found.image] == [LOW + 5]
    assert found.objects == 0


def test_the_limit_is_said() -> None:
    nodes = chain(50, {49: LOW})
    found = _core.trace(shapes(NODE), [nodes[0].root()], LOW, HIGH, limit=10)
    assert (found.limit_reached, found.objects, found.image) == (True, 10, [])
    assert not _core.trace(shapes(NODE), [nodes[0].root()], LOW, HIGH, limit=49).limit_reached


@pytest.mark.parametrize("stray", [1, 8, 2**47, 2**63 + 8, 2**64 - 1, 2**64 - 8, LOW - 8])
def test_stray_pointers_are_harmless(stray) -> None:
    last = Memory(0, LOW + 9)
    node = Memory(stray, last.start)
    shape = (pointer(0, 0) + pointer(8, 0), 16)
    found = _core.trace(shapes(shape), [node.root()], LOW, HIGH)
    assert [value for value, _, _ in found.image] == [LOW + 9]


def test_what_follows_a_stray_pointer_in_the_same_batch_is_read() -> None:
    good = [Memory(0, LOW + index) for index in range(100)]
    mixed = [pointer for index, one in enumerate(good) for pointer in (one.start, 8 * index + 8)]
    shape = (loop(200, (8, 0), pointer(0, 1)), 1600)
    found = _core.trace(shapes(shape, NODE), [Memory(*mixed).root()], LOW, HIGH)
    assert sorted(value for value, _, _ in found.image) == [LOW + index for index in range(100)]


def test_a_tagged_pointer_is_classified_and_not_followed() -> None:
    other = Memory(LOW + 1, 0)
    found = _core.trace(shapes(NODE), [Memory(other.start + 1, LOW + 3).root()], LOW, HIGH)
    assert [value for value, _, _ in found.image] == [LOW + 3]
    assert found.objects == 0


def test_an_object_that_ends_where_the_memory_ends_is_read() -> None:
    with mmap.mmap(-1, 2 * mmap.PAGESIZE) as mapping:
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        libc = ctypes.CDLL(None)
        assert libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
        place = start + mmap.PAGESIZE - 16
        ctypes.memmove(place, struct.pack("=QQ", place + 8, LOW + 4), 16)  # the next one reaches beyond
        found = _core.trace(shapes(NODE), [Memory(place, 0).root()], LOW, HIGH)
        assert [value for value, _, _ in found.image] == [LOW + 4]


def test_all_elements_of_a_malloc_block_are_looked_at() -> None:
    libc = ctypes.CDLL(None)
    # glibc's own, also where a sanitizer has put its malloc in place of it.
    malloc, free = libc["__libc_malloc"], libc["__libc_free"]
    malloc.restype = ctypes.c_void_p
    for count in (1, 2, 7, 5000, 500_000):
        block = malloc(ctypes.c_size_t(16 * count))
        ctypes.memset(block, 0, 16 * count)
        ctypes.memmove(block + 16 * (count - 1) + 8, struct.pack("=Q", LOW + 7), 8)
        found = _core.trace(shapes(NODE), [Memory(block, 0).root()], LOW, HIGH)
        assert found.image == [(LOW + 7, 0, ((0, 0, 1, ()), (0, count - 1, 2, ())))]
        free(ctypes.c_void_p(block))


def test_foreign_objects_of_bad_shapes_are_reported_and_stops_not_looked_into() -> None:
    leaf = Memory(LOW + 1, 0)
    bad, stop = Memory(0, 0), Memory(leaf.start, 0)
    shape = (pointer(0, 1, path=3) + pointer(8, 2, path=4), 16)
    found = _core.trace(shapes(shape, (*NODE, BAD), (*NODE, STOP)), [Memory(bad.start, stop.start).root()], LOW, HIGH)
    assert found.foreign == [(bad.start, 1, 0, ((0, 0, 3, ()),))]
    assert found.image == []
    stray = _core.trace(shapes(shape, (*NODE, BAD), (*NODE, STOP)), [Memory(2**63, 0).root()], LOW, HIGH)
    assert stray.foreign == []  # nobody can use it


def test_without_following_every_foreign_pointer_is_reported_once() -> None:
    node, block = Memory(1, 2), Memory(3, 4)
    ops = pointer(0, 0, path=1) + pointer(8, None, path=2) + pointer(16, 0) + pointer(24, 0) + words(32, 8)
    root = Memory(node.start, 77, node.start, block.start + 8, node.start)
    found = _core.trace(shapes((ops, 40)), [root.root()], LOW, HIGH, [(block.start, block.end)], follow=False)
    assert found.foreign == [(node.start, 0, 0, ((0, 0, 1, ()),)), (77, -1, 0, ((0, 0, 2, ()),))]
    assert found.objects == 0


def test_pointers_to_roots_and_blocks_are_not_followed() -> None:
    one, two, block = Memory(0, LOW + 1), Memory(0, LOW + 2), Memory(0, LOW + 3)
    one.words[0], two.words[0] = two.start, block.start
    found = _core.trace(shapes(NODE), [one.root(), two.root()], LOW, HIGH, [(block.start, block.end)])
    assert [(value, root) for value, root, _ in found.image] == [(LOW + 1, 0), (LOW + 2, 1)]
    assert found.objects == 0


def test_a_root_read_elsewhere_counts_as_lying_in_its_place() -> None:
    copy, elsewhere = Memory(0, LOW + 1), Memory(0, 0)
    copy.words[0] = elsewhere.start  # to itself, as it was
    found = _core.trace(shapes(NODE), [(copy.start, elsewhere.start, 0, 1)], LOW, HIGH)
    assert found.objects == 0
    assert [value for value, _, _ in found.image] == [LOW + 1]


# ---- patches -------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(LOW - 8, HIGH + 8), min_size=1, max_size=200), st.sets(st.integers(LOW, HIGH - 1)))
def test_pointers_are_rewritten_where_they_lie_and_restored(values, known) -> None:
    nodes = chain(len(values), dict(enumerate(values)))
    before = [bytes(node.words) for node in nodes]
    known |= {value for value in values if value % 3}
    mapping = _core.Mapping(LOW, HIGH, [(value, value + 0x1000000) for value in known if LOW <= value < HIGH])
    patches = _core.trace(shapes(NODE), [nodes[0].root()], LOW, HIGH).patches(mapping)
    inside = [value for value in values if LOW <= value < HIGH]
    unknown = [value for value in inside if value not in known]
    assert sorted(value for value, _, _, _ in patches.dangling) == sorted(unknown)
    assert patches.count == len(inside) - len(unknown)
    patches.apply()
    for node, value in zip(nodes, values, strict=True):
        moved = LOW <= value < HIGH and value in known
        assert node.words[1] == (value + 0x1000000 if moved else value)
    patches.apply()  # once is enough
    patches.undo()
    patches.undo()
    assert [bytes(node.words) for node in nodes] == before


def test_moved_blocks_are_followed_by_pointers_in_foreign_memory() -> None:
    block = Memory(0, 0, 0, 0)  # two elements of 16 bytes
    user = Memory(block.start + 24, block.end)
    mapping = _core.Mapping(
        LOW, HIGH, blocks=[(block.start, block.end, 0x5E5800000000, 16, 32, [(0, 8, 8), (8, 24, 8)])]
    )
    both = (pointer(0, 1) + pointer(8, 1), 16)
    root = Memory(user.start)
    found = _core.trace(shapes((pointer(0, 1), 8), both), [root.root()], LOW, HIGH, [(block.start, block.end)])
    found.patches(mapping).apply()
    assert list(user.words) == [0x5E5800000000 + 32 + 24, 0x5E5800000000 + 64]


def test_roots_that_are_not_in_place_are_left_alone() -> None:
    node = Memory(0, LOW + 1)
    mapping = _core.Mapping(LOW, HIGH, [(LOW + 1, 5)])
    assert _core.trace(shapes(NODE), [node.root(in_place=False)], LOW, HIGH).patches(mapping).count == 0
    assert _core.trace(shapes(NODE), [node.root()], LOW, HIGH).patches(mapping).count == 1


def test_read_only_memory_is_refused_and_nothing_is_written() -> None:
    with mmap.mmap(-1, mmap.PAGESIZE) as mapping:
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        ctypes.memmove(start, struct.pack("=QQ", 0, LOW + 1), 16)
        node = Memory(start, LOW + 1)
        libc = ctypes.CDLL(None)
        assert libc.mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, mmap.PROT_READ) == 0
        patches = _core.trace(shapes(NODE), [node.root()], LOW, HIGH).patches(_core.Mapping(LOW, HIGH, [(LOW + 1, 5)]))
        assert [(value, why) for value, _, _, why in patches.dangling] == [(LOW + 1, "read-only memory")]
        with pytest.raises(midflight.MidflightError):
            patches.apply()
        assert node.words[1] == LOW + 1
        assert libc.mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) == 0


def test_a_pointer_that_has_changed_meanwhile_is_not_overwritten() -> None:
    first, second = Memory(0, LOW + 1), Memory(0, LOW + 1)
    patches = _core.trace(shapes(NODE), [first.root(), second.root()], LOW, HIGH).patches(
        _core.Mapping(LOW, HIGH, [(LOW + 1, 5)])
    )
    second.words[1] = 99
    with pytest.raises(midflight.MidflightError):
        patches.apply()
    assert (first.words[1], second.words[1]) == (LOW + 1, 99)


# ---- what is given -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ops", "size"),
    [
        (pointer(1), 8),
        (pointer(0, 1), 8),
        (op(1, size=8), 8),
        (b"x", 8),
        (op(BASE, at=(4, 0)), 8),
        (op(LOOP, size=2 | 2 << 40) + pointer(0), 8),
        (loop(3, (8, 0), pointer(0)), 16),
    ],
)
def test_shapes_that_are_not_well_formed(ops, size) -> None:
    with pytest.raises(ValueError):
        _core.Shapes([(ops, size, 0)])


def test_roots_that_are_not_well_formed() -> None:
    for root in [(0, 0, 1, 0), (0, 0, 0, 2**62), (0, 8, 0, 1, True)]:
        with pytest.raises(ValueError):
            _core.trace(shapes(NODE), [root], LOW, HIGH)
    with pytest.raises(TypeError):
        _core.trace(shapes(NODE), [5], LOW, HIGH)  # type: ignore[list-item]
