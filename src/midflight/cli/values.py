"""Shows the values that functions give back, as a C programmer would write them."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

_MOST = 32
"""How many elements of an array are shown."""


def show(value: Any, *, quote: bool = True) -> str:
    """Return the value as one line.  ``quote``: texts in quotes."""
    match value:
        case str():
            return _quoted(value) if quote else value
        case bool():
            return "true" if value else "false"
        case IntEnum():
            return f"{value.name} ({int(value)})"
        case bytes() | bytearray():
            return _bytes(bytes(value))
        case ctypes.Structure() | ctypes.Union():
            return _record(value)
        case ctypes.Array():
            return _array(value)
        case ctypes._SimpleCData():  # noqa: SLF001 - the only name of the class of ctypes' numbers
            return show(value.value, quote=quote)
        case ctypes._Pointer():  # noqa: SLF001
            return f"{ctypes.addressof(value.contents):#x}" if value else "null"
        case None:
            return "null"
        case _:
            return str(value) if isinstance(value, int | float) else repr(value)


def _record(value: Any) -> str:
    names = [field[0] for field in getattr(value, "_fields_", ())]
    return "{" + ", ".join(f"{name}: {show(getattr(value, name))}" for name in names) + "}"


def _array(value: Any) -> str:
    if isinstance(value[:1], bytes):
        return _bytes(bytes(value))
    shown = [show(item) for item in value[:_MOST]]
    return "[" + ", ".join([*shown, "..."] if len(value) > _MOST else shown) + "]"


def _bytes(data: bytes) -> str:
    try:
        text = data.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        return repr(data)
    return _quoted(text) if all(char.isprintable() or char == "\n" for char in text) else repr(data)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
