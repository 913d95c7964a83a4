"""The entries of .debug_info: units, abbreviations, and a lazy, bounded way through the tree.

Only what is asked for is decoded.  An entry's size follows from its abbreviation, so entries that aren't asked for, and
whole subtrees, are stepped over by the core (native/dies.h) without a look at their values, by DW_AT_sibling where the
compiler wrote it (gcc), by sizes elsewhere (clang, rustc).

Guarantees: offsets only grow while the tree is walked, so that a walk ends; each damaged structure raises
`DwarfError`, `IndexError`, `ValueError` or `struct.error`, which `dwarf.read` turns into midflight's own errors.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from midflight import _core
from midflight.artifact.dwarf.constants import At, Form, Tag
from midflight.artifact.dwarf.forms import (
    INDIRECT,
    Abbreviation,
    DwarfError,
    form_width,
    read_abbreviations,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midflight.artifact.dwarf.forms import Known, Value
    from midflight.artifact.elf import Elf

_DWARF32_LIMIT = 0xFFFFFFF0
_OLDEST, _NEWEST = 2, 5
_SPLIT_UNITS = frozenset({4, 5})
_TYPE_UNITS = frozenset({2, 6})

_UNIT_REFERENCES = frozenset({Form.REF1, Form.REF2, Form.REF4, Form.REF8, Form.REF_UDATA})
_INDEXED_STRINGS = frozenset({Form.STRX, Form.STRX1, Form.STRX2, Form.STRX3, Form.STRX4, Form.GNU_STR_INDEX})
_INDEXED_ADDRESSES = frozenset({Form.ADDRX, 0x29, 0x2A, 0x2B, 0x2C, Form.GNU_ADDR_INDEX})
_SIBLING_FORMS = frozenset({Form.REF1, Form.REF2, Form.REF4, Form.REF8})
_CORE_FORMS = 64
_BLOCK_FORMS = frozenset({Form.EXPRLOC, Form.BLOCK, Form.BLOCK1, Form.BLOCK2, Form.BLOCK4})


class Entry:
    """One entry and its attributes' stored values."""

    __slots__ = ("body", "forms", "has_children", "offset", "tag", "unit", "values")

    def __init__(
        self,
        unit: Unit,
        offset: int,
        abbreviation: Abbreviation,
        values: dict[int, Value],
        forms: dict[int, int],
        body: int,
    ) -> None:
        self.unit = unit
        self.offset = offset
        self.tag = abbreviation.tag
        self.has_children = abbreviation.children
        self.values = values
        self.forms = forms
        self.body = body

    def text(self, attribute: int) -> str:
        """Return an attribute's string, "" where it isn't there."""
        value = self.values.get(attribute)
        if value is None:
            return ""
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return self.unit.string(self.forms[attribute], value)

    @property
    def name(self) -> str:
        """DW_AT_name, or ""."""
        return self.text(At.NAME)

    def reference(self, attribute: int) -> int | None:
        """Return the offset of the entry that an attribute refers to."""
        value = self.values.get(attribute)
        if not isinstance(value, int):
            return None
        form = self.forms[attribute]
        if form in _UNIT_REFERENCES:
            return self.unit.offset + value
        if form == Form.REF_ADDR:
            return value
        if form == Form.REF_SIG8:
            return self.unit.debug.signatures.get(value)
        return None

    def target(self, attribute: int) -> Entry | None:
        """Return the entry that an attribute refers to."""
        offset = self.reference(attribute)
        return None if offset is None else self.unit.debug.entry(offset)

    def number(self, attribute: int) -> int | None:
        """Return an attribute's constant; None where it isn't there or isn't a constant."""
        value = self.values.get(attribute)
        return value if isinstance(value, int) else None

    def flag(self, attribute: int) -> bool:
        """Tell whether a flag is set."""
        return bool(self.values.get(attribute))

    def address(self, attribute: int) -> int | None:
        """Return an attribute's address."""
        value = self.values.get(attribute)
        if not isinstance(value, int):
            return None
        if self.forms[attribute] in _INDEXED_ADDRESSES:
            return self.unit.indexed_address(value)
        return value

    def children(self, tags: bytes | None = None) -> Iterator[Entry]:
        """Go through the entry's direct children, or only those whose tag is one of a `tag_set`."""
        unit = self.unit
        for offset, _ in unit.level(self, tags):
            yield unit.entry(offset)


