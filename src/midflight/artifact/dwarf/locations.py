"""Where a static variable lies, from its location expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.dwarf.constants import At, Op
from midflight.artifact.dwarf.forms import read_uleb

if TYPE_CHECKING:
    from midflight.artifact.dwarf.entries import Entry

_THREAD_LOCAL_OPS = frozenset({Op.FORM_TLS_ADDRESS, Op.GNU_PUSH_TLS_ADDRESS})
_THREAD_OFFSET_OPS = frozenset({
    Op.ADDR, Op.CONST4U, Op.CONST8U, Op.ADDRX, Op.CONSTX, Op.GNU_ADDR_INDEX, Op.GNU_CONST_INDEX,
})  # fmt: skip
_STATIC_ADDRESS_OPS = frozenset({Op.ADDR, Op.ADDRX, Op.GNU_ADDR_INDEX})


def is_split(entry: Entry) -> bool:
    """Tell whether a static variable lies in pieces, some of which may be nowhere: clang does that to save memory."""
    expression = entry.values.get(At.LOCATION)
    if not isinstance(expression, bytes) or not expression:
        return False
    if expression[0] == Op.PIECE:
        return True
    if expression[0] not in _STATIC_ADDRESS_OPS:
        return False
    end = 1 + entry.unit.address_size if expression[0] == Op.ADDR else read_uleb(expression, 1)[1]
    if expression[end : end + 1] == bytes([Op.PLUS_UCONST]):
        end = read_uleb(expression, end + 1)[1]
    return expression[end : end + 1] == bytes([Op.PIECE])


def static_location(entry: Entry) -> tuple[int | None, bool] | None:
    """Return a variable's ``(address, thread_local)``; None where its place isn't fixed or isn't said."""
    expression = entry.values.get(At.LOCATION)
    if not isinstance(expression, bytes) or not expression:
        return None
    if expression[-1] in _THREAD_LOCAL_OPS and expression[0] in _THREAD_OFFSET_OPS:
        return None, True
    if expression[0] not in _STATIC_ADDRESS_OPS:
        return None
    unit = entry.unit
    address: int | None
    if expression[0] == Op.ADDR:
        end = 1 + unit.address_size
        address = int.from_bytes(expression[1:end], "little")
    else:
        index, end = read_uleb(expression, 1)
        address = unit.indexed_address(index)
    if end < len(expression) and address is not None:
        if expression[end] != Op.PLUS_UCONST:
            return None
        extra, end = read_uleb(expression, end + 1)
        address += extra
    return (address, False) if end == len(expression) else None
