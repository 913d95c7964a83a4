"""What the system's loader reads of a shared object: segments, the dynamic section, symbols and their versions.

Reads as little of a file as that takes, piece by piece, so that a library which others need may be large, and may be
truncated meanwhile.  Nothing that is read is trusted: what doesn't fit raises `BadLibraryError`.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from midflight._errors import BadLibraryError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_NEED, _NEED_ENTRY = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_DEFINED, _DEFINED_ENTRY = struct.Struct("<HHHHIII"), struct.Struct("<II")
_WORD = struct.Struct("<I")
_RELOCATION = struct.Struct("<QQq")

_CLASS_64_LITTLE = b"\x7fELF\x02\x01"
_MOST_SEGMENTS, _MOST_VERSIONS = 4096, 4096
_HIDDEN, _GLOBAL, _GNU_UNIQUE = 0x8000, 1, 10
LOAD, DYNAMIC, TLS, STACK, RELRO, PROPERTY = 1, 2, 7, 0x6474E551, 0x6474E552, 0x6474E553


class Tag:
    """What an entry of the dynamic section says (DT_*)."""

    NEEDED, HASH, STRTAB, SYMTAB, RELA, RELASZ, STRSZ = 1, 4, 5, 6, 7, 8, 10
    INIT, FINI, SONAME, RPATH, TEXTREL, JMPREL, PLTRELSZ = 12, 13, 14, 15, 22, 23, 2
    BIND_NOW, INIT_ARRAY, FINI_ARRAY, INIT_ARRAYSZ, FINI_ARRAYSZ, RUNPATH, FLAGS = 24, 25, 26, 27, 28, 29, 30
    GNU_HASH, VERSYM, FLAGS_1, VERDEF, VERNEED = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFE


_NAMES = frozenset({Tag.NEEDED, Tag.SONAME, Tag.RPATH, Tag.RUNPATH})


class Readable(Protocol):
    """Where the bytes come from."""

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at an offset, fewer at the end."""


class Held:
    """Bytes that are in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        """See `Readable`."""
        return self._data[offset : offset + size]


class File:
    """An open file, read where it is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        """See `Readable`.  A size that the file can't have costs nothing."""
        if not 0 <= offset <= self._size:
            return b""
        return os.pread(self._descriptor, min(size, self._size - offset), offset)


