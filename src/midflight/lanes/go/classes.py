"""The classes of a package's own types, in Python.

They stay the same from version to version while their layout does, so that instances and isinstance() do; which
version their methods run in is decided at each call.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from midflight.lanes.go.model import Func, Type

ValueMethod: TypeAlias = Callable[[Any, str, "Func", tuple[Any, ...], dict[str, Any]], Any]

BASES: dict[str, type] = {
    "int": int,
    "uint": int,
    "float": float,
    "complex": complex,
    "string": str,
    "bytes": bytes,
    "slice": list,
    "array": tuple,
    "map": dict,
}


class GoStruct:
    """The base of the classes of Go structs that are data."""

    __slots__ = ()


class GoValue:
    """The base of the classes of Go's named numbers, strings and containers that have methods."""

    __slots__ = ()


class Classes:
    """The classes that were made for a module's types, by name and layout."""

    def __init__(self, module: str, call_method: ValueMethod) -> None:
        self.module = module
        self.call_method = call_method
        self._made: dict[tuple[str, str], type] = {}

    def of(self, one: Type, make: Callable[[], type]) -> type:
        """Return the class of a type; its methods become those of the latest version."""
        key = (one.name, one.text)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
            found.__module__, found.__doc__ = self.module, one.doc or one.text
        for func in one.methods:
            if keyword.iskeyword(func.name) or func.name in _fields_of(found):
                continue
            setattr(found, func.name, self._method(func))
        return found

    def _method(self, func: Func) -> Callable[..., Any]:
        def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
            return call(self, func.name, func, arguments, keywords)

        call = self.call_method
        method.__name__ = method.__qualname__ = func.name
        method.__doc__ = func.doc or None
        return method


def _fields_of(cls: type) -> tuple[str, ...]:
    return getattr(cls, "__match_args__", ())


def field_name(name: str) -> str:
    """Return a field's name as Python may write it."""
    return f"{name}_" if keyword.iskeyword(name) else name
