"""How numbers become other numbers: widened, narrowed with a check, enumerators by name, bit-fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from midflight.artifact.interface import Enum, Scalar
from midflight.state.ops import Kind, Op
from midflight.state.parts import Note, Part, refused

if TYPE_CHECKING:
    from midflight.artifact.interface import Field
    from midflight.state.renames import Renames

Number: TypeAlias = Scalar | Enum

_INTEGERS = {1: 1, 2: 2, 4: 3, 8: 4}
_UNSIGNED = 4
_FLOATS = {4: 9, 8: 10}
_BOOL = 11


def number_class(found: Number) -> int:
    """Return the core's number for a class of numbers; 0: it has none."""
    if isinstance(found, Enum):
        return _INTEGERS.get(found.size, 0) + (0 if found.signed else _UNSIGNED)
    match found.kind:
        case "float":
            return _FLOATS.get(found.size, 0)
        case "bool":
            return _BOOL
        case "uint":
            return _INTEGERS.get(found.size, 0) + _UNSIGNED
    return _INTEGERS.get(found.size, 0)


def is_text(found: object) -> bool:
    """Tell whether a type is ``char``."""
    return isinstance(found, Scalar) and found.kind == "char"


def convert(old: Number, new: Number, spelled: tuple[str, str], renames: Renames) -> Part:
    """Return how a number becomes one of another type."""
    was, now = spelled
    before, after = number_class(old), number_class(new)
    if isinstance(old, Enum) and isinstance(new, Enum):
        return _enum(old, new, spelled, renames)
    if before == after or (old.size == new.size == 1 and (is_text(old) or is_text(new))):
        same = isinstance(old, Scalar) and isinstance(new, Scalar) and old.kind == new.kind
        changes = () if same else (_became(was, now),)
        return Part((Op(Kind.COPY, "", 0, 0, old.size),), changes, same=True)
    return Part((Op(Kind.NUMBER, "", 0, 0, old.size, before, after, goal=now),), (_became(was, now),))


def _became(was: str, now: str) -> Note:
    return Note("", f": {was} is {now} now")


def _enum(old: Enum, new: Enum, spelled: tuple[str, str], renames: Renames) -> Part:
    before, after = number_class(old), number_class(new)
    changes = () if (old.size, old.signed) == (new.size, new.signed) else (_became(*spelled),)
    values = new_values(old, new, renames)
    if all(values.get(value) == value for _, value in old.items):
        kind, same = (Kind.COPY, True) if before == after else (Kind.NUMBER, False)
        return Part((Op(kind, "", 0, 0, old.size, before, after, goal=spelled[1]),), changes, same=same)
    table = tuple(values.items())
    step = Op(Kind.ENUM, "", 0, 0, 0, before, after, goal=spelled[1], table=table, names=old.items)
    return Part((step,), (*changes, *_enumerators(old, new, renames)))


def new_values(old: Enum, new: Enum, renames: Renames) -> dict[int, int]:
    """Return what each old enumerator's value is in the new version, by name; those that are gone aren't in it."""
    after = dict(new.items)
    found: dict[int, int] = {}
    for name, value in old.items:
        now = after.get(renames.field_of(old.name, name))
        if now is not None:
            found.setdefault(value, now)
    return found


def _enumerators(old: Enum, new: Enum, renames: Renames) -> list[Note]:
    after = dict(new.items)
    notes = []
    for name, value in old.items:
        now = after.get(renames.field_of(old.name, name))
        if now is None:
            notes.append(Note("", f": enumerator {name} is gone"))
        elif now != value:
            notes.append(Note("", f": enumerator {name} = {value} is {now} now"))
    return notes


def convert_bits(
    old: tuple[Field, Number], new: tuple[Field, Number], spelled: tuple[str, str], renames: Renames
) -> Part:
    """Return how a bit-field becomes a bit-field or an integer, or an integer a bit-field.

    Its steps count from the start of the record.
    """
    (was, before), (now, after) = old, new
    if _is_float(before) or _is_float(after):
        reason = f"a bit-field and a floating-point number can't be made from each other ({' → '.join(spelled)})"
        return refused(reason, now.name)
    if isinstance(before, Enum) and isinstance(after, Enum):
        values = new_values(before, after, renames)
        if any(values.get(value) != value for _, value in before.items):
            return refused(f"the enumerators of {spelled[0]} have other values now, and it is a bit-field", now.name)
    start, bits, signed = _bits(was, before)
    to, to_bits, to_signed = _bits(now, after)
    path = now.name
    changes: tuple[Note, ...] = ()
    if (bits, signed) != (to_bits, to_signed) or spelled[0] != spelled[1]:
        changes = (Note(path, f": {spelled[0]} is {spelled[1]} now"),)
    goal = spelled[1]
    step = Op(Kind.BITS, path, start, to, bits | to_bits << 16, int(signed), int(to_signed), goal=goal)
    return Part((step,), changes, same=(start, bits, signed) == (to, to_bits, to_signed))


def _is_float(found: Number) -> bool:
    return isinstance(found, Scalar) and found.kind == "float"


def is_signed(found: Number) -> bool:
    """Tell whether a number may be negative."""
    return found.signed if isinstance(found, Enum) else found.kind in {"int", "char"}


def _bits(field: Field, found: Number) -> tuple[int, int, bool]:
    """Return first bit, number of bits and signedness; an integer is as many bits as it has."""
    if field.bit_size is not None:
        return field.bit_offset or 0, field.bit_size, is_signed(found)
    if isinstance(found, Scalar) and found.kind == "bool":
        return field.offset * 8, 1, False
    return field.offset * 8, found.size * 8, is_signed(found)


def class_size(number: int) -> int:
    """Return how many bytes a number of one of the core's classes has."""
    if number == _BOOL:
        return 1
    if number in _FLOATS.values():
        return 4 if number == _FLOATS[4] else 8
    return 1 << (number - 1) % _UNSIGNED
