"""numpy's types for an interface's types, with exactly the layout that the library was compiled with.

Guarantees: the item size and the offset of each field are the library's own.  A bit-field is the bytes that it lies in
(as ``void``: numpy has no numbers of bits); so is what Python has no number for.  Pointers and enums are integers, text
in a ``char`` array is text.  The members of an anonymous struct or union are the fields of what it lies in, as in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from midflight.artifact.interface import Field, Interface, Type, TypeId

_LETTERS = {"int": "i", "uint": "u", "float": "f", "char": "i"}


def dtype_of(interface: Interface, type_id: TypeId) -> np.dtype[Any]:
    """Return the type of an array's items.  Raises `ImportError` where numpy isn't installed."""
    import numpy as np  # noqa: PLC0415 - not needed by those who don't look at arrays

    dtype: np.dtype[Any] = np.dtype(_describe(interface, type_id))
    return dtype


def _describe(interface: Interface, type_id: TypeId) -> Any:
    """Return what `numpy.dtype` takes."""
    match interface.strip(type_id):
        case Scalar(_, "bool", 1):
            return "?"
        case Scalar(_, "int" | "uint" | "char" as kind, size) if size in {1, 2, 4, 8}:
            return f"{_LETTERS[kind]}{size}"
        case Scalar(_, "float", size) if size in {4, 8}:
            return f"f{size}"
        case Enum(_, size, signed):
            return f"{'i' if signed else 'u'}{size}"
        case Pointer():
            return "u8"
        case Array(element, count):
            return _array(interface, element, count or 0)
        case Record() as record if record.fields:
            return _record(interface, record)
        case other:
            return f"V{_size(interface, type_id, other)}"


def _size(interface: Interface, type_id: TypeId, found: Type) -> int:
    return size_of(interface.types, type_id) or getattr(found, "size", None) or 0


def _array(interface: Interface, element: TypeId, count: int) -> Any:
    found = interface.strip(element)
    if isinstance(found, Scalar) and found.kind == "char":
        return f"S{count}" if count else ("i1", (0,))
    described = _describe(interface, element)
    if isinstance(described, tuple):  # an array of arrays has one shape
        return (described[0], (count, *described[1]))
    return (described, (count,))


def _record(interface: Interface, record: Record) -> dict[str, Any]:
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    for name, offset, described in _fields(interface, record, 0):
        label = name
        while label in names:
            label += "_"
        names.append(label)
        formats.append(described)
        offsets.append(offset)
    return {"names": names, "formats": formats, "offsets": offsets, "itemsize": record.size or 0}


def _fields(interface: Interface, record: Record, start: int) -> Iterator[tuple[str, int, Any]]:
    """Yield name, offset and description of each field."""
    for index, field in enumerate(record.fields):
        found = interface.strip(field.type)
        if field.bit_size is not None:
            if field.name and field.bit_size:
                yield _bit_field(field, start)
        elif isinstance(found, Array) and found.count is None:
            continue  # its elements lie behind the struct
        elif not field.name and isinstance(found, Record):
            yield from _fields(interface, found, start + field.offset)
        else:
            yield field.name or f"_unnamed{index}", start + field.offset, _describe(interface, field.type)


def _bit_field(field: Field, start: int) -> tuple[str, int, str]:
    first = field.bit_offset or 0
    last = first + (field.bit_size or 1) - 1
    return field.name, start + first // 8, f"V{last // 8 - first // 8 + 1}"
