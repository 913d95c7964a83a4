"""Gives a ctypes record class its fields so that each lies where the library has it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from midflight.artifact.interface import Record

_LARGEST_TRIED = 1 << 16


class Member(NamedTuple):
    """A member to place: its class and its place; ``bits`` and ``first_bit`` for a bit-field."""

    name: str
    type: Any
    offset: int
    bits: int | None
    first_bit: int | None
    anonymous: bool


def lay_out(made: Any, record: Record, members: list[Member]) -> None:
    """Set the fields of a new record class; its size and offsets are the record's afterwards."""
    if record.size is None:
        made._fields_ = []
        return
    for plan in (_natural, _padded):
        fields = plan(record, members)
        if fields is not None and _fits(made, fields, record, members, packed=plan is _padded):
            _set(made, fields, members, packed=plan is _padded)
            return
    made._fields_ = [("_bytes", ctypes.c_uint8 * record.size)]
    for member in members:
        _describe_member(made, record, member)


def _natural(record: Record, members: list[Member]) -> list[tuple[Any, ...]] | None:
    if not members and record.size:
        return None
    return [_field(member) for member in members]


def _field(member: Member) -> tuple[Any, ...]:
    if member.bits is None:
        return (member.name, member.type)
    return (member.name, member.type, member.bits)


def _padded(record: Record, members: list[Member]) -> list[tuple[Any, ...]] | None:
    """Return the fields with all padding spelled out; None where that can't be done."""
    size = record.size or 0
    if any(member.bits is not None for member in members):
        return None
    if record.kind == "union":
        return [*map(_field, members), ("_padding", ctypes.c_uint8 * size)]
    fields: list[tuple[Any, ...]] = []
    at = 0
    for member in sorted(members, key=lambda member: member.offset):
        if member.offset < at:
            return None
        if member.offset > at:
            fields.append((f"_padding{len(fields)}", ctypes.c_uint8 * (member.offset - at)))
        fields.append(_field(member))
        at = member.offset + ctypes.sizeof(member.type)
    if at > size:
        return None
    if at < size:
        fields.append((f"_padding{len(fields)}", ctypes.c_uint8 * (size - at)))
    return fields


def _set(made: Any, fields: list[tuple[Any, ...]], members: list[Member], *, packed: bool) -> None:
    if packed:
        made._pack_ = 1
        made._layout_ = "ms"
    anonymous = [member.name for member in members if member.anonymous]
    if anonymous:
        made._anonymous_ = anonymous
    made._fields_ = fields


def _fits(
    made: Any,
    fields: list[tuple[Any, ...]],
    record: Record,
    members: list[Member],
    *,
    packed: bool,
) -> bool:
    """Try the fields on a class of the same kind, as a class can be given fields only once."""
    trial: Any = type("trial", made.__bases__, {})
    try:
        _set(trial, fields, [], packed=packed)
    except (TypeError, ValueError, OverflowError):
        return False
    if ctypes.sizeof(trial) != record.size:
        return False
    return all(
        getattr(trial, member.name).offset == member.offset if member.bits is None else _holds_bits(trial, member)
        for member in members
    )


def _holds_bits(trial: Any, member: Member) -> bool:
    """Try a bit-field: writing it must change its own bits and no others.

    What ctypes says about a bit-field's place isn't enough: with bool, and in unions, it writes elsewhere.  Outside of
    the record even, before its first byte: there it must not be tried.
    """
    size, offset = ctypes.sizeof(trial), getattr(trial, member.name).offset
    if size > _LARGEST_TRIED or offset < 0 or offset + ctypes.sizeof(member.type) > size:
        return False
    mask = ((1 << (member.bits or 0)) - 1) << (member.first_bit or 0)
    full = (1 << size * 8) - 1
    for background, value, wanted in ((0, -1, mask), (full, 0, full & ~mask)):
        held = trial.from_buffer_copy(background.to_bytes(size, "little"))
        setattr(held, member.name, value)
        if int.from_bytes(bytes(held), "little") != wanted:
            return False
    return True


def _describe_member(made: Any, record: Record, member: Member) -> None:
    size = record.size or 0
    if member.bits is not None:
        first = member.first_bit or 0
        if first >= 0 and first + member.bits <= size * 8 and member.bits <= ctypes.sizeof(member.type) * 8:
            setattr(made, member.name, _Bits(first, member.bits, member.type))
    elif member.offset + ctypes.sizeof(member.type) <= size:
        setattr(made, member.name, _Place(member.offset, member.type))
        if member.anonymous:
            for name, *_ in getattr(member.type, "_fields_", ()):
                if not hasattr(made, name):
                    setattr(made, name, _Inner(member.name, name))


class _Bits:
    """A bit-field, counted from the start of the record as on all little-endian machines."""

    def __init__(self, first: int, bits: int, kind: Any) -> None:
        self.place = (first, bits)
        self.kind = kind
        self._first = first
        self._bits = bits
        self._kind = kind

    def _window(self, record: Any) -> tuple[int, int, int]:
        start = self._first // 8
        end = (self._first + self._bits + 7) // 8
        return start, end, int.from_bytes(memoryview(record).cast("B")[start:end], "little")

    def __get__(self, record: Any, owner: Any = None) -> Any:
        if record is None:
            return self
        _, _, held = self._window(record)
        value = held >> (self._first % 8) & ((1 << self._bits) - 1)
        signed = self._kind(-1).value == -1 if self._kind is not ctypes.c_bool else False
        if signed and self._bits and value >> (self._bits - 1):
            value -= 1 << self._bits
        return bool(value) if self._kind is ctypes.c_bool else value

    def __set__(self, record: Any, value: int) -> None:
        start, end, held = self._window(record)
        mask = ((1 << self._bits) - 1) << (self._first % 8)
        held = held & ~mask | (int(value) << (self._first % 8)) & mask
        memoryview(record).cast("B")[start:end] = held.to_bytes(end - start, "little")


class _Place:
    """A member that is a view of its bytes."""

    def __init__(self, offset: int, kind: Any) -> None:
        self.offset = offset
        self.size = ctypes.sizeof(kind)
        self.place = (offset, self.size)
        self.kind = kind
        self._kind = kind

    def __get__(self, record: Any, owner: Any = None) -> Any:
        if record is None:
            return self
        held = self._kind.from_buffer(record, self.offset)
        # What ctypes' own fields give: simple values by value, everything else as a view.
        return held.value if isinstance(held, ctypes._SimpleCData) else held  # noqa: SLF001

    def __set__(self, record: Any, value: Any) -> None:
        held = self._kind.from_buffer(record, self.offset)
        if isinstance(held, ctypes._SimpleCData):  # noqa: SLF001
            held.value = value
            return
        given = value if isinstance(value, self._kind) else self._kind(*value)
        ctypes.memmove(ctypes.addressof(held), ctypes.addressof(given), self.size)


class _Inner:
    """A member of an anonymous member."""

    def __init__(self, holder: str, name: str) -> None:
        self._holder = holder
        self._name = name

    def __get__(self, record: Any, owner: Any = None) -> Any:
        return self if record is None else getattr(getattr(record, self._holder), self._name)

    def __set__(self, record: Any, value: Any) -> None:
        setattr(getattr(record, self._holder), self._name, value)
