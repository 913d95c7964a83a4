"""Where a C compiler puts a record's members, by the System V ABI (x86-64 and AArch64 Linux), as gcc and clang do."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, NamedTuple

from midflight.artifact.interface import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midflight.artifact.interface import TypeId

_UNNAMED_ALIGN = platform.machine() == "aarch64"
"""Whether an unnamed bit-field's type counts for its record's alignment: it does on AArch64, not on x86-64."""


class Declared(NamedTuple):
    """A member as it is declared.  ``bits``: the width of a bit-field.  A ``name`` of None: an unnamed bit-field."""

    name: str | None
    type: TypeId
    size: int
    align: int
    bits: int | None = None


class Layout(NamedTuple):
    """A record's layout."""

    fields: tuple[Field, ...]
    size: int
    align: int


def struct_layout(members: Iterable[Declared], *, pack: int | None = None, align: int = 1) -> Layout:
    """Lay out a struct; ``pack`` is the largest alignment of a member (1: packed), ``align`` the least of the whole."""
    at = 0  # in bits
    fields: list[Field] = []
    for member in members:
        natural = member.align if pack is None else min(member.align, pack)
        if member.bits is None:
            at = _up(at, natural * 8)
            fields.append(Field(member.name or "", member.type, at // 8))
            at += member.size * 8
            align = max(align, natural)
            continue
        at = _bit_field_start(at, member, natural * 8, packed=pack == 1)
        if member.name is not None:
            storage = member.size * 8
            offset = at // storage * member.size
            fields.append(Field(member.name, member.type, offset, member.bits, at))
        if member.name is not None or _UNNAMED_ALIGN:
            align = max(align, natural)
        at += member.bits
    return Layout(tuple(fields), _up(at, align * 8) // 8, align)


def union_layout(members: Iterable[Declared], *, pack: int | None = None, align: int = 1) -> Layout:
    """Lay out a union."""
    size = 0
    fields: list[Field] = []
    for member in members:
        natural = member.align if pack is None else min(member.align, pack)
        if member.bits is None:
            fields.append(Field(member.name or "", member.type, 0))
            size = max(size, member.size)
            align = max(align, natural)
        else:
            size = max(size, (member.bits + 7) // 8)
            if member.name is not None:
                fields.append(Field(member.name, member.type, 0, member.bits, 0))
            if member.name is not None or _UNNAMED_ALIGN:
                align = max(align, natural)
    return Layout(tuple(fields), _up(size, align), align)


def _bit_field_start(at: int, member: Declared, align: int, *, packed: bool) -> int:
    """Return the bit at which a bit-field starts: it may not cross more storage units of its type than it fills."""
    bits = member.bits or 0
    if not bits:
        return _up(at, member.align * 8)
    if packed:
        return at
    crossed = (at % align + bits + align - 1) // align
    return _up(at, align) if crossed > member.size * 8 // align else at


def _up(value: int, align: int) -> int:
    return -(-value // align) * align
