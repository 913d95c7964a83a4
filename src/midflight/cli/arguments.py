"""Makes arguments from text, by the types of a function's parameters.

Numbers that go into arrays and structs are range-checked here, because ctypes cuts them off without a word; single
numbers are left to the call itself, which checks them anyway.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from midflight._errors import ArgumentRangeError, ArgumentTypeError
from midflight.artifact.ctypes_types import safe_name
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Signature, Void
from midflight.cli.literals import Group, Literal, String, Word, parse

if TYPE_CHECKING:
    from midflight.artifact.interface import Function, Interface, Param, Type, TypeId

_TRUE = ("true", "True", "yes", "1")
_FALSE = ("false", "False", "no", "0")
_NULL = ("null", "NULL", "nullptr", "None")


class Classes(Protocol):
    """Where the ctypes classes of an interface's types come from."""

    def of(self, type_id: TypeId, /) -> Any:
        """Return the class for a type."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads arguments for the functions of one interface."""

    interface: Interface
    classes: Classes

    def read(self, param: Param, text: str) -> Any:
        """Return the argument for ``param`` that ``text`` says.  Raises an `ArgumentTypeError`, or a `..RangeError`."""
        subject = param.name or self.interface.spell(param.type)
        found = self.interface.strip(param.type)
        try:
            match found:
                case Pointer():
                    return self._pointer(found, text)
                case Record():
                    return self._record(param.type, found, _whole(parse(text)))
                case _:
                    return self._plain(param.type, found, text)
        except ArgumentTypeError as error:
            raise self._named(ArgumentTypeError, error, subject, param) from None
        except ArgumentRangeError as error:
            raise self._named(ArgumentRangeError, error, subject, param) from None

    def _named(
        self,
        kind: type[ArgumentTypeError | ArgumentRangeError],
        error: ArgumentTypeError | ArgumentRangeError,
        subject: str,
        param: Param,
    ) -> ArgumentTypeError | ArgumentRangeError:
        return kind(error.what, subject=subject, todo=f"give {self.hint(param)}")

    def hint(self, param: Param) -> str:
        """Say what text stands for an argument."""
        found = self.interface.strip(param.type)
        match found:
            case Scalar(kind="int" | "uint"):
                return "a whole number"
            case Scalar(kind="char"):
                return "one character, or a whole number"
            case Scalar(kind="bool"):
                return "true or false"
            case Scalar():
                return "a number"
            case Enum(items=items):
                return f"one of {', '.join(name for name, _ in items)}"
            case Record():
                return _record_hint(found)
            case Pointer(target):
                return self._pointer_hint(target)
            case _:
                return f"a value of type {self.interface.spell(param.type)}"

    def choices(self, param: Param) -> tuple[str, ...]:
        """Return the words that stand for all an argument can be, where that is a few."""
        match self.interface.strip(param.type):
            case Scalar(kind="bool"):
                return ("true", "false")
            case Enum(items=items):
                return tuple(name for name, _ in items)
            case _:
                return ()

    def _pointer_hint(self, target: TypeId) -> str:
        inner = self.interface.strip(target)
        match inner:
            case Scalar(kind="char"):
                return "a text, or null"
            case Scalar() | Enum():
                return f"{self.interface.spell(target)} values with commas between them (8*0: eight zeros), or null"
            case Record():
                return f"{_record_hint(inner)}, or null"
            case _:
                return "null"

    # ---- numbers and names ----

    def _plain(self, type_id: TypeId, found: Type, text: str) -> Any:
        """Read a value that isn't a pointer or a struct."""
        if isinstance(found, Scalar) and found.kind == "char" and _is_character(Word(text)):
            return _character(text)
        group = parse(text)
        if len(group.items) != 1:
            message = "nothing is given" if not group.items else "one value is wanted"
            raise ArgumentTypeError(message)
        return self._value(type_id, found, group.items[0][1], inside=False)

    def _value(self, type_id: TypeId, found: Type, literal: Literal, *, inside: bool = True) -> Any:
        """Return one value.  ``inside``: it becomes part of an array or a struct, which ctypes would cut off."""
        match found, literal:
            case Scalar(kind="bool"), Word(text):
                return _truth(text)
            case Scalar(kind="float"), Word(text):
                return _real(text)
            case Scalar(kind="char"), String(text) | Word(text):
                number = _character(text) if _is_character(literal) else _whole_number(text)
                return _byte(number) if inside else number
            case Scalar(), Word(text):
                return _checked(_whole_number(text), found) if inside else _whole_number(text)
            case Enum(), Word(text):
                return _item(found, text)
            case Record(), Group():
                return self._record(type_id, found, literal)
            case Array(), Group() | String():
                return self._array(type_id, found, literal)
            case Pointer(target), _:
                return self._inner_pointer(target, literal)
        message = f"{_show(literal)} is no {self.interface.spell(type_id)}"
        raise ArgumentTypeError(message)

    # ---- structs, arrays and pointers ----

    def _record(self, type_id: TypeId, found: Record, group: Group) -> Any:
        if found.kind == "union" and len(group.items) > 1:
            message = f"{found.name} takes one of its members"
            raise ArgumentTypeError(message)
        members = {field.name: field for field in found.fields}
        if len(group.items) > len(members):
            message = f"{found.name} has {len(members)} members, not {len(group.items)}"
            raise ArgumentTypeError(message)
        made = self.classes.of(type_id)()
        for place, (name, literal) in enumerate(group.items):
            field = members.get(name) if name else found.fields[place]
            if field is None:
                message = f"{found.name} has no member {name}, but {', '.join(members)}"
                raise ArgumentTypeError(message)
            value = self._value(field.type, self.interface.strip(field.type), literal)
            setattr(made, safe_name(field.name), value)
        return made

    def _array(self, type_id: TypeId, found: Array, literal: Group | String) -> Any:
        kind = self.classes.of(type_id)
        inner = self.interface.strip(found.element)
        if isinstance(literal, String):
            data = literal.text.encode()
            if not isinstance(inner, Scalar) or inner.size != 1 or len(data) > (found.count or 0):
                message = f"{_show(literal)} doesn't fit {self.interface.spell(type_id)}"
                raise ArgumentTypeError(message)
            return data if inner.kind == "char" else kind.from_buffer_copy(data.ljust(ctypes.sizeof(kind), b"\0"))
        if len(literal.items) > (found.count or 0):
            message = f"{self.interface.spell(type_id)} has no room for {len(literal.items)} values"
            raise ArgumentTypeError(message)
        values = [self._value(found.element, inner, item) for _, item in literal.items]
        is_text = isinstance(inner, Scalar) and inner.kind == "char"
        return b"".join(values) if is_text else kind(*values)

    def _pointer(self, pointer: Pointer, text: str) -> Any:
        if text.strip() in _NULL:
            return None
        inner = self.interface.strip(pointer.target)
        match inner:
            case Scalar(kind="char"):
                return _text(text, const=pointer.const)
            case Scalar() | Enum():
                return self._many(pointer.target, inner, _unwrapped(parse(text)))
            case Record():
                group = parse(text)
                if group.items and any(name or not isinstance(item, Group) for name, item in group.items):
                    return self._record(pointer.target, inner, group)
                group = _unwrapped(group, keep_single=True)
                if len(group.items) == 1 and isinstance(group.items[0][1], Group):
                    return self._record(pointer.target, inner, group.items[0][1])
                return self._many(pointer.target, inner, group)
            case Void():
                return bytearray(_text(text, const=True).encode())
            case Pointer() if self._is_text(inner):
                return self._many(pointer.target, inner, _unwrapped(parse(text)))
            case Signature():
                message = "a function can't be written as text"
            case _:
                message = f"a {self.interface.spell(pointer.target)} can't be written as text"
        raise ArgumentTypeError(message)

    def _many(self, type_id: TypeId, inner: Type, group: Group) -> Any:
        values = [self._value(type_id, inner, item) for _, item in group.items]
        kind = self.classes.of(type_id)
        return (kind * len(values))(*values)

    def _inner_pointer(self, target: TypeId, literal: Literal) -> Any:
        if isinstance(literal, Word) and literal.text in _NULL:
            return None
        inner = self.interface.strip(target)
        if isinstance(inner, Scalar) and inner.kind == "char" and not isinstance(literal, Group):
            return literal.text.encode()
        message = f"{_show(literal)} can't stand for a pointer to {self.interface.spell(target)}, only null can"
        raise ArgumentTypeError(message)

    def _is_text(self, found: Pointer) -> bool:
        inner = self.interface.strip(found.target)
        return isinstance(inner, Scalar) and inner.kind == "char"


