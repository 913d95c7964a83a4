"""ctypes classes for an interface's types, with exactly the layout that the library was compiled with.

ctypes lays fields out by rules of its own.  Where these give the library's offsets, a record becomes a plain
`ctypes.Structure` or `ctypes.Union`; where they don't (packed or over-aligned records, members that Python has no type
for), padding is spelled out; and where even that can't say it (bit-fields of mixed types, overlapping members), the
record is its bytes, and each member a descriptor that reads and writes its place in them.

Guarantees: the size of each class and the offset of each member are the library's own.  A `CTypes` gives the same
class for the same type each time, and never one that another thread is still making.
"""

from __future__ import annotations

import ctypes
import enum
import keyword
import re
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

from midflight.artifact.interface import (
    Array,
    Enum,
    Pointer,
    Record,
    Scalar,
    Signature,
    Typedef,
    Unsupported,
    Void,
)
from midflight.artifact.record_layout import Member, lay_out

if TYPE_CHECKING:
    from midflight.artifact.interface import Field, Interface, TypeId

CType: TypeAlias = Any
"""A ctypes class.  typeshed's base class of these is private, and their metaclasses' methods aren't described."""

_INTS: dict[int, CType] = {1: ctypes.c_int8, 2: ctypes.c_int16, 4: ctypes.c_int32, 8: ctypes.c_int64}
_UINTS: dict[int, CType] = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}
_FLOATS: dict[int, CType] = {4: ctypes.c_float, 8: ctypes.c_double}
_KEYWORD = re.compile(r"^(?:struct|union|enum) ")
_NOT_IDENTIFIER = re.compile(r"\W+")
_LIBRARY = ("std::", "__gnu_cxx::", "__va_list_tag")
_RESERVED_FIELDS = frozenset({"_fields_", "_pack_", "_anonymous_", "_layout_", "_align_", "_swappedbytes_"})


class CTypes:
    """The ctypes classes of one interface."""

    def __init__(self, interface: Interface, *, elsewhere: bool = False) -> None:
        """``elsewhere``: pointers in the library's memory mean nothing in this process, and are mere addresses."""
        self._interface = interface
        self.elsewhere = elsewhere
        self._known: dict[TypeId, CType] = {}
        self._enums: dict[TypeId, type[enum.IntEnum]] = {}
        self._incomplete: set[TypeId] = set()
        self._names: dict[str, Any] | None = None
        # Guards all of the above: a record's class is known before it is complete, as it may have pointers to itself.
        self._mutex = threading.RLock()

    def of(self, type_id: TypeId) -> CType:
        """Return a type's ctypes class; None for ``void``.

        An enum is its integer type; a type that Python can't hold is a structure of as many bytes.
        """
        with self._mutex:
            found = self._of(type_id)
            while self._incomplete:
                self._complete(next(iter(self._incomplete)))
        return found

    def enum(self, type_id: TypeId) -> type[enum.IntEnum]:
        """Return an enumeration's `enum.IntEnum` class.  A typedef gives the class of its enumeration."""
        interface = self._interface
        found = interface.types[type_id]
        while isinstance(found, Typedef):
            type_id = found.target
            found = interface.types[type_id]
        if not isinstance(found, Enum):
            what = f"{interface.spell(type_id)} is no enumeration"
            raise TypeError(what)
        with self._mutex:
            if type_id not in self._enums:
                name = friendly_name(found.name) or f"enum_{type_id}"
                self._enums[type_id] = _int_enum(name, found)
            return self._enums[type_id]

    def namespace(self) -> dict[str, Any]:
        """Return the named structs, unions, enums and callback types by names that Python can write.

        ``struct player`` and ``ns::player`` are ``player`` where nothing else is; else ``struct_player``,
        ``ns_player``.  A typedef is listed under its own name.
        """
        with self._mutex:
            if self._names is None:
                self._names = self._all_names()
            return dict(self._names)

    def _all_names(self) -> dict[str, Any]:
        wanted: dict[str, dict[int, tuple[str, Any]]] = {}
        for type_id, found in enumerate(self._interface.types):
            if not isinstance(found, (Record, Enum, Typedef)) or not found.name or found.name.startswith(_LIBRARY):
                continue
            made = self._offered(type_id)
            if made is not None:
                full = _NOT_IDENTIFIER.sub("_", found.name).strip("_")
                wanted.setdefault(friendly_name(found.name), {})[id(made)] = (full, made)
        names: dict[str, Any] = {}
        for short, several in wanted.items():
            for full, made in several.values():
                name = short if len(several) == 1 else full
                if name.isidentifier():
                    names.setdefault(safe_name(name), made)
        return names

    def _offered(self, type_id: TypeId) -> CType:
        """Return what a name in the namespace stands for; None where it isn't listed."""
        match self._interface.strip(type_id):
            case Record():
                return self.of(type_id)
            case Enum():
                return self.enum(type_id)
            case Pointer(target) if isinstance(self._interface.strip(target), Signature):
                return self.of(type_id)
        return None

    def _of(self, type_id: TypeId) -> CType:
        if type_id not in self._known:
            self._known[type_id] = self._make(type_id)
        return self._known[type_id]

    def _make(self, type_id: TypeId) -> CType:
        found = self._interface.types[type_id]
        match found:
            case Void() | Signature():
                return None
            case Scalar():
                return _scalar(found)
            case Enum():
                return (_INTS if found.signed else _UINTS)[found.size]
            case Typedef():
                return self._of(found.target)
            case Pointer():
                return self._pointer(found)
            case Array():
                return self._held(found.element) * (found.count or 0)
            case Unsupported():
                return _opaque(found.name or "unsupported", found.size or 0, found.reason)
            case Record():
                self._incomplete.add(type_id)
                base: CType = ctypes.Union if found.kind == "union" else ctypes.Structure
                return type(friendly_name(found.name) or f"{found.kind}_{type_id}", (base,), {})

    def _pointer(self, pointer: Pointer) -> CType:
        target = self._interface.strip(pointer.target)
        match target:
            case Void() | Unsupported():
                return ctypes.c_void_p
            case Signature():
                return self._callback(target)
            case Scalar(kind="char") if pointer.const:
                return ctypes.c_char_p
        return ctypes.POINTER(self._of(pointer.target))

    def _callback(self, signature: Signature) -> CType:
        """Return the class of a function pointer; a plain address where ctypes can't make or call such functions."""
        parts = (*signature.params, signature.result)
        if signature.variadic or any(isinstance(self._interface.strip(part), Unsupported) for part in parts):
            return ctypes.c_void_p
        result = self._of(signature.result)
        if isinstance(self._interface.strip(signature.result), Pointer):
            result = ctypes.c_void_p  # the only pointer that ctypes lets a Python function return
        params = [self._of(param) for param in signature.params]
        if None in params:  # no C compiler says that a parameter is void, or a function
            return ctypes.c_void_p
        return ctypes.CFUNCTYPE(result, *params)

    def _held(self, type_id: TypeId) -> CType:
        """Return the class of a type that is part of another one, complete."""
        if self.elsewhere and isinstance(self._interface.strip(type_id), Pointer):
            return ctypes.c_void_p
        found = self._of(type_id)
        if type_id in self._incomplete:
            self._complete(type_id)
        if found is None:
            return ctypes.c_uint8 * 0
        inner = self._interface.types[type_id]
        if isinstance(inner, Typedef):
            return self._held(inner.target)
        return found

    def _complete(self, type_id: TypeId) -> None:
        record = self._interface.types[type_id]
        self._incomplete.discard(type_id)
        if isinstance(record, Record):
            made = self._known[type_id]
            lay_out(made, record, self._members(record))
            made.__doc__ = _describe(self._interface, record)

    def _members(self, record: Record) -> list[Member]:
        members: list[Member] = []
        used: set[str] = set()
        for index, field in enumerate(record.fields):
            anonymous = not field.name and isinstance(self._interface.strip(field.type), Record)
            name = _field_name(field, index, used, anonymous=anonymous)
            used.add(name)
            members.append(
                Member(name, self._held(field.type), field.offset, field.bit_size, field.bit_offset, anonymous)
            )
        return members


