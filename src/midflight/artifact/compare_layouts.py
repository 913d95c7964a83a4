"""The structs whose layout is another one now, field by field: for people who review a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight.artifact.interface import Record, Typedef
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from midflight.artifact.interface import Field, Interface, TypeId

LIBRARY = ("std::", "__gnu_cxx::", "struct __", "struct _IO", "union __")
"""How the names of the system's own types begin."""

_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A field in one version.  ``offset`` and ``size`` in bytes; a bit-field's ``bits``, from ``bit_offset`` on."""

    type: str
    offset: int
    size: int | None
    bits: int | None = None
    bit_offset: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A field in both versions; None where one hasn't got it."""

    name: str
    old: Place | None
    new: Place | None
    compatible: bool

    @property
    def same(self) -> bool:
        """Whether it is where and what it was."""
        return self.old == self.new


@dataclass(frozen=True, slots=True)
class Layout:
    """A struct or union whose layout has changed.  ``compatible``: callers have nothing to do with it."""

    name: str
    old_size: int
    new_size: int
    compatible: bool
    fields: tuple[Row, ...]


def layouts(old: Interface, new: Interface, broken: Collection[str]) -> tuple[Layout, ...]:
    """Return the records of both versions that differ in size or fields; ``broken``: those that break callers."""
    after: dict[str, tuple[TypeId, Record]] = {}
    for name, type_id, record in named_records(new):
        after.setdefault(name, (type_id, record))
    found: dict[str, Layout] = {}
    for name, _, before in named_records(old):
        if name in after and name not in found and not name.startswith(LIBRARY):
            record = after[name][1]
            rows = _rows(_places(old, before), _places(new, record), compatible=name not in broken)
            if before.size != record.size or not all(row.same for row in rows):
                sizes = before.size or 0, record.size or 0
                found[name] = Layout(name, *sizes, name not in broken, rows)
    return tuple(found.values())


def named_records(interface: Interface) -> Iterator[tuple[str, TypeId, Record]]:
    """Go through the records that are defined, by their own names or by their typedefs'."""
    for type_id, found in enumerate(interface.types):
        if isinstance(found, Record) and found.name and found.size is not None:
            yield found.name, type_id, found
        elif isinstance(found, Typedef):
            target = interface.types[found.target]
            if isinstance(target, Record) and not target.name and target.size is not None:
                yield found.name, found.target, target


def _rows(old: dict[str, Place], new: dict[str, Place], *, compatible: bool) -> tuple[Row, ...]:
    names = dict.fromkeys([*old, *new])
    pairs = ((name, old.get(name), new.get(name)) for name in names)
    return tuple(Row(name, before, after, compatible or before == after) for name, before, after in pairs)


def _places(interface: Interface, record: Record) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for name, place in _flat(interface, record, "", 0, 0):
        label, number = name, 1
        while label in found:
            number += 1
            label = f"{name}#{number}"
        found[label] = place
    return found


def _flat(interface: Interface, record: Record, prefix: str, start: int, depth: int) -> Iterator[tuple[str, Place]]:
    """Go through the fields; those of a struct without a name are fields of what it lies in."""
    for field in record.fields:
        inner = interface.types[field.type]
        name = f"{prefix}{field.name}"
        if isinstance(inner, Record) and not inner.name and inner.fields and depth < _DEEPEST:
            yield from _flat(interface, inner, f"{name}." if field.name else prefix, start + field.offset, depth + 1)
        else:
            yield name or "(unnamed)", _place(interface, field, start)


def _place(interface: Interface, field: Field, start: int) -> Place:
    size = size_of(interface.types, field.type)
    bit = None if field.bit_size is None else 8 * start + (field.bit_offset or 0)
    return Place(interface.spell(field.type), start + field.offset, size, field.bit_size, bit)