class Unit:
    """One unit: its header, its abbreviations and its entries.  ``end`` is the offset behind it."""

    def __init__(self, debug: Debug, offset: int, limit: int) -> None:
        self.debug = debug
        self.offset = offset
        data = debug.data
        length, at = int.from_bytes(data[offset : offset + 4], "little"), offset + 4
        self.offset_size = 4
        if length >= _DWARF32_LIMIT:
            length, at = struct.unpack_from("<Q", data, at)[0], at + 8
            self.offset_size = 8
        self.end = at + length
        if self.end > limit:
            msg = "a unit lies outside its section"
            raise DwarfError(msg)
        self.version = struct.unpack_from("<H", data, at)[0]
        at += 2
        if not _OLDEST <= self.version <= _NEWEST:
            msg = f"DWARF version {self.version} isn't known"
            raise DwarfError(msg)
        self.kind = 1
        if self.version == _NEWEST:
            self.kind, self.address_size = data[at], data[at + 1]
            self.abbreviations_at, at = self._word(at + 2)
            if self.kind in _SPLIT_UNITS:
                at += 8
        else:
            self.abbreviations_at, at = self._word(at)
            self.address_size = data[at]
            at += 1
            if offset >= debug.types_start:
                self.kind = 2
        self.signature: int | None = None
        self.type_offset = 0
        if self.kind in _TYPE_UNITS:
            self.signature = struct.unpack_from("<Q", data, at)[0]
            self.type_offset, at = self._word(at + 8)
        if self.address_size not in {4, 8}:
            msg = f"addresses of {self.address_size} bytes aren't known"
            raise DwarfError(msg)
        self.first = at

    def _word(self, at: int) -> tuple[int, int]:
        size = self.offset_size
        return int.from_bytes(self.debug.data[at : at + size], "little"), at + size

    @cached_property
    def abbreviations(self) -> dict[int, Abbreviation]:
        """The unit's table of abbreviations."""
        return self.debug.abbreviations(self)

    @cached_property
    def shapes(self) -> _core.Dies:
        """The same, for the core to step over entries by."""
        return self.debug.shapes(self)

    @cached_property
    def top(self) -> Entry:
        """The unit's own entry."""
        return self.entry(self.first)

    def entry(self, offset: int) -> Entry:
        """Decode the entry at an offset."""
        abbreviation: Abbreviation
        abbreviation, values, body = self.shapes.entry(self.debug.data, offset, self.end)
        forms = abbreviation.forms
        if abbreviation.indirect:
            said = {attribute: value for attribute, value in values.items() if isinstance(value, tuple)}
            forms = {**forms, **{attribute: form for attribute, (form, _) in said.items()}}
            values.update((attribute, value) for attribute, (_, value) in said.items())
        return Entry(self, offset, abbreviation, values, forms, body)

    def width(self, form: int) -> int:
        """Return a form's width in bytes, or the negative number of a way to find it out."""
        return form_width(form, self.version, self.address_size, self.offset_size)

    def level(self, holder: Entry, tags: bytes | None = None) -> Iterator[tuple[int, int]]:
        """Go through an entry's direct children: where each begins, and the offset behind it and its own children."""
        at, ended = holder.body, not holder.has_children
        while not ended:
            found, at, ended = self.shapes.level(self.debug.data, self.offset, at, self.end, tags or _ALL_TAGS)
            yield from found

    def static_variables(self, entry: Entry) -> list[Entry]:
        """Return the variables at any depth below an entry that have a fixed address."""
        if not entry.has_children:
            return []
        found, _, ended = self.shapes.below(self.debug.data, self.offset, entry.body, self.end)
        if not ended:
            msg = f"the entry at {entry.offset:#x} has too many variables"
            raise DwarfError(msg)
        return [self.entry(offset) for offset in found]

    def string(self, form: int, value: int) -> str:
        """Return the string that a stored value stands for."""
        debug = self.debug
        if form == Form.STRP:
            return debug.text(".debug_str", value)
        if form == Form.LINE_STRP:
            return debug.text(".debug_line_str", value)
        if form in _INDEXED_STRINGS:
            size = self.offset_size
            table = debug.section(".debug_str_offsets")
            base = self.top.number(At.STR_OFFSETS_BASE)
            at = (2 * size if base is None else base) + value * size
            return debug.text(".debug_str", int.from_bytes(table[at : at + size], "little"))
        return ""

    def indexed_address(self, index: int) -> int | None:
        """Return an address from .debug_addr."""
        size = self.address_size
        base = self.top.number(At.ADDR_BASE)
        at = (8 if base is None else base) + index * size
        raw = self.debug.section(".debug_addr")[at : at + size]
        return int.from_bytes(raw, "little") if len(raw) == size else None

    @cached_property
    def language(self) -> int:
        """DW_AT_language."""
        return self.top.number(At.LANGUAGE) or 0


