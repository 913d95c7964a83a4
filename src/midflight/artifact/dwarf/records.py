"""The members of structs, unions and classes, and whether copying their bytes copies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.dwarf.constants import At, Op, Tag
from midflight.artifact.dwarf.names import QUALIFIERS, RECORDS, dialect, is_library_namespace
from midflight.artifact.interface import Field, Unsupported
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.dwarf.entries import Entry
    from midflight.artifact.dwarf.types import TypeReader
    from midflight.artifact.interface import TypeId

_MOST_FIELDS = 1 << 16
_DEEPEST = 32
_TRANSPARENT = QUALIFIERS | {Tag.TYPEDEF, Tag.ARRAY}
_LARGEST_OFFSET = 1 << 46
_COPY_PARAMETERS = 2


class RecordReader:
    """Reads the insides of record entries for a `TypeReader`."""

    def __init__(self, types: TypeReader) -> None:
        self._types = types
        self._trivial: dict[int, bool] = {}
        self._left = _MOST_FIELDS * 16
        self._shape_parts = _MOST_FIELDS * 64

    def fill(self, type_id: TypeId, entry: Entry) -> None:
        """Read an entry's members into the record that was reserved for it."""
        fields: list[Field] = []
        for member, offset in self._members(entry, 0, 0):
            self._left -= 1
            if len(fields) >= _MOST_FIELDS or self._left < 0:
                self._types.table.replace(type_id, _too_large(self._types.plain_name(entry)))
                return
            fields.append(self._field(member, offset))
        self._types.table.complete(type_id, tuple(fields))

    def shape(self, entry: Entry) -> object:
        """Return what tells a record from others of its name: its members' names, places and kinds of type.

        A record that several units describe gets one number by it.  Without members (a declaration, or a class of the
        standard library) the name decides alone.
        """
        return self._shape(entry, 0)

    def _shape(self, entry: Entry, depth: int) -> object:
        if entry.flag(At.DECLARATION):
            return None
        parts: list[object] = []
        for child in entry.children():
            if child.tag in {Tag.MEMBER, Tag.INHERITANCE} and not child.flag(At.EXTERNAL):
                self._shape_parts -= 1
                if self._shape_parts < 0:
                    return entry.offset
                location = child.values.get(At.DATA_MEMBER_LOCATION), child.values.get(At.DATA_BIT_OFFSET)
                parts.append((child.name, location, child.values.get(At.BIT_SIZE), self._type_shape(child, depth + 1)))
        return tuple(parts)

    def _type_shape(self, entry: Entry, depth: int) -> object:
        tags: list[object] = []
        target = entry.target(At.TYPE)
        while target is not None and len(tags) < _DEEPEST:
            tags.append(target.tag)
            if target.name:
                return (*tags, target.name, target.values.get(At.BYTE_SIZE))
            if target.tag in RECORDS:
                return (*tags, self._shape(target, depth) if depth < _DEEPEST else target.offset)
            if target.tag == Tag.ARRAY:
                bounds = [child.values.get(At.UPPER_BOUND, child.values.get(At.COUNT)) for child in target.children()]
                tags.extend(bounds[:_DEEPEST])
            elif target.tag not in QUALIFIERS and target.tag != Tag.POINTER:
                return (*tags, target.offset)
            target = target.target(At.TYPE)
        return tuple(tags)

    def _members(self, entry: Entry, base: int, depth: int) -> Iterator[tuple[Entry, int]]:
        """Go through the data members, those of base classes first, with their offsets in bytes."""
        rust = dialect(entry.unit) == "rust"
        for child in entry.children():
            if child.tag == Tag.INHERITANCE:
                parent = child.target(At.TYPE)
                if parent is not None and depth < _DEEPEST and not child.flag(At.VIRTUALITY):
                    parent = _strip(parent)
                    yield from self._members(parent, base + _location(child), depth + 1)
            elif (
                child.tag == Tag.MEMBER
                and not child.flag(At.ARTIFICIAL)
                and not child.flag(At.EXTERNAL)
                and not (child.flag(At.DECLARATION) and not rust)
            ):
                yield child, base + _location(child)

    def _field(self, member: Entry, offset: int) -> Field:
        type_id = self._types.of(member)
        bits = member.number(At.BIT_SIZE)
        if bits is None:
            return Field(member.name, type_id, offset)
        storage = max(size_of(self._types.table.types, type_id) or 1, 1)
        start = member.number(At.DATA_BIT_OFFSET)
        if start is not None:
            first = start + (offset - _location(member)) * 8
        else:
            # The older way counts from the most significant bit of a storage unit.
            held = member.number(At.BYTE_SIZE) or storage
            first = offset * 8 + held * 8 - (member.number(At.BIT_OFFSET) or 0) - bits
        return Field(member.name, type_id, first // (storage * 8) * storage, bits, first)

    def is_trivial(self, entry: Entry, depth: int = 0) -> bool:
        """Tell whether copying a record's bytes copies it.

        The compiler's own word counts most.  Without it: no virtual functions, no user-written destructor or copy
        constructor, and no member or base class that isn't trivial itself.
        """
        if dialect(entry.unit) not in {"c++", "rust"}:
            return True
        known = self._trivial.get(entry.offset)
        if known is None:
            self._trivial[entry.offset] = True  # what a record that contains itself would find
            said = self._types.calling_convention(entry)
            known = said if said is not None else depth < _DEEPEST and self._looks_trivial(entry, depth)
            self._trivial[entry.offset] = known
        return known

    def _looks_trivial(self, entry: Entry, depth: int) -> bool:
        if dialect(entry.unit) == "rust":
            path = self._types.spelling.scopes(entry.unit).path(entry.offset)
            # What owns memory in Rust is built from these two crates' types.
            if path and is_library_namespace("rust", path[0]) and path[0] in {"alloc", "std"}:
                return False
        name = entry.name.split("<", 1)[0]
        for child in entry.children():
            if child.tag == Tag.SUBPROGRAM and _takes_part_in_copying(child, name):
                return False
            if child.tag == Tag.INHERITANCE and child.flag(At.VIRTUALITY):
                return False
            if child.tag in {Tag.INHERITANCE, Tag.MEMBER} and not child.flag(At.EXTERNAL):
                held = child.target(At.TYPE)
                held = _strip(held) if held is not None else None
                if held is not None and held.tag in RECORDS and not self.is_trivial(held, depth + 1):
                    return False
        return True

    def option_payload(self, entry: Entry) -> Entry | None:
        """Return the type that a Rust ``Option`` holds, None for other enums."""
        if not entry.name.startswith("Option<"):
            return None
        for part in entry.children():
            if part.tag != Tag.VARIANT_PART:
                continue
            for variant in part.children():
                for member in variant.children() if variant.tag == Tag.VARIANT else ():
                    held = member.target(At.TYPE) if member.name == "Some" else None
                    for inner in held.children() if held is not None else ():
                        if inner.tag == Tag.MEMBER:
                            return inner.target(At.TYPE)
        return None


def _takes_part_in_copying(method: Entry, class_name: str) -> bool:
    if method.flag(At.VIRTUALITY):
        return True
    if method.flag(At.ARTIFICIAL) or At.DEFAULTED in method.values or method.flag(At.DELETED):
        return False
    if method.name.startswith("~"):
        return True
    if method.name != class_name:
        return False
    params = [child for child in method.children() if child.tag == Tag.FORMAL_PARAMETER]
    if len(params) != _COPY_PARAMETERS:
        return False
    last = params[1].target(At.TYPE)
    if last is None or last.tag not in {Tag.REFERENCE, Tag.RVALUE_REFERENCE}:
        return False
    same = last.target(At.TYPE)
    return same is not None and _strip(same).name.split("<", 1)[0] == class_name


def _strip(entry: Entry) -> Entry:
    for _ in range(_DEEPEST):
        if entry.tag not in _TRANSPARENT:
            break
        further = entry.target(At.TYPE)
        if further is None:
            break
        entry = further
    return entry


def _location(member: Entry) -> int:
    """Return a member's offset in bytes; 0 where only a bit offset is given, as in unions."""
    value = member.values.get(At.DATA_MEMBER_LOCATION, 0)
    if isinstance(value, bytes):
        if not value or value[0] != Op.PLUS_UCONST:
            return 0
        number = 0
        for shift, byte in enumerate(value[1:10]):
            number |= (byte & 0x7F) << (7 * shift)
        value = number
    return value if 0 <= value < _LARGEST_OFFSET else 0


def _too_large(name: str) -> Unsupported:
    return Unsupported(name, None, "it has too many members")
