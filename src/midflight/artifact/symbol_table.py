"""All symbols that a shared object names, also those that only it knows itself (.symtab), with the file of each."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.elf import Elf

_SYMBOL = struct.Struct("<IBBHQQ")
_OBJECT, _FUNCTION, _FILE, _INDIRECT_FUNCTION = 1, 2, 4, 10
_LOCAL = 0
_RESERVED = 0xFF00


class Name(NamedTuple):
    """A defined function or object.

    ``file``: the source file that it is private to, "" where all see it; ``size`` may be 0 where nobody said it.
    """

    name: str
    file: str
    address: int
    size: int
    is_function: bool


def read_names(elf: Elf) -> tuple[Name, ...]:
    """Return the functions and objects of .symtab and .dynsym; a stripped file has the second one only."""
    found: dict[Name, None] = {}
    for table, strings in ((".symtab", ".strtab"), (".dynsym", ".dynstr")):
        found.update(dict.fromkeys(_names(elf.section(table), elf.section(strings))))
    return tuple(found)


def _names(table: bytes, strings: bytes) -> Iterator[Name]:
    file = ""
    whole = len(table) // _SYMBOL.size * _SYMBOL.size
    for name_at, info, _, section, address, size in _SYMBOL.iter_unpack(table[:whole]):
        binding, kind = info >> 4, info & 15
        if kind == _FILE:
            file = _text(strings, name_at)
        elif kind in {_OBJECT, _FUNCTION, _INDIRECT_FUNCTION} and 0 < section < _RESERVED:
            name = _text(strings, name_at)
            if name:
                yield Name(name, file if binding == _LOCAL else "", address, size, kind != _OBJECT)


def _text(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset)
    return strings[offset : end if end >= 0 else len(strings)].decode("utf-8", "replace")
