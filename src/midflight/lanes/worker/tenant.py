"""A version's place in the heap that its module's workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.lanes.native.tenant import SYMBOL

if TYPE_CHECKING:
    from midflight._core import Heap, Link
    from midflight._lane import Wanted


class WorkerTenant:
    """Lets the processes of a version, one after the other, use the module's heap.

    They do if the library makes blocks, or if another version, or Python, may have made some.

    A process that has died leaves its blocks behind; the next one begins with variables that know nothing of them.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._heaps = wanted.heaps
        self._number = wanted.number
        self._uses = SYMBOL + b"\0" in wanted.data or wanted.heaps.has_shared
        self._seat = 0

    @property
    def heap(self) -> Heap:
        """The heap."""
        return self._heaps.shared

    def words(self) -> list[str]:
        """Return what a worker that is about to start has to know of it: see native/worker/blocks.c."""
        if not self._uses:
            return []
        heap = self.heap
        low, high = heap.range or (0, 0)
        self._seat = heap.seat()
        return [f"heap={low},{high - low},{self._seat},{self._number}"]

    def started(self, link: Link) -> None:
        """Hand the heap over to a process; one that doesn't take it says so when it is asked whether it is ready."""
        if self._uses:
            self.heap.map(link)

    def renew(self) -> None:
        """Drop what a process that has died has left behind, unless a newer version uses it by now."""
        if self._seat:
            self._leave()
            if self._number >= self._heaps.current():
                self.heap.drop(self._number)

    def left(self) -> None:
        """The last process is gone: free what only this version had, or all of its blocks if it was never current."""
        if self._seat:
            self._leave()
            self.heap.retire(self._number, all=self._number > self._heaps.current())

    def _leave(self) -> None:
        self.heap.left(self._seat)
        self._seat = 0
