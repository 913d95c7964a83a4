"""A version's place in its module's heap."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midflight._heaps import Heaps

SYMBOL = b"midflight_module"
"""What a library that uses midflight.h imports."""


class Tenant:
    """Gives a version that is mapped into this process what it finds behind `midflight_module`."""

    def __init__(self, heaps: Heaps, number: int) -> None:
        self.heap = heaps.private
        self._heaps = heaps
        self._number = number
        self._discarded = False
        self.bindings = {SYMBOL: self.heap.attach(number)}

    def set_yield(self, wanted: bool) -> None:  # noqa: FBT001 - as the core has it
        """Say to calls of this version whether they should return soon."""
        self.heap.set_yield(self._number, wanted)

    def closing(self) -> None:
        """Note whether the version has ever been current; called before its code is unloaded."""
        self._discarded = self._discarded or self._number > self._heaps.current()

    def left(self) -> None:
        """The code is gone: free what only it had, or all that it has made if it was never current."""
        self.heap.retire(self._number, all=self._discarded)
        self.heap.detach(self._number)