class Debug:
    """All debug information of a file.  Offsets in .debug_types count on from the end of .debug_info."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._sections: dict[str, bytes] = {}
        info, types = elf.view(".debug_info"), elf.section(".debug_types")
        self.types_start = len(info)
        self.data = memoryview(bytes(info) + types) if types else info
        self._tables: dict[tuple[int, int, int, int], dict[int, Abbreviation]] = {}
        self._known: Known = {}
        self._shapes: dict[tuple[int, int, int, int], _core.Dies] = {}
        self.units: list[Unit] = []
        offset = 0
        while offset < len(self.data):
            limit = self.types_start if offset < self.types_start else len(self.data)
            unit = Unit(self, offset, limit)
            self.units.append(unit)
            offset = unit.end
        self._starts = [unit.offset for unit in self.units]

    @cached_property
    def signatures(self) -> dict[int, int]:
        """The offset of the type that each type unit holds."""
        return {unit.signature: unit.offset + unit.type_offset for unit in self.units if unit.signature is not None}

    def section(self, name: str) -> bytes:
        """Return a section's contents."""
        if name not in self._sections:
            self._sections[name] = self._elf.section(name)
        return self._sections[name]

    def text(self, section: str, offset: int) -> str:
        """Return a string of a string section."""
        table = self.section(section)
        end = table.find(b"\0", offset)
        if end < 0:
            msg = f"a string lies outside {section}"
            raise DwarfError(msg)
        return table[offset:end].decode("utf-8", "replace")

    def unit_at(self, offset: int) -> Unit:
        """Return the unit that holds an offset."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or not self.units[index].first <= offset < self.units[index].end:
            msg = f"a reference to {offset:#x} leads nowhere"
            raise DwarfError(msg)
        return self.units[index]

    def entry(self, offset: int) -> Entry:
        """Decode the entry at an offset; of a type that a unit of its own describes, the description."""
        found = self.unit_at(offset).entry(offset)
        if At.SIGNATURE in found.values:
            described = found.reference(At.SIGNATURE)
            if described is not None:
                return self.unit_at(described).entry(described)
        return found

    def abbreviations(self, unit: Unit) -> dict[int, Abbreviation]:
        """Return the table of abbreviations of a unit."""
        key = _key(unit)
        if key not in self._tables:
            data = self.section(".debug_abbrev")
            self._tables[key] = read_abbreviations(data, unit.abbreviations_at, unit.width, self._known)
        return self._tables[key]

    def shapes(self, unit: Unit) -> _core.Dies:
        """Return what the core steps over a unit's entries by."""
        key = _key(unit)
        if key not in self._shapes:
            shapes = [_shape(code, abbreviation) for code, abbreviation in unit.abbreviations.items()]
            forms = array("h", (_width_or_unknown(unit, form) for form in range(_CORE_FORMS)))
            self._shapes[key] = _core.Dies(shapes, forms.tobytes())
        return self._shapes[key]


def tag_set(tags: Iterable[int]) -> bytes:
    """Return tags as the core takes them: a bit for each of the first 256; the first one for all others."""
    bits = 0
    for tag in tags:
        bits |= 1 << (tag if tag < _MANY_TAGS else 0)
    return bits.to_bytes(_MANY_TAGS // 8, "little")


_MANY_TAGS = 256
_ALL_TAGS = tag_set(range(_MANY_TAGS))


def _key(unit: Unit) -> tuple[int, int, int, int]:
    return unit.abbreviations_at, unit.version, unit.address_size, unit.offset_size


def _shape(code: int, abbreviation: Abbreviation) -> _core.DieSpec:
    forms = abbreviation.forms
    sibling = next(
        (
            index
            for index, (attribute, form, _, _) in enumerate(abbreviation.specs)
            if attribute == At.SIBLING and form in _SIBLING_FORMS
        ),
        -1,
    )
    is_static = abbreviation.tag == Tag.VARIABLE and forms.get(At.LOCATION) in _BLOCK_FORMS
    widths = array("h", (width for _, _, width, _ in abbreviation.specs))
    names = tuple(attribute for attribute, _, _, _ in abbreviation.specs)
    implicit = tuple(value for _, _, _, value in abbreviation.specs)
    tag = abbreviation.tag & 0xFFFFFFFF
    return code, tag, abbreviation.children, is_static, sibling, widths.tobytes(), names, implicit, abbreviation


def _width_or_unknown(unit: Unit, form: int) -> int:
    """Return a form's width; of those that an entry can't have by itself, one that the core refuses."""
    try:
        return INDIRECT if form == Form.IMPLICIT_CONST else unit.width(form)
    except DwarfError:
        return INDIRECT
