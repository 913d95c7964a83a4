"""Whether a ctypes class, or the items of a buffer, have the layout that a function of the library expects.

Classes are compared by what they hold, not by their identity: an object that was made from an older version's class
stays good for as long as that type doesn't change, and a class that the user has written himself is as good as ours.
"""

from __future__ import annotations

import ctypes
import platform
import re
from functools import lru_cache
from typing import Any, NamedTuple

CHAR: Any = ctypes.c_int8 if platform.machine() == "x86_64" else ctypes.c_uint8
"""What a plain `char` is: a signed number on x86-64, an unsigned one on AArch64."""

_SIMPLE: Any = ctypes.c_int.__base__  # _ctypes._SimpleCData
_POINTER: Any = ctypes.POINTER(ctypes.c_int).__base__  # _ctypes._Pointer
_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[1]  # _ctypes.CFuncPtr
_RECORDS = (ctypes.Structure, ctypes.Union)

_CLASSES = {
    **dict.fromkeys("bhilqn", "i"),
    **dict.fromkeys("BHILQN", "u"),
    **dict.fromkeys("efdg", "f"),
    **dict.fromkeys("PzZO", "p"),
    **dict.fromkeys("cs", "c"),
    "?": "b",
}
_SIZES = {"b": 1, "B": 1, "c": 1, "s": 1, "?": 1, "h": 2, "H": 2, "e": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8,
          "Q": 8, "n": 8, "N": 8, "f": 4, "d": 8, "P": 8, "z": 8, "Z": 8, "O": 8}  # fmt: skip
_BYTES = frozenset("iuc")
"""Classes that are interchangeable where an item is one byte."""


def misfit(wanted: Any, given: Any) -> str | None:
    """Say why ``given`` (a ctypes class, or a buffer's format) isn't laid out as the class ``wanted``, or None."""
    if isinstance(given, str):
        return _format_misfit(wanted, given)
    return _class_misfit(wanted, given, ())


# ---- classes --------------------------------------------------------------------------------------------------------


def _class_misfit(wanted: Any, given: Any, outer: tuple[Any, ...]) -> str | None:
    if wanted is given or wanted in outer:  # a type that contains pointers to itself
        return None
    if not isinstance(wanted, type) or not isinstance(given, type):
        return "it points to something else"
    if issubclass(wanted, _RECORDS):
        return _record_misfit(wanted, given, (*outer, wanted))
    if issubclass(wanted, ctypes.Array):
        return _array_misfit(wanted, given, outer)
    if _is_address(wanted):
        return _address_misfit(wanted, given, outer)
    if not issubclass(given, _SIMPLE) or _is_address(given) or _item(wanted) != _item(given):
        return f"{given.__name__} isn't {wanted.__name__}"
    return None


def _record_misfit(wanted: Any, given: Any, outer: tuple[Any, ...]) -> str | None:
    name = wanted.__name__
    base = ctypes.Structure if issubclass(wanted, ctypes.Structure) else ctypes.Union
    if not issubclass(given, base):
        return f"{given.__name__} isn't {name}"
    if issubclass(given, (ctypes.BigEndianStructure, ctypes.BigEndianUnion)):
        return f"{given.__name__} has the bytes of its numbers in another order"
    if ctypes.sizeof(wanted) != ctypes.sizeof(given):
        return f"{name} has {ctypes.sizeof(wanted)} bytes now, and {ctypes.sizeof(given)} are given"
    ours, theirs = _fields(wanted), _fields(given)
    if list(ours) != list(theirs):
        different = sorted(set(ours) ^ set(theirs))
        return f"{name} has other fields now: {', '.join(different) or 'in another order'}"
    for field, (place, kind) in ours.items():
        other_place, other_kind = theirs[field]
        if place != other_place:
            return f"the field {field!r} of {name} is elsewhere"
        inner = _class_misfit(kind, other_kind, outer)
        if inner is not None:
            return f"the field {field!r} of {name} differs: {inner}"
    return None


def _fields(record: Any) -> dict[str, tuple[Any, Any]]:
    """Return the place and the class of each field by its name; bytes that only fill a gap are left out."""
    found: dict[str, tuple[Any, Any]] = {}
    for base in reversed(record.__mro__):
        for name, kind, *_ in base.__dict__.get("_fields_", ()):
            if not name.startswith("_padding"):
                descriptor = getattr(record, name)
                found[name] = ((descriptor.offset, descriptor.size), kind)
        # Fields that ctypes has no words for are descriptors of ours, with a description of their own.
        for name, descriptor in base.__dict__.items():
            place = getattr(descriptor, "place", None)
            if name not in found and isinstance(place, tuple):
                found[name] = (place, getattr(descriptor, "kind", None))
    return found


def _array_misfit(wanted: Any, given: Any, outer: tuple[Any, ...]) -> str | None:
    if not issubclass(given, ctypes.Array) or wanted._length_ != given._length_:
        return f"{given.__name__} isn't an array of {wanted._length_}"
    return _class_misfit(wanted._type_, given._type_, outer)


def _is_address(kind: Any) -> bool:
    return issubclass(kind, (_POINTER, _FUNCTION)) or getattr(kind, "_type_", None) in {"P", "z", "Z"}


