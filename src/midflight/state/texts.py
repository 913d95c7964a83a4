"""String literals: texts in a library's read-only data, by address and by what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.elf import Elf

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECUTE, _SHF_STRINGS = 1, 2, 4, 0x20
_PROGBITS = 1
_LONGEST = 1 << 16
_CONTROLS = frozenset(range(7, 14)) | {27}
_PRINTABLE = 32


class Texts:
    """The texts of one library."""

    def __init__(self, elf: Elf) -> None:
        self._parts = [
            (section.address, elf.section(section.name))
            for section in elf.sections.values()
            if section.type == _PROGBITS
            and section.flags & _SHF_ALLOC
            and not section.flags & (_SHF_WRITE | _SHF_EXECUTE)
            and (section.name.startswith((".rodata", ".lrodata")) or section.flags & _SHF_STRINGS)
        ]

    def at(self, address: int) -> bytes | None:
        """Return the text that begins at an address, without its NUL; None where none does."""
        for start, data in self._parts:
            if start <= address < start + len(data):
                end = data.find(b"\0", address - start, address - start + _LONGEST)
                text = data[address - start : end] if end >= 0 else b""
                return text if end >= 0 and _is_text(text) else None
        return None

    def around(self, address: int) -> tuple[bytes, int] | None:
        """Return the longest text that an address lies in, and how far into it."""
        for start, data in self._parts:
            if start <= address < start + len(data):
                first = data.rfind(b"\0", max(0, address - start - _LONGEST), address - start) + 1
                whole = self.at(start + first)
                return (whole, address - start - first) if whole is not None else None
        return None

    def find(self, text: bytes) -> int | None:
        """Return where a text is: preferably as one of its own, else as the end of another, as linkers merge them."""
        places = list(self._whole(text))
        if places:
            return places[0]
        for start, data in self._parts:
            found = re.search(rb"(?<=[ -~])\0" if not text else re.escape(text + b"\0"), data)
            if found is not None:
                return start + found.start()
        return None

    def _whole(self, text: bytes) -> Iterator[int]:
        for start, data in self._parts:
            if data.startswith(text + b"\0"):
                yield start
            at = data.find(b"\0" + text + b"\0")
            if at >= 0:
                yield start + at + 1


def _is_text(text: bytes) -> bool:
    """Tell whether bytes are what a program writes between quotes, and not numbers."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return all(byte >= _PRINTABLE or byte in _CONTROLS for byte in text)
