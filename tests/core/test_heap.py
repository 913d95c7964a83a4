"""The core's heap against a model, in private and in shared memory.

Would catch a sequence of making, resizing, freeing and looking after which a block isn't what it should be.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from midflight import _core

KINDS = {
    "char": ("char", 1, 1, None, 0, 0),
    "pair": ("struct pair", 24, 8, None, 0, 0),
    "wide": ("struct wide", 64, 64, None, 0, 0),
    "flexible": ("struct flexible", 8, 8, "items", 6, 3),
}
COUNTS = st.one_of(st.integers(0, 40), st.integers(0, 5000), st.integers(0, 60_000))
MODEL_SETTINGS = settings(max_examples=60, stateful_step_count=60, deadline=None)


def bytes_of(kind: tuple, count: int) -> int:
    return max(kind[1], kind[4] + count * kind[5]) if kind[3] else count * kind[1]


class HeapModel(RuleBasedStateMachine):
    """What each live block holds, by its address."""

    shared = False
    blocks = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.heap = _core.Heap("model", shared=self.shared)
        self.live: dict[int, tuple[tuple, int, bytes, int]] = {}
        self.views: list[tuple[memoryview, bytes]] = []

    def fill(self, facts: tuple, kind: tuple, count: int, kept: bytes, owner: int) -> int:
        """Check what a new or resized block holds, and write something else to it."""
        address, serial = facts[0], facts[4]
        view = memoryview(self.heap.view(address, serial))
        assert view.nbytes == facts[5] == bytes_of(kind, count)
        assert bytes(view) == kept[: view.nbytes].ljust(view.nbytes, b"\0")
        assert address % max(16, kind[2]) == 0
        content = bytes((address // 16 + index) % 251 for index in range(min(view.nbytes, 300))).ljust(
            view.nbytes, b"x"
        )
        view[:] = content
        self.live[address] = kind, count, content, owner
        return address

    @rule(target=blocks, kind=st.sampled_from(sorted(KINDS)), count=COUNTS, owner=st.integers(0, 3))
    def make(self, kind: str, count: int, owner: int) -> int:
        facts = self.heap.make(KINDS[kind], count, owner)
        assert facts[0] not in self.live
        return self.fill(facts, KINDS[kind], count, b"", owner)

    @rule(target=blocks, address=consumes(blocks), count=COUNTS)
    def resize(self, address: int, count: int) -> int:
        if address not in self.live:
            return multiple()
        kind, _, content, owner = self.live.pop(address)
        return self.fill(self.heap.resize(address, kind, count), kind, count, content, owner)

    @rule(address=consumes(blocks))
    def discard(self, address: int) -> None:
        if self.live.pop(address, None) is not None:
            self.heap.discard(address)
        with pytest.raises(LookupError):
            self.heap.discard(address)

    @rule(address=blocks)
    def look(self, address: int) -> None:
        if address in self.live:
            view = memoryview(self.heap.view(address, self.heap.find(address)[4]))
            self.views.append((view, bytes(view)))

    @rule()
    def look_away(self) -> None:
        # A live block may have been written to since; one that is gone must be as it was when it was looked at last.
        self.views.clear()

    @rule(owner=st.integers(1, 3))
    def retire(self, owner: int) -> None:
        self.heap.retire(owner, all=True)
        self.live = {address: one for address, one in self.live.items() if one[3] != owner}

    @invariant()
    def is_as_the_model(self) -> None:
        found = self.heap.blocks()
        assert [facts[0] for facts in found] == sorted(self.live)
        for address, _kind, count, owner, serial, _size in found:
            kind, wanted, content, made_by = self.live[address]
            assert (count, owner) == (wanted, made_by)
            assert self.heap.types()[_kind] == kind
            assert bytes(memoryview(self.heap.view(address, serial))) == content


class SharedHeapModel(HeapModel):
    """The same in memory that workers share."""

    shared = True


TestPrivate = HeapModel.TestCase
TestPrivate.settings = MODEL_SETTINGS
TestShared = SharedHeapModel.TestCase
TestShared.settings = MODEL_SETTINGS


def test_a_view_keeps_the_memory_of_what_is_freed() -> None:
    heap = _core.Heap("m")
    for count in (3, 100_000):
        first = heap.make(KINDS["pair"], count)
        view = memoryview(heap.view(first[0], first[4]))
        view[5] = 9
        heap.discard(first[0])
        assert heap.make(KINDS["pair"], count)[0] != first[0]
        assert view[5] == 9
        del view
        again = heap.make(KINDS["pair"], count)
        assert again[0] == first[0]
        assert again[4] != first[4]
        with pytest.raises(LookupError):
            heap.view(first[0], first[4])


@pytest.mark.parametrize(
    "kind", [("x" * 600, 4, 4, None, 0, 0), ("int", 4, 3, None, 0, 0), ("int", 1 << 62, 4, None, 0, 0)]
)
def test_a_kind_that_cant_be_is_refused(kind: tuple) -> None:
    with pytest.raises(ValueError, match="type"):
        _core.Heap("m").make(kind, 1)
