"""Types from debug information: each entry that a function or a variable refers to becomes a type of the model.

Types are read when something refers to them.  A record's members are read after the record has got its number, so that
records may refer to each other in any way, and so that the depth of recursion stays small.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from midflight.artifact.dwarf.constants import PASS_BY_REFERENCE, PASS_BY_VALUE, At, Encoding, Tag
from midflight.artifact.dwarf.names import (
    QUALIFIERS,
    RECORDS,
    Spelling,
    c_name,
    declaration,
    dialect,
    names_const_pointer,
    scope_name,
)
from midflight.artifact.dwarf.records import RecordReader
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Signature, Typedef
from midflight.artifact.layout import size_of
from midflight.artifact.type_table import DEEPEST, TypeTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.artifact.dwarf.entries import Debug, Entry
    from midflight.artifact.interface import Type, TypeId

_INTEGER_SIZES = frozenset({1, 2, 4, 8})
_FLOAT_SIZES = frozenset({4, 8})
_MOST_ENUMERATORS = 1 << 16
_UNBOUNDED = frozenset({0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
_FLOAT = 4
_LIBRARY_ALIGNMENTS = (8, 4, 2, 1)
_KEYWORDS = {Tag.STRUCTURE: "struct ", Tag.CLASS: "struct ", Tag.UNION: "union ", Tag.ENUMERATION: "enum "}


class TypeReader:
    """Turns type entries into the types of one interface."""

    def __init__(self, debug: Debug, spelling: Spelling, definitions: Callable[[str], Entry | None]) -> None:
        self.table = TypeTable()
        self.spelling = spelling
        self._debug = debug
        self._definitions = definitions
        self._by_offset: dict[int, TypeId | None] = {}
        self._by_shape: dict[object, TypeId] = {}
        self._pending: deque[tuple[TypeId, Entry]] = deque()
        self._records = RecordReader(self)

    def of(self, entry: Entry, depth: int = 0) -> TypeId:
        """Return the type that an entry refers to by DW_AT_type; void where it refers to none."""
        if At.TYPE not in entry.values:
            return 0
        offset = entry.reference(At.TYPE)
        if offset is None:
            return self.table.unsupported("", None, "it is described in another file")
        return self.at(offset, depth)

    def at(self, offset: int, depth: int = 0) -> TypeId:
        """Return the type that the entry at an offset describes."""
        if offset in self._by_offset:
            known = self._by_offset[offset]
            return known if known is not None else self.table.unsupported("", None, "it refers to itself")
        if depth > DEEPEST:
            return self.table.unsupported("", None, "it is nested too deeply")
        self._by_offset[offset] = None
        found = self._read(self._debug.entry(offset), depth + 1)
        self._by_offset[offset] = found
        return found

    def finish(self) -> tuple[Type, ...]:
        """Read the members of all records that were met, and return the types."""
        while self._pending:
            type_id, entry = self._pending.popleft()
            self._records.fill(type_id, entry)
        return self.table.finish()

    def is_const(self, offset: int | None) -> bool:
        """Tell whether a type is const, also behind typedefs and as the element of an array."""
        for _ in range(DEEPEST):
            if offset is None:
                return False
            entry = self._debug.entry(offset)
            if entry.tag == Tag.CONST:
                return True
            if entry.tag not in QUALIFIERS and entry.tag not in {Tag.TYPEDEF, Tag.ARRAY}:
                return False
            offset = entry.reference(At.TYPE)
        return False

    def plain_name(self, entry: Entry) -> str:
        """Return a named type's name: with its keyword in C, with its scopes in other languages, "" without a name."""
        if not entry.name:
            return ""
        if dialect(entry.unit) in {"c", ""}:
            return f"{_KEYWORDS.get(entry.tag, '')}{entry.name}"
        return self.spelling.qualified(entry)

    def _read(self, entry: Entry, depth: int) -> TypeId:  # noqa: C901 - one answer for each kind of type
        table = self.table
        match entry.tag:
            case Tag.CONST | Tag.VOLATILE | Tag.RESTRICT | Tag.ATOMIC | Tag.IMMUTABLE:
                return self.of(entry, depth)
            case Tag.BASE:
                return self._base(entry)
            case Tag.POINTER | Tag.REFERENCE | Tag.RVALUE_REFERENCE:
                const = self.is_const(entry.reference(At.TYPE))
                const = const or names_const_pointer(dialect(entry.unit), entry.name)
                return table.add(Pointer(self.of(entry, depth), const))
            case Tag.STRUCTURE | Tag.CLASS | Tag.UNION:
                return self._record(entry, depth)
            case Tag.TYPEDEF | Tag.TEMPLATE_ALIAS:
                name = entry.name if dialect(entry.unit) in {"c", ""} else self.spelling.qualified(entry)
                return table.add(Typedef(name, self.of(entry, depth)))
            case Tag.ARRAY:
                return self._array(entry, depth)
            case Tag.ENUMERATION:
                return self._enum(entry)
            case Tag.SUBROUTINE:
                return self._signature(entry, depth)
            case Tag.PTR_TO_MEMBER:
                return table.unsupported("", entry.number(At.BYTE_SIZE), "it is a pointer to a member of a class")
            case Tag.UNSPECIFIED_TYPE if "nullptr" in entry.name:
                return table.add(Pointer(0))
        return table.unsupported(entry.name, entry.number(At.BYTE_SIZE), "it is of a kind that midflight doesn't know")

    def _base(self, entry: Entry) -> TypeId:  # noqa: C901 - one answer for each encoding
        name, size = c_name(entry.name), entry.number(At.BYTE_SIZE) or 0
        add, refuse = self.table.add, self.table.unsupported
        match entry.number(At.ENCODING):
            case _ if size == 0 and name in {"()", "!", "void", "noreturn"}:
                return 0
            case Encoding.BOOLEAN if size == 1:
                return add(Scalar(name, "bool", 1))
            case Encoding.BOOLEAN if size in _INTEGER_SIZES:
                return add(Scalar(name, "uint", size))
            case Encoding.FLOAT if size in _FLOAT_SIZES:
                return add(Scalar(name, "float", size))
            case Encoding.FLOAT:
                return refuse(name, size, f"it has {'fewer' if size < _FLOAT else 'more'} bits than Python's floats")
            case Encoding.SIGNED_CHAR | Encoding.UNSIGNED_CHAR if name == "char" and size == 1:
                return add(Scalar(name, "char", 1))
            case Encoding.SIGNED | Encoding.SIGNED_CHAR if size in _INTEGER_SIZES:
                return add(Scalar(name, "int", size))
            case Encoding.UNSIGNED | Encoding.UNSIGNED_CHAR | Encoding.UTF | Encoding.ASCII if size in _INTEGER_SIZES:
                return add(Scalar(name, "uint", size))
            case Encoding.SIGNED | Encoding.UNSIGNED:
                return refuse(name, size, f"it is an integer of {size * 8} bits")
            case Encoding.COMPLEX_FLOAT:
                return refuse(name, size, "it is a complex number")
            case Encoding.DECIMAL_FLOAT:
                return refuse(name, size, "it is a decimal float")
            case Encoding.ADDRESS if size == 8:  # noqa: PLR2004 - an address
                return add(Pointer(0))
        return refuse(name, size, "it is a number of a kind that midflight doesn't know")

    def _array(self, entry: Entry, depth: int) -> TypeId:
        element = self.of(entry, depth)
        counts = [_count(child) for child in entry.children() if child.tag == Tag.SUBRANGE][:DEEPEST]
        found = element
        for count in reversed(counts or [None]):
            found = self.table.add(Array(found, count))
        if entry.flag(At.GNU_VECTOR):
            spelled = self.spelling.type_of(entry)
            size = size_of(self.table.types, found)
            return self.table.unsupported(f"vector of {spelled}", size, "it is a SIMD vector")
        return found

    def _enum(self, entry: Entry) -> TypeId:
        if entry.flag(At.DECLARATION):
            entry = self._definitions(self.plain_name(entry)) or entry
        base = self._underlying(entry)
        size = entry.number(At.BYTE_SIZE) or (base.size if base is not None else 4)
        if size not in _INTEGER_SIZES:
            return self.table.unsupported(self.plain_name(entry), size, f"it is an enumeration of {size * 8} bits")
        items: list[tuple[str, int]] = []
        for child in entry.children():
            if child.tag == Tag.ENUMERATOR and len(items) < _MOST_ENUMERATORS:
                items.append((child.name, child.number(At.CONST_VALUE) or 0))
        if base is not None:
            signed = base.kind == "int"
        else:
            encoding = entry.number(At.ENCODING)
            signed = encoding == Encoding.SIGNED or any(value < 0 for _, value in items)
        wrapped = tuple((name, _wrap(value, size, signed=signed)) for name, value in items)
        return self.table.add(Enum(self.plain_name(entry), size, signed, wrapped))

    def _underlying(self, entry: Entry) -> Scalar | None:
        type_id = self.of(entry)
        for _ in range(DEEPEST):
            found = self.table.types[type_id]
            if not isinstance(found, Typedef):
                return found if isinstance(found, Scalar) else None
            type_id = found.target
        return None

    def _signature(self, entry: Entry, depth: int) -> TypeId:
        params: list[TypeId] = []
        variadic = False
        for child in entry.children():
            if child.tag == Tag.FORMAL_PARAMETER:
                params.append(self.of(child, depth))
            variadic = variadic or child.tag == Tag.UNSPECIFIED_PARAMETERS
        return self.table.add(Signature(tuple(params), self.of(entry, depth), variadic))

    def _record(self, entry: Entry, depth: int) -> TypeId:
        name = self.plain_name(entry)
        if entry.flag(At.DECLARATION) and name:
            entry = self._definitions(name) or entry
        if dialect(entry.unit) == "rust" and any(child.tag == Tag.VARIANT_PART for child in entry.children()):
            return self._rust_enum(entry, name, depth)
        kind = "union" if entry.tag == Tag.UNION else "struct"
        size = None if entry.flag(At.DECLARATION) else entry.number(At.BYTE_SIZE) or 0
        shape = (kind, name, size, self._records.shape(entry))
        known = self._by_shape.get(shape)
        if known is not None:
            return known
        library = self._is_library(entry)
        align = entry.number(At.ALIGNMENT)
        if align is None and library and size:  # its members, which would tell, aren't read
            align = next(align for align in _LIBRARY_ALIGNMENTS if size % align == 0)
        trivial = size is None or self._records.is_trivial(entry)
        record = Record(name, "union" if kind == "union" else "struct", size, (), align, trivial)
        type_id = self._by_shape[shape] = self.table.reserve(record)
        if size is not None and not library:
            self._pending.append((type_id, entry))
        return type_id

    def _is_library(self, entry: Entry) -> bool:
        """Tell whether a record's members are the business of the C++ standard library only."""
        declared = declaration(entry)
        return dialect(entry.unit) == "c++" and self.spelling.scopes(declared.unit).is_library(declared.offset)

    def _rust_enum(self, entry: Entry, name: str, depth: int) -> TypeId:
        """Read an ``Option`` of a pointer as that pointer; refuse other enums that hold data."""
        size = entry.number(At.BYTE_SIZE)
        payload = self._records.option_payload(entry)
        if payload is not None and payload.tag == Tag.POINTER and size == 8:  # noqa: PLR2004 - an address
            return self.at(payload.offset, depth)
        return self.table.unsupported(name, size, "it is a Rust enum that holds data")

    def enclosing_class(self, entry: Entry) -> str:
        """Return the qualified name of the class that an entry is declared in, "" where it is in none."""
        parents = self.spelling.scopes(entry.unit).parents(entry.offset)
        if not parents or parents[-1].tag not in RECORDS:
            return ""
        return "::".join(name for parent in parents if (name := scope_name(parent)))

    def calling_convention(self, entry: Entry) -> bool | None:
        """Tell whether the compiler says that a class is passed by value (True) or by reference (False)."""
        return {PASS_BY_VALUE: True, PASS_BY_REFERENCE: False}.get(entry.number(At.CALLING_CONVENTION) or 0)


def _count(subrange: Entry) -> int | None:
    count = subrange.number(At.COUNT)
    if count is None:
        upper = subrange.number(At.UPPER_BOUND)
        if upper is None:
            return None
        count = 0 if upper in _UNBOUNDED else upper + 1
    return count if count >= 0 else None


def _wrap(value: int, size: int, *, signed: bool) -> int:
    bits = size * 8
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value
