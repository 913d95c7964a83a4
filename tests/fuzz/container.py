"""A shared object of few sections, so that what a fuzzer changes are their contents and not what is around them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from midflight.artifact.elf import Elf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARTS = (".debug_abbrev", ".debug_info", ".debug_str", ".debug_line", ".debug_line_str", ".debug_rnglists")
"""What a fuzzer gets to change; the symbols are the original's, so that its functions are looked at."""

_KEPT = (".dynsym", ".dynstr")
_LONGEST = 1 << 16


def parts_of(data: bytes) -> bytes:
    """Return a library's parts in one piece, each after its length."""
    elf = Elf(data)
    return b"".join(
        struct.pack("<H", len(part)) + part for part in (elf.section(name)[: _LONGEST - 1] for name in PARTS)
    )


def library_of(pieces: bytes, original: Elf) -> bytes:
    """Return a shared object with such parts, whatever the lengths claim, and the original's symbols."""
    sections = {name: original.section(name) for name in _KEPT}
    sections |= dict(zip(PARTS, _split(pieces, len(PARTS)), strict=True))
    return _file(sections, original)


def _split(pieces: bytes, count: int) -> Iterator[bytes]:
    at = 0
    for _ in range(count):
        size = int.from_bytes(pieces[at : at + 2], "little")
        yield pieces[at + 2 : at + 2 + size]
        at += 2 + size


def _file(sections: Mapping[str, bytes], original: Elf) -> bytes:
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    body, rows = bytearray(64), [bytes(64)]
    for name, content in {**sections, ".shstrtab": names}.items():
        kind, link = (original.sections[name].type, 2) if name in _KEPT else (1, 0)
        place = names.index(b"\0" + name.encode() + b"\0") + 1
        rows.append(struct.pack("<IIQQQQIIQQ", place, kind, 0, 0, len(body), len(content), link, 0, 1, 0))
        body += content
    body[:64] = _header(len(body), rows)
    return bytes(body) + b"".join(rows)


def _header(sections_at: int, rows: Sequence[bytes]) -> bytes:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 3, 62, 1, 0, 0, sections_at, 0, 64, 56, 0, 64, len(rows), len(rows) - 1
    )