def written_by(interface: Interface, function: Function, arguments: list[Any]) -> list[tuple[str, Any]]:
    """Return name and value of the arguments that the function may have changed."""
    found = []
    for place, (param, value) in enumerate(zip(function.params, arguments, strict=False)):
        kind = interface.strip(param.type)
        if isinstance(kind, Pointer) and not kind.const and value is not None:
            found.append((param.name or f"argument {place + 1}", value))
    return found


# ---- single values --------------------------------------------------------------------------------------------------


def _whole(group: Group) -> Group:
    """Return the one group that is given, or the values that are given without braces."""
    if len(group.items) == 1 and not group.items[0][0] and isinstance(group.items[0][1], Group):
        return group.items[0][1]
    return group


def _unwrapped(group: Group, *, keep_single: bool = False) -> Group:
    """Return the items of ``[1, 2]`` as those of ``1, 2``; a single struct, ``{1, 2}``, is kept as it is."""
    inner = _whole(group)
    if inner is group or not keep_single:
        return inner
    return inner if inner.items and all(isinstance(item, Group) for _, item in inner.items) else group


def _text(text: str, *, const: bool) -> Any:
    stripped = text.strip()
    if stripped[:1] in ("'", '"') and stripped[-1:] == stripped[:1] and len(stripped) > 1:
        group = parse(stripped)
        if len(group.items) == 1 and isinstance(group.items[0][1], String):
            text = group.items[0][1].text
    return text if const else bytearray(text.encode() + b"\0")