def friendly_name(name: str) -> str:
    """Return a type's name without its keyword and scopes, as Python writes it: ``ns::vec<int>`` is ``vec_int``."""
    name = _KEYWORD.sub("", name)
    head, bracket, rest = name.partition("<")
    short = _NOT_IDENTIFIER.sub("_", head.rsplit("::", 1)[-1] + bracket + rest)
    return short.strip("_") if bracket else short


def safe_name(name: str) -> str:
    """Return a name that isn't a Python keyword: ``from`` becomes ``from_``."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _scalar(scalar: Scalar) -> CType:
    match scalar.kind:
        case "int":
            return _INTS[scalar.size]
        case "uint":
            return _UINTS[scalar.size]
        case "float":
            return _FLOATS[scalar.size]
        case "bool":
            return ctypes.c_bool
        case "char":
            return ctypes.c_char


def _opaque(name: str, size: int, reason: str) -> CType:
    fields = [("_bytes", ctypes.c_uint8 * size)]
    return type(_NOT_IDENTIFIER.sub("_", name), (ctypes.Structure,), {"_fields_": fields, "__doc__": reason})


def _field_name(field: Field, index: int, used: set[str], *, anonymous: bool) -> str:
    name = field.name or (f"_anonymous{index}" if anonymous else f"_unnamed{index}")
    name = safe_name(name)
    if name.startswith(("_padding", "__")):
        name = f"field{name}"
    while name in used or name in _RESERVED_FIELDS:
        name += "_"
    return name


def member_names(found: Enum) -> dict[str, int]:
    """Return an enumeration's values by names that `enum.IntEnum` accepts."""
    items: dict[str, int] = {}
    for item, value in found.items:
        key = safe_name(item)
        # Names that the enum module keeps for itself.
        if key == "mro" or (key.startswith("_") and key.endswith("_")) or not key.isidentifier():
            key = f"{_NOT_IDENTIFIER.sub('_', key).strip('_')}_value"
        if key.startswith("__") or key[:1].isdigit():
            key = f"value{key}"
        while key in items:
            key += "_2"  # not "_": a name that begins and ends with one is the enum module's
        items[key] = value
    return items


def _int_enum(name: str, found: Enum) -> type[enum.IntEnum]:
    functional: Any = enum.IntEnum  # called with values, it makes a class
    made: type[enum.IntEnum] = functional(name, member_names(found))
    made.__doc__ = found.name
    return made


def _describe(interface: Interface, record: Record) -> str:
    lines = [record.name or f"anonymous {record.kind}"]
    for field in record.fields[:100]:
        bits = "" if field.bit_size is None else f" : {field.bit_size}"
        lines.append(f"    {interface.spell(field.type)} {field.name}{bits}".rstrip())
        found = interface.strip(field.type)
        if isinstance(found, Unsupported):
            lines[-1] += f"  ({found.reason})"
    return "\n".join(lines)
