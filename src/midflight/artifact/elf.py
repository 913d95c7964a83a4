"""The container: sections, segments and exported symbols of an ELF shared object, read from its bytes.

Nothing in the bytes is trusted: every offset is checked against the data before it is used, and what doesn't fit
raises `BadLibraryError`.  Only 64-bit little-endian files are read, as only those can be loaded.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from midflight._errors import BadLibraryError, InterfaceError, WrongMachineError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_DYNAMIC = struct.Struct("<qQ")
_COMPRESSION = struct.Struct("<IIQQ")
_VERSION_NEED = struct.Struct("<HHIII")
_WORD = struct.Struct("<I")

_CLASS_64_LITTLE = b"\x02\x01"
_SHT_NOBITS = 8
_SHT_DYNSYM = 11
_SHT_VERSYM = 0x6FFFFFFF
_SHF_COMPRESSED = 0x800
_PT_LOAD = 1
_PT_DYNAMIC = 2
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_GNU_HASH = 4, 5, 6, 10, 0x6FFFFEF5
_COMPRESS_ZLIB, _COMPRESS_ZSTD = 1, 2
_VERSION_HIDDEN = 0x8000
_VERSION_GLOBAL = 1  # no version

_FUNCTION_TYPES = frozenset({2, 10})  # STT_FUNC, STT_GNU_IFUNC
_OBJECT_TYPES = frozenset({1, 6})  # STT_OBJECT, STT_TLS
_EXPORTED_BINDINGS = frozenset({1, 2, 10})  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
_EXPORTED_VISIBILITIES = frozenset({0, 3})  # STV_DEFAULT, STV_PROTECTED
_WEAK = 2
_TLS = 6

_ZLIB_RATIO = 1032
"""The most that zlib can make of one byte; a section that claims more lies about its size."""

_LARGEST_SECTION = 1 << 32
_PIECE = 1 << 16


class Section(NamedTuple):
    """One entry of the section table."""

    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    address: int


class Segment(NamedTuple):
    """One entry of the program header table."""

    type: int
    offset: int
    address: int
    file_size: int
    memory_size: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A defined, exported dynamic symbol."""

    name: str
    address: int
    size: int
    is_function: bool
    weak: bool
    thread_local: bool