def _address_misfit(wanted: Any, given: Any, outer: tuple[Any, ...]) -> str | None:
    if not _is_address(given):
        return f"{given.__name__} is no pointer"
    if issubclass(wanted, _POINTER) and issubclass(given, _POINTER):
        return _class_misfit(wanted._type_, given._type_, outer)
    return None


def _item(kind: Any) -> tuple[str, int]:
    """Return the class and the size of a number; all single bytes are alike."""
    size = ctypes.sizeof(kind)
    item = _CLASSES.get(kind._type_, "")
    swapped = getattr(kind, "__ctype_le__", kind) is not kind and size > 1
    return ("swapped" if swapped else "i" if size == 1 and item in _BYTES else item), size


# ---- formats of buffers ---------------------------------------------------------------------------------------------


class _Leaf(NamedTuple):
    """A number within an item: where it is, its class, its size."""

    offset: int
    item: str
    size: int


class _UnreadableError(ValueError):
    pass


@lru_cache(maxsize=256)
def _format_misfit(wanted: Any, text: str) -> str | None:
    try:
        given = _Reader(text).leaves()
    except _UnreadableError:
        return f"its items have the format {text!r}, which isn't understood"
    try:
        expected = _leaves(wanted, 0)
    except _UnreadableError:
        return None  # unions, bit-fields: only their size can be compared
    if given == expected:
        return None
    place = next((one.offset for one in sorted(set(given) ^ set(expected))), 0)
    return f"its items have the format {text!r}, which isn't {wanted.__name__} from byte {place} on"


def _leaves(kind: Any, offset: int) -> list[_Leaf]:
    """List the numbers in a ctypes class, in the order of their places."""
    if issubclass(kind, ctypes.Array):
        size = ctypes.sizeof(kind._type_)
        return [leaf for index in range(kind._length_) for leaf in _leaves(kind._type_, offset + index * size)]
    if issubclass(kind, ctypes.Structure):
        found: list[_Leaf] = []
        for name, inner, *bits in kind._fields_:
            if bits or name == "_bytes":
                raise _UnreadableError
            if not name.startswith("_padding"):
                found += _leaves(inner, offset + getattr(kind, name).offset)
        return sorted(found)
    if issubclass(kind, ctypes.Union):
        raise _UnreadableError
    if _is_address(kind):
        return [_Leaf(offset, "p", 8)]
    item, size = _item(kind)
    return [_Leaf(offset, item, size)]


_SHAPE = re.compile(r"\((\d+(?:,\d+)*)\)")
_COUNT = re.compile(r"\d+")
_MOST_LEAVES = 1 << 16


class _Reader:
    """Reads a format such as ``T{<i:x:4x(3)d:y:}``: PEP 3118, as numpy and ctypes write it, gaps spelled out."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._swapped = False

    def leaves(self) -> list[_Leaf]:
        found, _ = self._item()
        if self._at != len(self._text):
            raise _UnreadableError
        return found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _item(self) -> tuple[list[_Leaf], int]:
        """Read one item, with what is written before it; return its numbers and its size."""
        repeat = 1
        while True:
            shape, count = _SHAPE.match(self._text, self._at), _COUNT.match(self._text, self._at)
            if shape is not None:
                for part in shape[1].split(","):
                    repeat *= int(part)
                self._at = shape.end()
            elif count is not None:
                repeat *= int(count[0])
                self._at = count.end()
            elif self._peek() and self._peek() in "<=@^>!":
                self._swapped = self._peek() in ">!"
                self._at += 1
            else:
                break
        if repeat > _MOST_LEAVES:
            raise _UnreadableError
        found, size = self._one()
        if repeat * len(found) > _MOST_LEAVES:
            raise _UnreadableError
        every = [leaf._replace(offset=leaf.offset + index * size) for index in range(repeat) for leaf in found]
        return every, repeat * size

    def _one(self) -> tuple[list[_Leaf], int]:
        code = self._peek()
        self._at += 1
        if code == "T" and self._peek() == "{":
            self._at += 1
            return self._struct()
        if code == "&":
            self._item()
            return [_Leaf(0, "p", 8)], 8
        if code == "X" and self._peek() == "{":
            self._at = self._text.find("}", self._at) + 1 or len(self._text)
            return [_Leaf(0, "p", 8)], 8
        if code == "x":
            return [], 1
        if code not in _SIZES:
            raise _UnreadableError
        size, item = _SIZES[code], _CLASSES[code]
        item = "i" if size == 1 and item in _BYTES else "swapped" if self._swapped else item
        return [_Leaf(0, item, size)], size

    def _struct(self) -> tuple[list[_Leaf], int]:
        found: list[_Leaf] = []
        at = 0
        while self._peek() != "}":
            if not self._peek():
                raise _UnreadableError
            inner, size = self._item()
            found += [leaf._replace(offset=leaf.offset + at) for leaf in inner]
            at += size
            if self._peek() == ":":
                end = self._text.find(":", self._at + 1)
                if end < 0:
                    raise _UnreadableError
                self._at = end + 1
        self._at += 1
        return found, at
