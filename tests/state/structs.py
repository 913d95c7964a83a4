"""Random structs, and what a field of one is worth in another: computed in Python, as an oracle for the plans."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

Value: TypeAlias = "int | float"
LOST = "lost"

OLD_ENUMS = {"e0": {"A": 0, "B": 1, "C": 2}, "e1": {"P": 0, "Q": 1, "R": 2}}
NEW_ENUMS = {"e0": {"A": 0, "B": 1, "C": 2, "D": 3}, "e1": {"Q": 0, "P": 1, "S": 5}}


class RefusedError(Exception):
    """One type can't be made from the other."""


@dataclass(frozen=True)
class Number:
    """A number: ``kind`` is "i", "u", "f" or "b"."""

    c: str
    kind: str
    size: int


@dataclass(frozen=True)
class Bits:
    """A bit-field."""

    signed: bool
    width: int


@dataclass(frozen=True)
class Enumeration:
    """One of the two enumerations."""

    name: str


@dataclass(frozen=True)
class Text:
    """An array of ``char``."""

    size: int


@dataclass(frozen=True)
class Array:
    """An array of anything but text."""

    element: Type
    count: int


@dataclass(frozen=True)
class Struct:
    """Fields by name."""

    fields: tuple[tuple[str, Type], ...]


Type: TypeAlias = Number | Bits | Enumeration | Text | Array | Struct

NUMBERS = [
    *(Number(f"int{8 * size}_t", "i", size) for size in (1, 2, 4, 8)),
    *(Number(f"uint{8 * size}_t", "u", size) for size in (1, 2, 4, 8)),
    Number("float", "f", 4), Number("double", "f", 8), Number("_Bool", "b", 1),
]  # fmt: skip

_scalars = st.one_of(st.sampled_from(NUMBERS), st.sampled_from([Enumeration("e0"), Enumeration("e1")]))
_bits = st.builds(Bits, st.booleans(), st.integers(1, 20))
_inner = st.recursive(
    st.one_of(_scalars, st.builds(Text, st.integers(1, 12))),
    lambda inner: st.one_of(
        st.builds(Array, inner, st.integers(1, 4)),
        st.dictionaries(st.sampled_from("xyz"), inner, min_size=1, max_size=3).map(lambda d: Struct(tuple(d.items()))),
    ),
    max_leaves=4,
)
_fields = st.one_of(_inner, _scalars, _bits)


def _related(found: Type) -> st.SearchStrategy[Type]:
    """Return types that the type may become without being refused, mostly."""
    match found:
        case Text():
            return st.builds(Text, st.integers(1, 12))
        case Array(element, _):
            return st.builds(Array, _related(element), st.integers(1, 4))
        case Struct(fields):
            return st.permutations(fields).flatmap(lambda some: _members(tuple(some), inside=True))
        case Number() | Bits() | Enumeration():
            return st.one_of(_scalars, st.just(found))
    raise TypeError(found)


def _members(fields: tuple[tuple[str, Type], ...], *, inside: bool = False) -> st.SearchStrategy[Struct]:
    """Return structs with some of the fields, changed or not, and perhaps new ones."""
    kept = []
    for name, found in fields:
        bits = [] if inside else [_bits] if isinstance(found, (Number, Bits)) and found not in NUMBERS[8:10] else []
        same = st.just(found)
        kept.append(st.tuples(st.just(name), st.one_of(same, _related(found), *bits, st.none())))
    extra = st.lists(st.tuples(st.sampled_from("pq"), _inner), max_size=2, unique_by=lambda pair: pair[0])
    both = st.tuples(st.tuples(*kept), extra).map(
        lambda two: tuple(pair for pair in two[0] if pair[1] is not None) + tuple(two[1])
    )
    return both.filter(bool).map(Struct)


pairs = (
    st.dictionaries(st.sampled_from("abcdef"), _fields, min_size=1, max_size=5)
    .map(lambda fields: tuple(fields.items()))
    .flatmap(lambda fields: st.tuples(st.just(Struct(fields)), st.permutations(fields).flatmap(
        lambda some: st.one_of(_members(tuple(some)), _members(fields)))))
)  # fmt: skip


def leaves(found: Type, path: str = "") -> Iterator[tuple[str, Number | Bits | Enumeration]]:
    """Return each number in a type, as C writes it."""
    match found:
        case Text(size):
            for index in range(size):
                yield f"{path}[{index}]", Number("char", "i", 1)
        case Array(element, count):
            for index in range(count):
                yield from leaves(element, f"{path}[{index}]")
        case Struct(fields):
            for name, inner in fields:
                yield from leaves(inner, f"{path}.{name}")
        case _:
            yield path, found


def declared(found: Type, name: str) -> str:
    """Return a declaration in C."""
    match found:
        case Number(c, _, _):
            return f"{c} {name}"
        case Bits(signed, width):
            return f"{'int' if signed else 'unsigned'} {name} : {width}"
        case Enumeration(tag):
            return f"enum {tag} {name}"
        case Text(size):
            return f"char {name}[{size}]"
        case Array(element, count):
            return declared(element, f"{name}[{count}]")
        case Struct():
            return f"{body(found)} {name}"
    raise TypeError(found)