class Elf:
    """A shared object's tables.

    `exports` maps each exported name to its symbol; `undefined` maps the names of what it uses and doesn't have to
    whether it can do without.  (What it was linked with a version of isn't there: another library has that.)
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        try:
            header = _check_header(data)
            self.segments = _read_segments(data, header)
            self.sections = _read_sections(data, header)
            self.exports, self.undefined = self._read_symbols()
        except (struct.error, IndexError, OverflowError) as error:
            raise _bad("the file is truncated or its tables are damaged") from error

    def section(self, name: str) -> bytes:
        """Return a section's contents, uncompressed; empty where there is none."""
        found = self.sections.get(name)
        if found is not None:
            return self._contents(found)
        if name.startswith(".debug"):
            old = self.sections.get(f".z{name[1:]}")
            if old is not None:
                return _inflate_old(self._contents(old), name)
        return b""

    def holds(self, name: str) -> bool:
        """Tell whether a section is there and has contents, without a look at these."""
        found = self.sections.get(name) or self.sections.get(f".z{name[1:]}")
        return found is not None and found.type != _SHT_NOBITS and found.size > 0

    def inflated_size(self, name: str) -> int:
        """Return how many bytes a section takes in memory once it is decompressed, as it claims; 0 if it isn't.

        Raises `BadLibraryError` for a claim that can't be true.
        """
        found = self.sections.get(name) or self.sections.get(f".z{name[1:]}")
        if found is None:
            return 0
        raw = self.data[found.offset : found.offset + _COMPRESSION.size]
        if found.flags & _SHF_COMPRESSED and len(raw) == _COMPRESSION.size:
            kind, _, size, _ = _COMPRESSION.unpack(raw)
        elif found.name.startswith(".z"):
            kind, size = _COMPRESS_ZLIB, int.from_bytes(raw[4:12], "big")
        else:
            return 0
        _check_claim(kind, found.size, size, name)
        return int(size)

    def view(self, name: str) -> memoryview:
        """Return the same as `section`, without a copy of what isn't compressed."""
        found = self.sections.get(name)
        if found is None or found.flags & _SHF_COMPRESSED or found.type == _SHT_NOBITS:
            return memoryview(self.section(name))
        view = memoryview(self.data)[found.offset : found.offset + found.size]
        if len(view) != found.size:
            raise _bad(f"section {found.name} lies outside the file")
        return view

    def versioned_libraries(self) -> frozenset[str]:
        """Return the libraries of which it wants versions of symbols, as glibc's all are."""
        table, names = self.section(".gnu.version_r"), self.section(".dynstr")
        found: set[str] = set()
        at = 0
        while at + _VERSION_NEED.size <= len(table):
            _, _, name_at, _, following = _VERSION_NEED.unpack_from(table, at)
            found.add(_text(names, name_at))
            if not following:
                break
            at += following
        return frozenset(found)

    def is_mapped(self, address: int, size: int) -> bool:
        """Tell whether the link-time addresses lie within one loaded segment."""
        return any(
            segment.address <= address and address + size <= segment.address + segment.memory_size
            for segment in self.segments
            if segment.type == _PT_LOAD
        )

    def _contents(self, section: Section) -> bytes:
        if section.type == _SHT_NOBITS:
            return b""
        raw = memoryview(self.data)[section.offset : section.offset + section.size]
        if len(raw) != section.size:
            raise _bad(f"section {section.name} lies outside the file")
        if not section.flags & _SHF_COMPRESSED:
            return bytes(raw)
        try:
            kind, _, size, _ = _COMPRESSION.unpack_from(raw)
        except struct.error as error:
            raise _bad(f"section {section.name} is truncated") from error
        return _decompress(kind, raw[_COMPRESSION.size :], size, section.name)

    def _read_symbols(self) -> tuple[dict[str, Symbol], dict[str, bool]]:
        for section in self.sections.values():
            if section.type == _SHT_DYNSYM:
                break
        else:
            return self._symbols_by_segment()
        links = list(self.sections.values())
        strings = next((other for other in links if other.name == ".dynstr"), None)
        names = self._contents(strings) if strings is not None else b""
        versions = next((self._contents(other) for other in links if other.type == _SHT_VERSYM), b"")
        symbols = self._contents(section)
        return _exports(symbols, names, versions), _undefined(symbols, names, versions)

    def _symbols_by_segment(self) -> tuple[dict[str, Symbol], dict[str, bool]]:
        """Read the symbols as the loader does, for a file whose section table was removed."""
        dynamic = next((segment for segment in self.segments if segment.type == _PT_DYNAMIC), None)
        if dynamic is None:
            return {}, {}
        table = self.data[dynamic.offset : dynamic.offset + dynamic.file_size]
        tags = dict(_DYNAMIC.iter_unpack(table[: len(table) // _DYNAMIC.size * _DYNAMIC.size]))
        if _DT_SYMTAB not in tags or _DT_STRTAB not in tags:
            return {}, {}
        count = self._symbol_count(tags)
        start = self._file_offset(tags[_DT_SYMTAB])
        names = self._file_offset(tags[_DT_STRTAB])
        symbols = self.data[start : start + count * _SYMBOL.size]
        if len(symbols) != count * _SYMBOL.size:
            raise _bad("its dynamic symbols lie outside the file")
        text = self.data[names : names + tags.get(_DT_STRSZ, 0)]
        return _exports(symbols, text, b""), _undefined(symbols, text, b"")

    def _file_offset(self, address: int) -> int:
        for segment in self.segments:
            if segment.type == _PT_LOAD and 0 <= address - segment.address < segment.file_size:
                return address - segment.address + segment.offset
        raise _bad("its dynamic section points outside the file")

    def _symbol_count(self, tags: dict[int, int]) -> int:
        if _DT_HASH in tags:
            count: int = _WORD.unpack_from(self.data, self._file_offset(tags[_DT_HASH]) + 4)[0]
            return count
        if _DT_GNU_HASH not in tags:
            return 0
        at = self._file_offset(tags[_DT_GNU_HASH])
        buckets, first, bloom, _ = struct.unpack_from("<IIII", self.data, at)
        start = at + 16 + bloom * 8
        raw = self.data[start : start + buckets * 4]
        if len(raw) != buckets * 4:
            raise _bad("its symbol hash table lies outside the file")
        last: int = max((value for (value,) in _WORD.iter_unpack(raw)), default=0)
        if last < first:
            return int(first)
        chain = start + buckets * 4
        while not _WORD.unpack_from(self.data, chain + (last - first) * 4)[0] & 1:
            last += 1
        return last + 1


def exported_symbols(data: bytes) -> frozenset[str]:
    """Return the names of all functions and variables that the library exports."""
    return frozenset(Elf(data).exports)


def _bad(what: str) -> BadLibraryError:
    return BadLibraryError(what, todo="check that the file was written completely, or build it again")


def _check_header(data: bytes) -> tuple[int, ...]:
    if not data:
        raise _bad("the file is empty")
    if data[:4] != b"\x7fELF":
        raise _bad("the file isn't an ELF shared library")
    if len(data) < _HEADER.size:
        raise _bad("the file is truncated")
    if data[4:6] != _CLASS_64_LITTLE:
        what = "the library isn't for a 64-bit little-endian machine"
        raise WrongMachineError(what, todo="build it for this machine")
    return _HEADER.unpack_from(data)[1:]


def _read_segments(data: bytes, header: tuple[int, ...]) -> list[Segment]:
    offset, size, count = header[4], header[8], header[9]
    if count and size != _SEGMENT.size:
        raise _bad("its program headers have an unknown size")
    found = []
    for index in range(count):
        kind, _, start, address, _, file_size, memory_size, _ = _SEGMENT.unpack_from(data, offset + index * size)
        found.append(Segment(kind, start, address, file_size, memory_size))
    return found


def _read_sections(data: bytes, header: tuple[int, ...]) -> dict[str, Section]:
    offset, size, count, names_index = header[5], header[10], header[11], header[12]
    if not offset:
        return {}
    if size != _SECTION.size:
        raise _bad("its section headers have an unknown size")
    if not count:  # more than 65,279 sections: the first one's size says how many
        count = int(_SECTION.unpack_from(data, offset)[5])
    if offset + count * size > len(data):
        raise _bad("its section table lies outside the file")
    table = list(_SECTION.iter_unpack(data[offset : offset + count * size]))
    if names_index >= len(table):
        return {}
    start, length = table[names_index][4], table[names_index][5]
    names = data[start : start + length]
    found: dict[str, Section] = {}
    for name_at, kind, flags, address, at, length, link, _, _, _ in table:
        name = _text(names, name_at)
        if kind and name not in found:
            found[name] = Section(name, kind, flags, at, length, link, address)
    return found


def _text(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    return table[offset : end if end >= 0 else len(table)].decode("utf-8", "replace")


def _exports(symbols: bytes, names: bytes, versions: bytes) -> dict[str, Symbol]:
    if len(symbols) % _SYMBOL.size:
        raise _bad("its dynamic symbols are truncated")
    found: dict[str, Symbol] = {}
    for index, (name_at, info, other, section, address, size) in enumerate(_SYMBOL.iter_unpack(symbols)):
        binding, kind = info >> 4, info & 15
        if (
            not section
            or binding not in _EXPORTED_BINDINGS
            or other & 3 not in _EXPORTED_VISIBILITIES
            or (kind not in _FUNCTION_TYPES and kind not in _OBJECT_TYPES)
        ):
            continue
        name = _text(names, name_at)
        # An older version of a symbol (name@OLD) isn't what a look-up by name finds.
        version = int.from_bytes(versions[index * 2 : index * 2 + 2], "little")
        if not name or (version & _VERSION_HIDDEN and name in found):
            continue
        found[name] = Symbol(name, address, size, kind in _FUNCTION_TYPES, binding == _WEAK, kind == _TLS)
    return found


def _undefined(symbols: bytes, names: bytes, versions: bytes) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for index, (name_at, info, _, section, _, _) in enumerate(_SYMBOL.iter_unpack(symbols)):
        version = int.from_bytes(versions[index * 2 : index * 2 + 2], "little") & ~_VERSION_HIDDEN
        if not section and info >> 4 in _EXPORTED_BINDINGS and version <= _VERSION_GLOBAL:
            found[_text(names, name_at)] = info >> 4 == _WEAK
    found.pop("", None)
    return found


def _check_claim(kind: int, compressed: int, size: int, name: str) -> None:
    """Refuse a size that so few bytes can't become."""
    if size > _LARGEST_SECTION or (kind == _COMPRESS_ZLIB and size > compressed * _ZLIB_RATIO):
        raise _bad(f"section {name} claims to be {size} bytes long")


def _decompress(kind: int, raw: memoryview, size: int, name: str) -> bytes:
    _check_claim(kind, len(raw), size, name)
    if kind == _COMPRESS_ZSTD:
        return _decompress_zstd(raw, size, name)
    if kind != _COMPRESS_ZLIB:
        raise _bad(f"section {name} is compressed in an unknown way")
    try:
        return _inflate(raw, size, name)
    except zlib.error as error:
        raise _bad(f"section {name} can't be decompressed") from error


def _inflate(raw: memoryview, size: int, name: str) -> bytes:
    """Decompress by pieces, so that nothing is in memory twice."""
    result, inflater = BytesIO(), zlib.decompressobj()
    if size:
        result.seek(size - 1)
        result.write(b"\0")
        result.seek(0)
    for start in range(0, len(raw), _PIECE):
        if result.tell() == size:
            break
        result.write(inflater.decompress(raw[start : start + _PIECE], size - result.tell()))
    if result.tell() != size:
        raise _bad(f"section {name} is truncated")
    return result.getvalue()


def _decompress_zstd(raw: memoryview, size: int, name: str) -> bytes:
    try:
        zstandard = importlib.import_module("zstandard")  # optional: only few libraries are compressed this way
    except ImportError as error:
        what = f"section {name} is compressed with zstd"
        raise InterfaceError(what, todo="pip install zstandard, or link with -gz=zlib") from error
    try:
        result: bytes = zstandard.ZstdDecompressor().decompress(raw, max_output_size=max(size, 1))
    except zstandard.ZstdError as error:
        raise _bad(f"section {name} can't be decompressed") from error
    if len(result) != size:
        raise _bad(f"section {name} is truncated")
    return result


def _inflate_old(raw: bytes, name: str) -> bytes:
    """Decompress a ``.zdebug_*`` section, the way that came before SHF_COMPRESSED."""
    if raw[:4] != b"ZLIB":
        raise _bad(f"section {name} is compressed in an unknown way")
    return _decompress(_COMPRESS_ZLIB, memoryview(raw)[12:], int.from_bytes(raw[4:12], "big"), name)