class Segment(NamedTuple):
    """A program header."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int


class DynamicSymbol(NamedTuple):
    """An entry of the dynamic symbol table.  ``version``: that it is defined or wanted with, or ""."""

    name: str
    binding: int
    kind: int
    visibility: int
    section: int
    address: int
    size: int
    version: str

    @property
    def defined(self) -> bool:
        """Whether the library has it."""
        return self.section != 0


class Wanted(NamedTuple):
    """A version that a library wants another one to have.  ``weak``: it can do without."""

    library: str
    version: str
    weak: bool


@dataclass
class Dynamic:
    """One shared object, as the loader sees it."""

    source: Readable
    machine: int = 0
    segments: tuple[Segment, ...] = ()
    tags: dict[int, int] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    offered: frozenset[bytes] = frozenset()

    @property
    def flags(self) -> int:
        """DT_FLAGS."""
        return self.tags.get(Tag.FLAGS, 0)

    @property
    def flags_1(self) -> int:
        """DT_FLAGS_1."""
        return self.tags.get(Tag.FLAGS_1, 0)

    def segment(self, kind: int) -> Segment | None:
        """Return the first segment of a kind."""
        return next((one for one in self.segments if one.type == kind), None)

    def at(self, address: int, size: int) -> bytes:
        """Return the file's bytes for a link-time address.  Raises `BadLibraryError` if it hasn't got all of them."""
        for one in self.segments:
            inside = address - one.address
            if one.type == LOAD and inside >= 0 and inside + size <= one.file_size:
                found = self.source.read(one.offset + inside, size)
                if len(found) == size:
                    return found
        raise _bad("its dynamic section points outside the file")

    @cached_property
    def strings(self) -> bytes:
        """The names of symbols and libraries."""
        if Tag.STRTAB not in self.tags:
            return b""
        return self.at(self.tags[Tag.STRTAB], self.tags.get(Tag.STRSZ, 0))

    @cached_property
    def symbols(self) -> tuple[DynamicSymbol, ...]:
        """All dynamic symbols but the empty first."""
        names, versions = self.strings, self._version_names
        count = self.symbol_count
        indices = self._version_indices(count)
        found = []
        for index, (name_at, info, other, section, address, size) in enumerate(_SYMBOL.iter_unpack(self.table(count))):
            version = versions.get(indices[index] & ~_HIDDEN, "") if indices else ""
            name = _text(names, name_at)
            found.append(DynamicSymbol(name, info >> 4, info & 15, other & 3, section, address, size, version))
        return tuple(found[1:])

    def offering(self, wanted: Collection[bytes]) -> frozenset[bytes]:
        """Return which of these names it offers to others; cheaper than `symbols`."""
        names = self.strings
        find = names.find
        found = set()
        for name_at, info, other, section, _, _ in _SYMBOL.iter_unpack(self.table(self.symbol_count)):
            if section and info >> 4 and other & 3 in {0, 3}:
                name = names[name_at : find(b"\0", name_at)]
                if name in wanted:
                    found.add(name)
        return frozenset(found)

    def has_unique(self) -> bool:
        """Whether it has STB_GNU_UNIQUE symbols, for which the loader never unloads it; cheaper than `symbols`."""
        return any(
            info >> 4 == _GNU_UNIQUE for _, info, _, _, _, _ in _SYMBOL.iter_unpack(self.table(self.symbol_count))
        )

    def bound(self) -> Iterator[DynamicSymbol]:
        """Return the symbols that the loader looks up for it: also its own, where others may have them before it."""
        symbols = self.symbols
        for start, size in ((Tag.RELA, Tag.RELASZ), (Tag.JMPREL, Tag.PLTRELSZ)):
            table = self.at(self.tags[start], self.tags.get(size, 0)) if start in self.tags else b""
            for _, info, _ in _RELOCATION.iter_unpack(table):
                if 0 < info >> 32 <= len(symbols):
                    yield symbols[(info >> 32) - 1]

    def table(self, count: int) -> bytes:
        """Return the bytes of so many symbols."""
        return self.at(self.tags[Tag.SYMTAB], count * _SYMBOL.size) if count else b""

    @cached_property
    def symbol_count(self) -> int:
        """How many dynamic symbols there are, by the hash tables."""
        if Tag.SYMTAB not in self.tags:
            return 0
        if Tag.HASH in self.tags:
            return int(_WORD.unpack(self.at(self.tags[Tag.HASH] + 4, 4))[0])
        return self._hashed() if Tag.GNU_HASH in self.tags else 0

    def _hashed(self) -> int:
        at = self.tags[Tag.GNU_HASH]
        buckets, first, bloom, _ = struct.unpack("<IIII", self.at(at, 16))
        start = at + 16 + bloom * 8
        last = max((value for (value,) in _WORD.iter_unpack(self.at(start, buckets * 4))), default=0)
        if last < first:
            return int(first)
        chain = start + buckets * 4
        while not _WORD.unpack(self.at(chain + (last - first) * 4, 4))[0] & 1:
            last += 1
        return int(last) + 1

    # ---- versions

    def _version_indices(self, count: int) -> tuple[int, ...]:
        if Tag.VERSYM not in self.tags:
            return ()
        return struct.unpack(f"<{count}H", self.at(self.tags[Tag.VERSYM], count * 2))

    @cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        """The versions that it wants of others."""
        return tuple(wanted for _, wanted in self._needs())

    @cached_property
    def versions(self) -> frozenset[str]:
        """The versions that it defines."""
        return frozenset(name for _, name in self._definitions())

    @cached_property
    def _version_names(self) -> dict[int, str]:
        found = {index: wanted.version for index, wanted in self._needs()}
        found.update((index, name) for index, name in self._definitions() if index > _GLOBAL)
        return found

    def _needs(self) -> Iterator[tuple[int, Wanted]]:
        at, more = self.tags.get(Tag.VERNEED, 0), True
        for _ in range(_MOST_VERSIONS if at else 0):
            _, count, file, first, following = _NEED.unpack(self.at(at, _NEED.size))
            entry = at + first
            for _ in range(count):
                _, flags, index, name, after = _NEED_ENTRY.unpack(self.at(entry, _NEED_ENTRY.size))
                library = _text(self.strings, file)
                yield index & ~_HIDDEN, Wanted(library, _text(self.strings, name), bool(flags & 2))
                entry, more = entry + after, bool(after)
                if not more:
                    break
            if not following:
                return
            at += following

    def _definitions(self) -> Iterator[tuple[int, str]]:
        at = self.tags.get(Tag.VERDEF, 0)
        for _ in range(_MOST_VERSIONS if at else 0):
            _, _, index, _, _, first, following = _DEFINED.unpack(self.at(at, _DEFINED.size))
            name, _ = _DEFINED_ENTRY.unpack(self.at(at + first, _DEFINED_ENTRY.size))
            yield index & ~_HIDDEN, _text(self.strings, name)
            if not following:
                return
            at += following


def read(source: Readable) -> Dynamic:
    """Read the dynamic section.  Raises `BadLibraryError`."""
    try:
        return _read(source)
    except (struct.error, OverflowError) as error:
        raise _bad("the file is truncated or its tables are damaged") from error


def read_file(path: Path, wanted: Collection[bytes] = ()) -> Dynamic:
    """Read what is asked of a library that others need, and which of some names it offers; and close it.

    Raises `BadLibraryError` or OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = read(File(descriptor))
        found.offered = found.offering(wanted) if wanted else found.offered
        _ = found.versions
        found.__dict__.pop("strings", None)  # large, and of no more use
    except (struct.error, OverflowError) as error:
        raise _bad("the file is truncated or its tables are damaged") from error
    finally:
        os.close(descriptor)
    return found


