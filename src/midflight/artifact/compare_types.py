"""Compares the types of two interfaces, by what they are.

Structs and enums that are met on the way are taken for equal at first and noted as a pair; what differs between the two
of a pair is told once, for the type, and not for each function that uses it.  This also makes recursive types end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from midflight.artifact.interface import (
    Array,
    Enum,
    Foreign,
    Pointer,
    Record,
    Scalar,
    Signature,
    Type,
    Typedef,
    Unsupported,
    Void,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.interface import Field, Interface, TypeId

_MOST_DIFFERENCES = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """What of a function, type or variable is another, for programs to read.

    ``name``: of the parameter, field or enumerator, "" if it has none; ``position``: of a parameter, counted from 1;
    ``old``, ``new``: its type, place or value, None where that version hasn't got it.
    """

    kind: Literal["name", "parameter", "parameter name", "result", "type", "size", "field", "place", "enumerator"]
    name: str = ""
    position: int | None = None
    old: str | None = None
    new: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two types; ``subject`` names the type where that isn't clear from the place."""

    detail: str
    compatible: bool = False
    subject: str = ""
    parts: tuple[Part, ...] = ()


class TypePairs:
    """The types of an old and a new interface, side by side."""

    def __init__(self, old: Interface, new: Interface) -> None:
        self._old = old
        self._new = new
        self._pairs: dict[tuple[TypeId, TypeId], None] = {}
        self._same: dict[tuple[TypeId, TypeId], bool] = {}

    def parameter(self, old: TypeId, new: TypeId) -> Difference | None:
        """Return how a parameter's type differs."""
        before, after = self._old.strip(old), self._new.strip(new)
        if isinstance(before, Pointer) and isinstance(after, Pointer) and before.const != after.const:
            if self._equal(before.target, after.target):
                detail = self._spelled(old, new)
                return Difference(detail, compatible=after.const)
        elif self._equal(old, new):
            return None
        return Difference(self._spelled(old, new))

    def result(self, old: TypeId, new: TypeId) -> Difference | None:
        """Return how a result's type differs.

        A pointer that isn't to const any more still serves, but ``const char *`` is a str in Python and ``char *``
        isn't.
        """
        before, after = self._old.strip(old), self._new.strip(new)
        if isinstance(before, Pointer) and isinstance(after, Pointer) and before.const != after.const:
            if self._equal(before.target, after.target):
                target = self._old.strip(before.target)
                text = isinstance(target, Scalar) and target.kind == "char"
                return Difference(self._spelled(old, new), compatible=before.const and not text)
        elif self._equal(old, new):
            return None
        return Difference(self._spelled(old, new))

    def records_and_enums(self) -> Iterator[Difference]:
        """Return what differs in the structs and enums that were met so far, and in those that they lead to."""
        done: set[tuple[str, str]] = set()
        count = 0
        while self._pairs:
            old, new = next(iter(self._pairs))
            self._pairs.pop((old, new))
            before, after = self._old.types[old], self._new.types[new]
            found: Iterator[Difference] = iter(())
            if isinstance(before, Record) and isinstance(after, Record):
                found = self._record(old, before, after)
            elif isinstance(before, Enum) and isinstance(after, Enum):
                found = _enum(before, after)
            for difference in found:
                key = (difference.subject, difference.detail)
                if key not in done and count < _MOST_DIFFERENCES:
                    done.add(key)
                    count += 1
                    yield difference

    def spell_old(self, type_id: TypeId) -> str:
        """Spell a type of the old interface."""
        return self._old.spell(type_id)

    def spell_new(self, type_id: TypeId) -> str:
        """Spell a type of the new interface."""
        return self._new.spell(type_id)

    def _spelled(self, old: TypeId, new: TypeId) -> str:
        before, after = self._old.spell(old), self._new.spell(new)
        if before == after:
            inner_before, inner_after = self._unwrapped(self._old, old), self._unwrapped(self._new, new)
            if inner_before != inner_after:
                return f"{before} ({inner_before}) → {after} ({inner_after})"
            return f"{before} is another type now"
        return f"{before} → {after}"

    def _unwrapped(self, interface: Interface, type_id: TypeId) -> str:
        """Spell a type without typedefs, through pointers."""
        stars = ""
        found = interface.types[type_id]
        for _ in range(64):
            if isinstance(found, Typedef):
                type_id = found.target
            elif isinstance(found, Pointer):
                stars += "*"
                type_id = found.target
            else:
                break
            found = interface.types[type_id]
        kind = f"{found.kind}{found.size * 8} " if isinstance(found, Scalar) else ""
        return f"{kind}{interface.spell(type_id)} {stars}".strip()

    def _equal(self, old: TypeId, new: TypeId) -> bool:
        key = (old, new)
        if key not in self._same:
            self._same[key] = True
            self._same[key] = self._compare(old, new)
        return self._same[key]

    def _compare(self, old: TypeId, new: TypeId) -> bool:
        old, new = _behind_typedefs(self._old, old), _behind_typedefs(self._new, new)
        match self._old.types[old], self._new.types[new]:
            case Void(), Void():
                return True
            case Scalar() as before, Scalar() as after:
                return (before.kind, before.size) == (after.kind, after.size)
            case Pointer() as before, Pointer() as after:
                return before.const == after.const and self._equal(before.target, after.target)
            case Array() as before, Array() as after:
                return before.count == after.count and self._equal(before.element, after.element)
            case Signature() as before, Signature() as after:
                return (
                    len(before.params) == len(after.params)
                    and before.variadic == after.variadic
                    and self._equal(before.result, after.result)
                    and all(self._equal(one, other) for one, other in zip(before.params, after.params, strict=True))
                )
            case Foreign() as before, Foreign() as after:
                return before.name == after.name
            case Unsupported() as before, Unsupported() as after:
                return (before.name, before.size) == (after.name, after.size)
            case (Record() as before, Record() as after) | (Enum() as before, Enum() as after):
                return self._pair(old, before, new, after)
        return False

    def _pair(self, old: TypeId, before: Record | Enum, new: TypeId, after: Record | Enum) -> bool:
        if before.name and after.name and before.name != after.name:
            return False
        if isinstance(before, Record) and isinstance(after, Record) and before.kind != after.kind:
            return False
        self._pairs[old, new] = None
        return True

    def _record(self, old_id: TypeId, old: Record, new: Record) -> Iterator[Difference]:
        subject = old.name or new.name or self._typedef_of(old_id) or f"anonymous {old.kind}"
        if old.size is None:
            if new.size is not None:
                yield Difference("has a definition now", compatible=True, subject=subject)
            return
        if new.size is None:
            yield Difference("has no definition any more", subject=subject)
            return
        if old.size != new.size:
            size = Part("size", old=str(old.size), new=str(new.size))
            yield Difference(f"size {old.size} → {new.size}", subject=subject, parts=(size,))
        if old.trivial != new.trivial:
            detail = "can be copied by its bytes now" if new.trivial else "can't be copied by its bytes any more"
            yield Difference(detail, compatible=new.trivial, subject=subject)
        yield from self._fields(subject, _keyed(old), _keyed(new))

    def _fields(self, subject: str, old: dict[str, Field], new: dict[str, Field]) -> Iterator[Difference]:
        def differs(detail: str, part: Part) -> Difference:
            return Difference(detail, subject=subject, parts=(part,))

        for label, before in old.items():
            after = new.get(label)
            if after is None:
                part = Part("field", before.name, old=self.spell_old(before.type))
                yield differs(f"{label} (offset {before.offset}) is gone", part)
                continue
            if _place(before) != _place(after):
                part = Part("place", before.name, old=_spell_place(before), new=_spell_place(after))
                yield differs(f"{label}: {part.old} → {part.new}", part)
            if not self._equal(before.type, after.type):
                part = Part("field", before.name, old=self.spell_old(before.type), new=self.spell_new(after.type))
                yield differs(f"{label}: {self._spelled(before.type, after.type)}", part)
        for label, after in new.items():
            if label not in old:
                part = Part("field", after.name, new=self.spell_new(after.type))
                yield differs(f"{label} (offset {after.offset}) is new", part)

    def _typedef_of(self, type_id: TypeId) -> str:
        for found in self._old.types:
            if isinstance(found, Typedef) and found.target == type_id:
                return found.name
        return ""


