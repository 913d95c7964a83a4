"""What checks values of one kind and turns them into what msgpack has; for all types that need no others."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from midflight._errors import GoError
from midflight.lanes.go import wire

if TYPE_CHECKING:
    from midflight.lanes.go.model import Type

Convert: TypeAlias = Callable[[Any], Any]

_MOST_FLOAT32 = 3.4028235677973366e38


class MisfitError(Exception):
    """A value that isn't one of the type; ``where``: the parts of the path to it, innermost first."""

    def __init__(self, what: str, *, range_: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.range = range_
        self.where: list[str] = []


def boolean(value: Any) -> bool:
    """Check a bool."""
    if value is True or value is False:
        return bool(value)
    if type(value).__name__ in {"bool_", "bool"}:  # numpy's
        return bool(value)
    raise MisfitError(f"a bool is expected, not {type(value).__name__}")


def integer(one: Type) -> Convert:
    """Return what checks integers of a type."""
    name = one.text.rpartition(" ")[2]
    low, high = (-(1 << (one.bits - 1)), (1 << (one.bits - 1)) - 1) if one.kind == "int" else (0, (1 << one.bits) - 1)
    is_duration = one.name == "time.Duration"

    def convert(value: Any) -> int:
        if type(value) is not int:
            value = _as_integer(value, name, is_duration=is_duration)
        if low <= value <= high:
            return value  # type: ignore[no-any-return]
        raise MisfitError(f"{value} doesn't fit {name} ({low} to {high})", range_=True)

    return convert


def _as_integer(value: Any, name: str, *, is_duration: bool) -> int:
    if is_duration and isinstance(value, dt.timedelta):
        return (value // dt.timedelta(microseconds=1)) * 1000
    index = getattr(type(value), "__index__", None)
    if index is None:
        raise MisfitError(f"{name} is expected, not {type(value).__name__}")
    return int(index(value))


def floating(one: Type) -> Convert:
    """Return what checks floats of a type."""
    narrow = one.bits == 32  # noqa: PLR2004 - the size of a float32

    def convert(value: Any) -> float:
        if type(value) is not float:
            number = getattr(type(value), "__float__", None) or getattr(type(value), "__index__", None)
            if number is None or isinstance(value, str):
                raise MisfitError(f"a float is expected, not {type(value).__name__}")
            try:
                value = float(value)
            except OverflowError:
                raise MisfitError(f"{value} doesn't fit float{one.bits}", range_=True) from None
        if narrow and abs(value) >= _MOST_FLOAT32 and math.isfinite(value):
            raise MisfitError(f"{value} doesn't fit float32", range_=True)
        return value  # type: ignore[no-any-return]

    return convert


def complex_number(value: Any) -> list[float]:
    """Take a complex number apart."""
    if isinstance(value, str) or not (hasattr(value, "__complex__") or hasattr(value, "__float__")):
        raise MisfitError(f"a complex number is expected, not {type(value).__name__}")
    value = complex(value)
    return [value.real, value.imag]


def text(value: Any) -> Any:
    """Check a text."""
    if not isinstance(value, str):
        raise MisfitError(f"a str is expected, not {type(value).__name__}")
    if value.isascii():
        return value if type(value) is str else str.__str__(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        # Bytes that aren't UTF-8, as they came from Go or from the file system.
        try:
            return msgspec.msgpack.Ext(wire.TEXT, value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise MisfitError("the text has half of a surrogate pair, which no encoding has") from None
    return str.__str__(value)


def octets(one: Type) -> Convert:
    """Return what checks bytes of a type."""

    def convert(value: Any) -> bytes | None:
        if value is None and not one.length:
            return None
        if isinstance(value, str):
            raise MisfitError("bytes are expected, not str")
        try:
            data = memoryview(value).tobytes()
        except TypeError:
            raise MisfitError(f"bytes are expected, not {type(value).__name__}") from None
        if one.length and len(data) != one.length:
            raise MisfitError(f"{one.length} bytes are expected, not {len(data)}")
        return data

    return convert


def sequence(one: Type, element: Convert) -> Convert:
    """Return what checks the elements of a slice or an array."""

    def convert(value: Any) -> list[Any] | None:
        if value is None and one.kind == "slice":
            return None
        if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__") or not hasattr(value, "__len__"):
            raise MisfitError(f"a list for {one.text} is expected, not {type(value).__name__}")
        if one.kind == "array" and len(value) != one.length:
            raise MisfitError(f"{one.length} elements are expected, not {len(value)}")
        made: list[Any] = []
        try:
            for item in value:
                made.append(element(item))  # noqa: PERF401 - how far it got tells where it failed
        except MisfitError as misfit:
            misfit.where.append(f"[{len(made)}]")
            raise
        return made

    return convert


def mapping(one: Type, key: Convert, element: Convert, *, paired: bool) -> Convert:
    """Return what checks a map; ``paired``: its keys can't be keys in a message."""

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise MisfitError(f"a dict for {one.text} is expected, not {type(value).__name__}")
        made = []
        name: Any = None
        try:
            for name, item in value.items():
                made.append((key(name), element(item)))
        except MisfitError as misfit:
            misfit.where.append(f"[{name!r}]")
            raise
        return made if paired else dict(made)

    return convert


def error(value: Any) -> Any:
    """Turn an exception into an error."""
    if value is None:
        return None
    if isinstance(value, GoError):
        return wire.extension(wire.ERROR, [value.what])
    if isinstance(value, BaseException):
        return wire.extension(wire.ERROR, [f"{type(value).__name__}: {value}" if str(value) else type(value).__name__])
    if isinstance(value, str):
        return wire.extension(wire.ERROR, [value])
    raise MisfitError(f"an exception is expected for an error, not {type(value).__name__}")


def refuse(one: Type) -> Convert:
    """Return what refuses every value."""

    def convert(_value: Any) -> Any:
        raise MisfitError(one.why or f"a {one.text} can't be passed")

    return convert


def _limited(low: int, high: int) -> Convert:
    def convert(value: int) -> int:
        if low <= value <= high:
            return int(value)
        raise MisfitError(f"{value} doesn't fit 64 bits", range_=True)

    return convert


def any_leaf(value: Any) -> Any:
    """Convert what has no parts, and whose type Go is to choose."""
    match value:
        case float():
            return float(value)
        case int():
            return _ANY_INTEGER(value) if value >= 0 else _ANY_NEGATIVE(value)
        case str():
            return text(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case BaseException():
            return error(value)
    if hasattr(value, "__index__"):
        return any_leaf(int(value.__index__()))
    raise MisfitError(f"{type(value).__name__} has no meaning in Go")


SIMPLE: dict[str, Convert] = {"bool": boolean, "complex": complex_number, "string": text, "error": error}
_ANY_INTEGER, _ANY_NEGATIVE = _limited(0, (1 << 64) - 1), _limited(-(1 << 63), -1)
