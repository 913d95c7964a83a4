"""The pointers that a client holds: numbers that mean something on its own connection only.

Guarantees: a pointer's version stays loaded while the client holds it; the same address and type has the same number;
a number that was never given, was given back, or comes from another version is an `ArgumentTypeError`.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight._errors import ArgumentTypeError
from midflight.lanes.remote.wire import Handle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midflight._core import Pointer

_MOST = 1 << 20


@dataclass(slots=True)
class _Entry:
    pointer: Pointer
    version: int
    count: int = 0

    @property
    def key(self) -> tuple[int, str, int]:
        return (self.pointer.address, self.pointer.type, self.version)


class Handles:
    """One connection's pointers."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._numbers = itertools.count(1)
        self._entries: dict[int, _Entry] = {}
        self._known: dict[tuple[int, str, int], int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def give(self, pointer: Pointer, version: int) -> Handle:
        """Remember a pointer once more; return what stands for it."""
        entry = _Entry(pointer, version)
        with self._mutex:
            number = self._known.get(entry.key)
            if number is None:
                if len(self._entries) >= _MOST:
                    what = f"the client holds {_MOST} pointers already"
                    raise ArgumentTypeError(what, todo="let some go")
                number = next(self._numbers)
                self._known[entry.key] = number
                self._entries[number] = entry
            self._entries[number].count += 1
            return Handle(number, pointer.type)

    def pointer(self, number: int, version: int | None = None) -> Pointer:
        """Return the pointer that a number stands for.  ``version``: the one that it is to be used in."""
        with self._mutex:
            entry = self._entries.get(number)
        if entry is None:
            raise ArgumentTypeError("this pointer isn't known on this connection", todo="get a new one")
        if version is not None and entry.version != version:
            what = f"this pointer belongs to version {entry.version}, and version {version} is called"
            raise ArgumentTypeError(what, todo="get a new one from the module")
        return entry.pointer

    def release(self, numbers: Iterable[int]) -> None:
        """Forget a pointer once for each time that its number is named."""
        dropped: list[_Entry] = []  # their ends may run other code, which must not happen inside
        with self._mutex:
            for number in numbers:
                entry = self._entries.get(number)
                if entry is None:
                    continue
                entry.count -= 1
                if entry.count <= 0:
                    del self._entries[number], self._known[entry.key]
                    dropped.append(entry)

    def clear(self) -> None:
        """Forget them all."""
        with self._mutex:
            dropped = list(self._entries.values())
            self._entries.clear()
            self._known.clear()
        dropped.clear()
