"""A version's variables where they lie in a worker's memory."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

from midflight._lane import Stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight.lanes.worker.process import Process

_PEEK, _POKE, _TEXT, _CHANGED, _ATTACHED = 5, 6, 7, 9, 10


class WorkerMemory:
    """Some memory of the library's in the worker, by its link-time address."""

    def __init__(self, process: Process, address: int, size: int) -> None:
        self._process = process
        self._address = address
        self._size = size

    def read(self) -> bytes:
        """Return what is there."""
        return self._process.request(_PEEK, self._address, wanted=self._size)

    def write(self, data: bytes) -> None:
        """Replace what is there."""
        self._process.request(_POKE, self._address, data)

    def view(self, ctype: Any) -> Any:
        """Return a copy of what is there."""
        return ctype.from_buffer_copy(self.read())

    def text(self) -> bytes | None:
        """Return the text that a pointer there points to."""
        text = self._process.request(_TEXT, self._address)
        return text[:-1] if text else None  # its NUL: only a null pointer has nothing


class WorkerData:
    """All variables of one process of a version's; see `midflight._lane.Data`.

    A fresh process has other data: it is never asked instead.
    """

    here = False

    def __init__(self, process: Process) -> None:
        self._process = process
        self._link = process.link
        self.process = self._link.pid
        self.base, self.low, self.high = self._link.image

    def changed(self, places: Sequence[tuple[int, int]]) -> list[bool]:
        """Say which places aren't as they were when the library had been loaded."""
        packed = struct.pack(f"={2 * len(places)}Q", *(number for place in places for number in place))
        answer = self._process.request(_CHANGED, 0, packed, only=self._link) if places else b""
        return [bool(flag) for flag in answer]

    def attached(self, addresses: Sequence[int]) -> bytes:
        """Say what of allocated memory is as it was then."""
        packed = struct.pack(f"={len(addresses)}Q", *addresses)
        return self._process.request(_ATTACHED, 0, packed, only=self._link) if addresses else b""

    def stretch(self, address: int, size: int) -> Stretch:
        """Return a copy of some memory."""
        data = self._process.request(_PEEK, address, wanted=size, only=self._link)
        copy = ctypes.create_string_buffer(data, size)
        return Stretch(ctypes.addressof(copy), self.base + address, copy)

    def put(self, stretch: Stretch) -> None:
        """Bring a copy back."""
        self._process.request(_POKE, stretch.there - self.base, bytes(stretch.copy), only=self._link)
