"""How a struct becomes one with other fields: they are matched by name, anonymous members looked through."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight.artifact.interface import Enum, Record, Scalar
from midflight.artifact.layout import size_of
from midflight.state.numbers import convert_bits
from midflight.state.ops import Start, ordered, over_padding
from midflight.state.parts import Note, Part, Trailing, refused
from midflight.state.unchanged import not_copyable, split_trailing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midflight.artifact.interface import Field, TypeId
    from midflight.state.ops import Node
    from midflight.state.renames import Renames
    from midflight.state.types import Names

_DEEPEST = 64
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Member:
    """A field as the record that is looked at has it: ``base`` is where the anonymous structs around it begin."""

    label: str
    field: Field
    base: int

    @property
    def offset(self) -> int:
        """Where it begins, in bytes."""
        return self.base + self.field.offset

    @property
    def place(self) -> tuple[int, int | None]:
        """Where exactly it lies."""
        if self.field.bit_size is None:
            return self.offset * 8, None
        return self.base * 8 + (self.field.bit_offset or 0), self.field.bit_size


class Records:
    """Plans structs; ``part`` plans what their fields hold."""

    def __init__(self, old: Names, new: Names, renames: Renames, part: Callable[[TypeId, TypeId], Part]) -> None:
        self._old = old
        self._new = new
        self._renames = renames
        self._part = part

    def convert(self, old_id: TypeId, old: Record, new_id: TypeId, new: Record) -> Part:
        """Return how one record becomes another."""
        spelled = self._old.spell(old_id), self._new.spell(new_id)
        for record, name in ((old, spelled[0]), (new, spelled[1])):
            if record.size is None:
                return refused(f"{name} is only declared")
            if not record.trivial:
                return refused(not_copyable(record))
        if "union" in {old.kind, new.kind}:
            return refused(f"{spelled[0]} is a union, and it isn't the same any more")
        name = self._old.name(old_id)
        before, after = self._members(self._old, old), self._members(self._new, new)
        renamed = {self._renamed(name, label): member for label, member in before.items()}
        if not renamed.keys() & after.keys() and name != self._new.name(new_id):
            return refused(f"{spelled[0]} is {spelled[1]} now, which has none of its fields")
        return self._fields(old, new, renamed, after)

    def _renamed(self, record: str, label: str) -> str:
        plain, mark, number = label.partition("#")
        return self._renames.field_of(record, plain) + mark + number

    def _fields(self, old: Record, new: Record, before: dict[str, Member], after: dict[str, Member]) -> Part:
        nodes: list[Node] = [Start(0, 0)]
        changes: list[Note] = []
        refusals: list[Note] = []
        moved: list[str] = []
        same = old.size == new.size and before.keys() == after.keys()
        for label, member in before.items():
            other = after.get(label)
            if other is None and self._parted(member, after):
                refusals.append(Note(member.label, ": it is a union, and it isn't the same any more"))
                continue
            if other is None:
                changes.append(Note(member.label, " is gone"))
                continue
            part = self._member(member, other)
            nodes += part.nodes
            changes += part.changes
            refusals += part.refusals
            same = same and part.same
            if member.place[0] != other.place[0]:
                moved.append(label)
            if member.field.name != other.field.name and member.field.name:
                changes.append(Note(member.label, f" is called {other.label} now"))
        changes += [Note(member.label, " is new") for label, member in after.items() if label not in before]
        if moved:
            rest = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
            changes.append(Note("", f": {', '.join(moved[:_SHOWN])}{rest} moved"))
        trailing, problems = self._trailing(old, new)
        steps = over_padding(ordered(nodes), self._covered(self._old, before), self._covered(self._new, after))
        return Part(steps, tuple(changes), (*refusals, *problems), same, trailing)

    def _covered(self, names: Names, members: dict[str, Member]) -> list[tuple[int, int]]:
        """Return where members begin and end, in bytes."""
        found = []
        for member in members.values():
            start, bits = member.place
            size = size_of(names.interface.types, member.field.type) or 0
            found.append((start // 8, (start + (size * 8 if bits is None else bits) + 7) // 8))
        return sorted(found)

    def _parted(self, old: Member, after: dict[str, Member]) -> bool:
        """Tell whether an anonymous union's members are somewhere else now."""
        if old.field.name:
            return False
        held = self._new.interface
        now = set(after)
        for member in after.values():
            inner = held.strip(member.field.type)
            if not member.field.name and isinstance(inner, Record):
                now |= {one.name for one in inner.fields}
        union = self._old.interface.strip(old.field.type)
        return isinstance(union, Record) and any(one.name in now for one in union.fields)

    def _member(self, old: Member, new: Member) -> Part:
        if old.field.bit_size is None and new.field.bit_size is None:
            part = self._part(old.field.type, new.field.type)
            if part.trailing is not None:
                part = refused("a flexible array lies inside of another struct")
            return part.moved(old.offset, new.offset, new.label)
        before = self._old.interface.strip(old.field.type)
        after = self._new.interface.strip(new.field.type)
        spelled = _spell_bits(self._old, old.field), _spell_bits(self._new, new.field)
        if not isinstance(before, (Scalar, Enum)) or not isinstance(after, (Scalar, Enum)):
            return refused(f"{spelled[0]} is {spelled[1]} now").moved(0, 0, new.label)
        part = convert_bits((old.field, before), (new.field, after), spelled, self._renames)
        return part.moved(old.base, new.base, "")

    def _trailing(self, old: Record, new: Record) -> tuple[Trailing | None, list[Note]]:
        _, before = split_trailing(self._old, old)
        _, after = split_trailing(self._new, new)
        if before is None:
            return None, []
        name = old.fields[-1].name
        if after is None or self._renames.field_of(old.name, name) != new.fields[-1].name:
            return None, [Note(name, ": it is a flexible array, and the new version has none in its place")]
        return Trailing(before[0], after[0], before[1], after[1]), []

    def _members(self, names: Names, record: Record) -> dict[str, Member]:
        """Return the members by name; a second one of a name (of a base class) with its number."""
        found: dict[str, Member] = {}
        count: Counter[str] = Counter()
        for member in _flat(names, record, 0, 0):
            count[member.label] += 1
            number = count[member.label]
            found[member.label if number == 1 else f"{member.label}#{number}"] = member
        return found


def _flat(names: Names, record: Record, base: int, depth: int) -> Iterator[Member]:
    fields, _ = split_trailing(names, record)
    for field in fields:
        inner = names.interface.strip(field.type)
        if field.name or not isinstance(inner, Record) or depth > _DEEPEST:
            if field.name or field.bit_size is None:
                yield Member(field.name, field, base)
        elif inner.kind == "union":
            yield Member(f"(union of {', '.join(one.name for one in inner.fields[:_SHOWN])})", field, base)
        else:
            yield from _flat(names, inner, base + field.offset, depth + 1)


def _spell_bits(names: Names, field: Field) -> str:
    spelled = names.interface.spell(field.type)
    return spelled if field.bit_size is None else f"{spelled} : {field.bit_size}"