def _whole_number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return int(text, 10)  # 007 is a number too
    except ValueError:
        message = f"{text!r} is no whole number"
        raise ArgumentTypeError(message) from None


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(int(text, 0))
    except (ValueError, OverflowError):
        message = f"{text!r} is no number"
        raise ArgumentTypeError(message) from None


def _truth(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    message = f"{text!r} is neither true nor false"
    raise ArgumentTypeError(message)


def _character(text: str) -> int:
    data = text.encode()
    if len(data) != 1:
        message = f"{text!r} isn't one character of one byte"
        raise ArgumentTypeError(message)
    return data[0]


def _is_character(literal: Word | String) -> bool:
    """Tell ``a`` and ``"7"`` from ``7``."""
    return isinstance(literal, String) or (len(literal.text) == 1 and not literal.text.isdigit())


def _byte(number: int) -> bytes:
    if not -0x80 <= number <= 0xFF:  # noqa: PLR2004 - either kind of char
        message = f"{number} doesn't fit a char"
        raise ArgumentRangeError(message)
    return bytes([number & 0xFF])


def _item(kind: Enum, text: str) -> int:
    name = text.rpartition("::")[2]
    for item, value in kind.items:
        if name == item:
            return value
    try:
        return _whole_number(text)
    except ArgumentTypeError:
        message = f"{text!r} is no {kind.name}"
        raise ArgumentTypeError(message) from None


def _checked(value: int, kind: Scalar) -> int:
    bits = 8 * kind.size
    low, high = (0, (1 << bits) - 1) if kind.kind == "uint" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    if not low <= value <= high:
        message = f"{value} doesn't fit {kind.name} ({low} to {high})"
        raise ArgumentRangeError(message)
    return value


def _record_hint(found: Record) -> str:
    return "{" + ", ".join(f"{field.name}: ..." for field in found.fields if field.name) + "}"


def _show(literal: Literal) -> str:
    match literal:
        case Word(text):
            return repr(text)
        case String(text):
            return f"the text {text!r}"
        case Group(items):
            return f"a group of {len(items)}"
