"""A version's variables where they lie in this process's own memory."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Any

from midflight._lane import Stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._core import Image


class OwnMemory:
    """Some memory of this process."""

    def __init__(self, address: int, size: int) -> None:
        self._address = address
        self._size = size

    def read(self) -> bytes:
        """Return what is there."""
        return ctypes.string_at(self._address, self._size)

    def write(self, data: bytes) -> None:
        """Replace what is there."""
        ctypes.memmove(self._address, data, self._size)

    def view(self, ctype: Any) -> Any:
        """Return a ctypes object that is the memory itself."""
        return ctype.from_address(self._address)

    def text(self) -> bytes | None:
        """Return the text that a pointer there points to."""
        return ctypes.c_char_p.from_address(self._address).value


class OwnData:
    """All variables of an image; see `midflight._lane.Data`."""

    here = True

    def __init__(self, image: Image) -> None:
        self._image = image
        self.process = os.getpid()
        self.base, self.low, self.high = image.base, image.low, image.high

    def changed(self, places: Sequence[tuple[int, int]]) -> list[bool]:
        """Say which places aren't as they were when the library had been loaded."""
        packed = struct.pack(f"={2 * len(places)}Q", *(number for place in places for number in place))
        return [bool(flag) for flag in self._image.changed(packed)]

    def attached(self, addresses: Sequence[int]) -> bytes:
        """Say what of allocated memory is as it was then."""
        return self._image.attached(struct.pack(f"={len(addresses)}Q", *addresses))

    def stretch(self, address: int, size: int) -> Stretch:  # noqa: ARG002 - a copy would need it
        """Return the memory itself."""
        return Stretch(self.base + address, self.base + address)

    def put(self, stretch: Stretch) -> None:
        """Do nothing: what was written to the stretch is there already."""
