"""Where addresses are within a type: they mean nothing in another process, so none may travel in a struct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Array, Pointer, Record
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from midflight.artifact.interface import Interface, TypeId

_MOST = 1 << 16
_NULL = bytes(8)


def places(interface: Interface, type_id: TypeId) -> tuple[int, ...]:
    """Return the offsets of all addresses in a type, as far as its declaration tells."""
    return tuple(_places(interface, type_id)[:_MOST])


def _places(interface: Interface, type_id: TypeId) -> list[int]:
    match interface.strip(type_id):
        case Pointer():
            return [0]
        case Array(element, count):
            inner = _places(interface, element)
            size = size_of(interface.types, element) or 0
            return [index * size + place for index in range(min(count or 0, _MOST)) for place in inner] if inner else []
        case Record(fields=fields):
            return [field.offset + place for field in fields for place in _places(interface, field.type)]
        case _:
            return []


def holds_address(data: bytes, size: int, offsets: tuple[int, ...]) -> bool:
    """Whether any of the items of ``size`` bytes has an address in it that isn't null."""
    if not offsets or size <= 0:
        return False
    return any(
        data[start + offset : start + offset + 8] not in {_NULL, b""}
        for start in range(0, len(data), size)
        for offset in offsets
    )


def opaque(interface: Interface, type_id: TypeId) -> bool:
    """Whether copying a type's bytes isn't copying it: a C++ object, a type that is only declared."""
    found = interface.strip(type_id)
    return isinstance(found, Record) and (found.size is None or not found.trivial)
