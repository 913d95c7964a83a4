"""A table of types under construction: equal types get one number, and what the readers make of them stays bounded.

What a file says about its types is hostile until checked.  Here are the limits that make every later walk over an
`Interface` safe: a type reaches through at most `DEEPEST` others before a record, its one-line spelling has a bounded
length, nothing contains itself, and no typedef leads back to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from midflight.artifact.interface import (
    Array,
    Pointer,
    Record,
    Signature,
    Typedef,
    Unsupported,
    Void,
)
from midflight.artifact.layout import align_of, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midflight.artifact.interface import Field, Type, TypeId

DEEPEST = 64
HEAVIEST = 4096
LARGEST = 1 << 46
"""No type may claim more bytes than this: half of what a process can address."""

_ALIGNMENTS = (16, 8, 4, 2)


class TypeTable:
    """The types of an interface that is being read."""

    def __init__(self) -> None:
        self.types: list[Type] = [Void()]
        self._known: dict[Type, TypeId] = {Void(): 0}
        self._depth = [0]
        self._weight = [1]

    def add(self, found: Type) -> TypeId:
        """Return the number of a type, the one that an equal type has already where there is one."""
        known = self._known.get(found)
        if known is not None:
            return known
        checked = self._checked(found)
        known = self._known.get(checked)
        if known is None:
            known = self._append(checked)
            self._known[checked] = known
        self._known[found] = known
        return known

    def reserve(self, record: Record) -> TypeId:
        """Return a number for a record whose fields are set later, by `complete`."""
        return self._append(record)

    def complete(self, type_id: TypeId, fields: tuple[Field, ...]) -> None:
        """Set a reserved record's fields."""
        record = self.types[type_id]
        if isinstance(record, Record):
            self.types[type_id] = msgspec.structs.replace(record, fields=fields)

    def replace(self, type_id: TypeId, found: Type) -> None:
        """Put another type in a reserved record's place."""
        self.types[type_id] = found

    def unsupported(self, name: str, size: int | None, reason: str) -> TypeId:
        """Return the number of a type that Python can't hold."""
        return self.add(Unsupported(name, size, reason))

    def _append(self, found: Type) -> TypeId:
        parts = _parts(found)
        self.types.append(found)
        self._depth.append(1 + max((self._depth[part] for part in parts), default=0) if parts else 0)
        self._weight.append(1 + sum(self._weight[part] for part in parts))
        return len(self.types) - 1

    def _checked(self, found: Type) -> Type:
        parts = _parts(found)
        if parts and (
            max(self._depth[part] for part in parts) >= DEEPEST or sum(self._weight[part] for part in parts) > HEAVIEST
        ):
            return Unsupported("", None, "it is nested too deeply")
        if isinstance(found, Array):
            element = size_of(self.types, found.element)
            if (found.count or 0) * (element or 1) > LARGEST:
                return Unsupported("", None, "it is larger than any memory")
        return found

    def finish(self) -> tuple[Type, ...]:
        """Cut records that would contain themselves, fill in alignments, and return the types."""
        for type_id, closes_cycle in _inside_out(self.types):
            if closes_cycle:
                self._cut(type_id)
            else:
                self._align(type_id)
        return tuple(self.types)

    def _cut(self, type_id: TypeId) -> None:
        found = self.types[type_id]
        name = found.name if isinstance(found, (Record, Typedef)) else ""
        self.types[type_id] = Unsupported(name, None, "it contains itself")

    def _align(self, type_id: TypeId) -> None:
        record = self.types[type_id]
        if not isinstance(record, Record) or record.align is not None or record.size is None:
            return
        wanted = max((align_of(self.types, field.type) for field in record.fields), default=1)
        for align in _ALIGNMENTS:
            if align <= wanted and record.size % align == 0 and self._fits(record, align):
                break
        else:
            align = 1
        self.types[type_id] = msgspec.structs.replace(record, align=align)

    def _fits(self, record: Record, align: int) -> bool:
        """Tell whether each member lies where its own alignment, up to ``align``, allows; not so in a packed record."""
        return all(
            field.offset % min(align, align_of(self.types, field.type)) == 0
            for field in record.fields
            if field.bit_size is None
        )


def has_cycle(types: Sequence[Type]) -> bool:
    """Tell whether some type contains itself or is a typedef of itself."""
    return any(closes_cycle for _, closes_cycle in _inside_out(types))


def _inside_out(types: Sequence[Type]) -> Iterator[tuple[TypeId, bool]]:
    """Go through the types, each one after those that it contains.

    A type of which a part is one that contains it comes twice: with True, when that is found (the caller may replace
    it then), and at its turn.
    """
    state = [0] * len(types)  # 0: not seen, 1: being walked, 2: done
    for start in range(len(types)):
        if state[start]:
            continue
        state[start] = 1
        stack = [(start, iter(_contained(types[start])))]
        while stack:
            current, rest = stack[-1]
            inner = next(rest, None)
            if inner is None:
                state[current] = 2
                stack.pop()
                yield current, False
            elif state[inner] == 1 or len(stack) > DEEPEST:
                yield current, True
                stack[-1] = (current, iter(()))
            elif not state[inner]:
                state[inner] = 1
                stack.append((inner, iter(_contained(types[inner]))))


def parts_of(found: Type) -> tuple[TypeId, ...]:
    """Return the numbers of all types that a type refers to."""
    return tuple(field.type for field in found.fields) if isinstance(found, Record) else _parts(found)


def _parts(found: Type) -> tuple[TypeId, ...]:
    match found:
        case Pointer() | Typedef():
            return (found.target,)
        case Array():
            return (found.element,)
        case Signature():
            return (*found.params, found.result)
        case _:
            return ()


def _contained(found: Type) -> tuple[TypeId, ...]:
    match found:
        case Typedef():
            return (found.target,)
        case Array():
            return (found.element,)
        case Record():
            return tuple(field.type for field in found.fields)
        case _:
            return ()
