"""A module's memory for typed blocks, which outlives its versions.

There are two heaps, each made when it is first wanted: one in this process's own memory, and one that workers share.

Guarantees:
- Any function may be called from any thread.
- A block of Python's is freed when nothing refers to it, but not while a call is inside the module: the library may be
  using it.
- In a fork's child both heaps are the child's own; of the shared one it keeps Python's blocks and those in use.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from midflight import _core
from midflight._fork import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._blocks import Block


class Heaps:
    """A module's heaps.

    ``current``: tells the number of the version that is current; ``inside``: whether a call is inside any version.
    """

    def __init__(self, name: str, current: Callable[[], int], inside: Callable[[], bool]) -> None:
        self.current = current
        self.owned: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()
        """Python's own blocks by their addresses."""
        self._name = name
        self._inside = inside
        self._mutex = Lock()  # protects the two below
        self._private: _core.Heap | None = None
        self._shared: _core.Heap | None = None
        self._dropped: list[tuple[_core.Heap, int]] = []
        _all.add(self)

    @property
    def private(self) -> _core.Heap:
        """The heap in this process's own memory."""
        with self._mutex:
            if self._private is None:
                self._private = _core.Heap(self._name)
            return self._private

    @property
    def shared(self) -> _core.Heap:
        """The heap that workers share.  Raises `MemoryError`."""
        with self._mutex:
            if self._shared is None:
                self._shared = _core.Heap(self._name, shared=True)
            return self._shared

    @property
    def has_shared(self) -> bool:
        """Whether the heap that workers share has been made."""
        return self._shared is not None

    def existing(self) -> tuple[_core.Heap, ...]:
        """Return the heaps that have been made."""
        return tuple(heap for heap in (self._private, self._shared) if heap is not None)

    def has_blocks(self) -> bool:
        """Whether there may be any block: there have been some."""
        return any(heap.range is not None for heap in self.existing())

    def drop(self, heap: _core.Heap, address: int) -> None:
        """Free a block of Python's, now or when no call is inside.  Called in the middle of a garbage collection."""
        self._dropped.append((heap, address))
        self.tidy()

    def tidy(self) -> None:
        """Free what has been dropped, if no call is inside."""
        while self._dropped and not self._inside():
            try:
                heap, address = self._dropped.pop()
            except IndexError:  # another thread has come first
                return
            heap.discard(address)

    def after_fork(self) -> None:
        """In the child: have memory of its own."""
        if self._shared is not None:
            self._shared.after_fork()


_all: weakref.WeakSet[Heaps] = weakref.WeakSet()


def _after_fork() -> None:
    for heaps in list(_all):
        heaps.after_fork()


os.register_at_fork(after_in_child=_after_fork)