def _read(source: Readable) -> Dynamic:
    head = source.read(0, _HEADER.size)
    if len(head) != _HEADER.size or not head.startswith(_CLASS_64_LITTLE):
        raise _bad("the file isn't a 64-bit ELF shared library")
    _, _, machine, _, _, at, _, _, _, size, count, *_ = _HEADER.unpack(head)
    if size != _SEGMENT.size or not 0 < count <= _MOST_SEGMENTS:
        raise _bad("its program headers have an unknown size")
    segments = tuple(
        Segment(kind, flags, offset, address, in_file, in_memory)
        for kind, flags, offset, address, _, in_file, in_memory, _ in _SEGMENT.iter_unpack(
            source.read(at, size * count)
        )
    )
    found = Dynamic(source, machine, segments)
    section = found.segment(DYNAMIC)
    if section is not None:
        _read_entries(found, source.read(section.offset, section.file_size))
    return found


def _read_entries(found: Dynamic, table: bytes) -> None:
    named: list[tuple[int, int]] = []
    for tag, value in _ENTRY.iter_unpack(table[: len(table) // _ENTRY.size * _ENTRY.size]):
        if not tag:
            break
        found.tags[tag] = value
        if tag in _NAMES:
            named.append((tag, value))
    texts: dict[int, list[str]] = {}
    for tag, value in named:
        texts.setdefault(tag, []).append(_text(found.strings, value))
    found.needed = tuple(texts.get(Tag.NEEDED, ()))
    found.soname = next(iter(texts.get(Tag.SONAME, ())), "")
    found.rpath, found.runpath = (
        tuple(entry for text in texts.get(tag, ()) for entry in text.split(":")) for tag in (Tag.RPATH, Tag.RUNPATH)
    )


def _text(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    return table[offset : end if end >= 0 else len(table)].decode("utf-8", "replace")


def _bad(what: str) -> BadLibraryError:
    return BadLibraryError(what, todo="check that the file was written completely, or build it again")