def body(found: Struct) -> str:
    """Return a struct's definition."""
    return f"struct {{ {' '.join(f'{declared(inner, name)};' for name, inner in found.fields)} }}"


def values(found: Number | Bits | Enumeration) -> st.SearchStrategy[Value]:
    """Return values that a leaf of the old version can have."""
    match found:
        case Enumeration(name):
            return st.sampled_from([*OLD_ENUMS[name].values()])
        case Number(_, "f", 4):
            return st.one_of(st.integers(-200, 200).map(float), st.floats(width=32, allow_nan=False))
        case Number(_, "f", _):
            return st.one_of(st.integers(-200, 200).map(float), st.floats(allow_nan=False))
        case Number(_, "b", _):
            return st.integers(0, 1)
    low, high = limits(found)
    return st.one_of(st.integers(max(low, -3), min(high, 3)), st.integers(low, high))


def limits(found: Number | Bits) -> tuple[int, int]:
    """Return the least and the greatest value of an integer."""
    if isinstance(found, Number) and found.kind == "b":
        return 0, 1
    bits = found.width if isinstance(found, Bits) else found.size * 8
    signed = found.signed if isinstance(found, Bits) else found.kind == "i"
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def convert(old: Type, new: Type, held: dict[str, Value], path: str, to: str, out: dict[str, Value | str]) -> None:
    """Fill ``out`` with what each leaf of a new type is worth, or `LOST`.  Raises `RefusedError`."""
    match old, new:
        case (Number() | Bits() | Enumeration(), Number() | Bits() | Enumeration()):
            out[to] = _number(old, new, held[path])
        case Text(size), Text(now):
            _text(size, now, held, path, to, out)
        case (Array() | Text(), Array() | Text()):
            _array(_as_array(old), _as_array(new), held, path, to, out)
        case Struct(), Struct():
            after = dict(new.fields)
            for name, inner in old.fields:
                if name in after:
                    convert(inner, after[name], held, f"{path}.{name}", f"{to}.{name}", out)
        case _:
            raise RefusedError


def _as_array(found: Array | Text) -> Array:
    return found if isinstance(found, Array) else Array(Number("char", "i", 1), found.size)


def _array(old: Array, new: Array, held: dict[str, Value], path: str, to: str, out: dict[str, Value | str]) -> None:
    for index in range(min(old.count, new.count)):
        convert(old.element, new.element, held, f"{path}[{index}]", f"{to}[{index}]", out)
    for index in range(new.count, old.count):
        if not all(_is_zero(held[f"{path}[{index}]{leaf}"]) for leaf, _ in leaves(old.element)):
            out[f"{to}[dropped]"] = LOST


def _is_zero(value: Value) -> bool:
    """Tell whether all bits are; those of a negative zero aren't."""
    return struct.pack("d", value) == bytes(8)


def _text(size: int, now: int, held: dict[str, Value], path: str, to: str, out: dict[str, Value | str]) -> None:
    said = [held[f"{path}[{index}]"] for index in range(size)]
    if now < size and (any(said[now:]) or 0 not in said[:now]):
        out[f"{to}[dropped]"] = LOST
    for index in range(min(size, now)):
        out[f"{to}[{index}]"] = said[index]


def _number(old: Number | Bits | Enumeration, new: Number | Bits | Enumeration, value: Value) -> Value | str:
    is_float = [isinstance(one, Number) and one.kind == "f" for one in (old, new)]
    if Bits in {type(old), type(new)} and any(is_float):
        raise RefusedError
    if isinstance(old, Enumeration) and isinstance(new, Enumeration):
        return _enumerator(old.name, new.name, int(value))
    if isinstance(old, Number) and isinstance(new, Number) and {"char"} & {old.c, new.c} and old.size == new.size == 1:
        data = struct.pack("b" if old.kind == "i" else "B", value)
        return value if new.kind == "b" or old.kind == "b" else struct.unpack("b" if new.kind == "i" else "B", data)[0]
    if is_float[1]:
        return _floating(value, new.size)
    if isinstance(value, float) and not value.is_integer():
        return LOST
    low, high = (0, (1 << 32) - 1) if isinstance(new, Enumeration) else limits(new)
    return int(value) if low <= value <= high else LOST


def _enumerator(old: str, new: str, value: int) -> int | str:
    before, after = OLD_ENUMS[old], NEW_ENUMS[new]
    name = next(one for one, number in before.items() if number == value)
    return after.get(name, LOST)


def _floating(value: Value, size: int) -> Value | str:
    try:
        packed = struct.unpack("f" if size == 4 else "d", struct.pack("f" if size == 4 else "d", value))[0]
    except OverflowError:
        return LOST
    return packed if packed == value else LOST