def _behind_typedefs(interface: Interface, type_id: TypeId) -> TypeId:
    found: Type = interface.types[type_id]
    while isinstance(found, Typedef):
        type_id = found.target
        found = interface.types[type_id]
    return type_id


def _keyed(record: Record) -> dict[str, Field]:
    """Return the members by what they are called in a message; anonymous ones by their number."""
    found: dict[str, Field] = {}
    unnamed = 0
    for field in record.fields:
        if not field.name:
            unnamed += 1
        found[f"field {field.name}" if field.name else f"anonymous member {unnamed}"] = field
    return found


def _place(field: Field) -> tuple[int, int | None]:
    return (field.offset, None) if field.bit_size is None else (field.bit_offset or 0, field.bit_size)


def _spell_place(field: Field) -> str:
    if field.bit_size is None:
        return f"offset {field.offset}"
    return f"{field.bit_size} bits at bit {field.bit_offset}"


def _enum(old: Enum, new: Enum) -> Iterator[Difference]:
    def differs(detail: str, part: Part, *, compatible: bool = False) -> Difference:
        return Difference(detail, compatible, old.name or new.name or "anonymous enum", (part,))

    if (old.size, old.signed) != (new.size, new.signed):
        yield differs(
            f"{_spell_enum(old)} → {_spell_enum(new)}", Part("type", "", None, _spell_enum(old), _spell_enum(new))
        )
    before, after = dict(old.items), dict(new.items)
    for name, value in before.items():
        if name not in after:
            yield differs(f"enumerator {name} (= {value}) is gone", Part("enumerator", name, old=str(value)))
        elif after[name] != value:
            part = Part("enumerator", name, old=str(value), new=str(after[name]))
            yield differs(f"enumerator {name} = {value} → {after[name]}", part)
    for name, value in after.items():
        if name not in before:
            part = Part("enumerator", name, new=str(value))
            yield differs(f"enumerator {name} (= {value}) is new", part, compatible=True)


def _spell_enum(found: Enum) -> str:
    return f"{'signed' if found.signed else 'unsigned'} of {found.size} byte{'' if found.size == 1 else 's'}"
