"""Where an address of a version's process leads: into memory that the library has allocated, or elsewhere."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._lane import Data

_NAMELESS = 5


class Allocated:
    """Typed blocks, and the anonymous memory of a process that can be written: heaps, stacks, what was mapped by hand.

    The process's map is read when it is first needed, once: most moves don't need it.
    """

    def __init__(self, data: Data, blocks: Sequence[tuple[int, int]]) -> None:
        """``data``: of the version, whose own image doesn't count; ``blocks``: in order."""
        self._data = data
        self._blocks = blocks
        self._ranges: Sequence[tuple[int, int]] | None = None

    def __contains__(self, address: int) -> bool:
        if not address or self._data.low <= address < self._data.high:
            return False
        if _within(self._blocks, address):
            return True
        if self._ranges is None:
            self._ranges = _anonymous(self._data.process)
        return _within(self._ranges, address)


def _within(ranges: Sequence[tuple[int, int]], address: int) -> bool:
    index = bisect_right(ranges, (address, 1 << 64)) - 1
    return index >= 0 and address < ranges[index][1]


def _anonymous(process: int | str) -> list[tuple[int, int]]:
    found = []
    with Path(f"/proc/{process}/maps").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split(maxsplit=_NAMELESS)
            if "w" in words[1] and (len(words) == _NAMELESS or words[_NAMELESS].strip() == "[heap]"):
                start, _, end = words[0].partition("-")
                found.append((int(start, 16), int(end, 16)))
    return found
