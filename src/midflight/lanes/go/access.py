"""A version's variables, constants and classes, by name."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from midflight._errors import ArgumentTypeError, MissingVariableError, UnloadedError
from midflight.lanes.go import wire
from midflight.lanes.go.calls import Callbacks, open_calls
from midflight.lanes.go.objects import GoObject

if TYPE_CHECKING:
    from midflight.lanes.go.code import GoCode
    from midflight.lanes.go.values import Types


class Access:
    """A version's variables and constants."""

    def __init__(self, code: GoCode) -> None:
        self._code = weakref.ref(code)
        self._variables = {one.name: one for one in code.api.variables if one.exported or one.state}
        self._constants = {one.name: _constant(code.types, one.type, one.value) for one in code.api.constants}

    @property
    def code(self) -> GoCode:
        """The version."""
        code = self._code()
        if code is None:
            raise UnloadedError(
                "this version has been unloaded", todo="take them from the module again: midflight.variables(module)"
            )
        return code

    def names(self) -> list[str]:
        """Return the names of all variables and constants."""
        return [*self._variables, *self._constants]

    def read(self, name: str) -> Any:
        """Return a variable's or a constant's value."""
        if name in self._constants:
            return self._constants[name]
        one, code = self._find(name), self.code
        value = code.operate(wire.READ, [name], name)
        convert = code.types.from_go(one.type)
        return value if convert is None else convert(value)

    def write(self, name: str, value: Any) -> None:
        """Set a variable."""
        if name in self._constants:
            raise ArgumentTypeError("it is a constant and can't be written", subject=f"{self.code.module}.{name}")
        one, code = self._find(name), self.code
        types = code.types
        if types.list[one.type].kind == "func" and callable(value) and not isinstance(value, GoObject):
            what = "a Python function can be passed to a call, but Go can't keep it"
            raise ArgumentTypeError(what, subject=f"{code.module}.{name}")
        open_calls.calls.append(Callbacks(code))
        try:
            converted = code.converted(types, one.type, value, name)
        finally:
            open_calls.calls.pop()
        code.operate(wire.WRITE, [name, converted], name)

    def _find(self, name: str) -> Any:
        one = self._variables.get(name)
        if one is None:
            shown = ", ".join(self.names()) or "none"
            what = f"{self.code.label} has no variable {name!r}"
            raise MissingVariableError(what, subject=self.code.module, todo=f"it has {shown}")
        return one


class Namespace:
    """The classes of a version's types, by name."""

    def __init__(self, types: Types) -> None:
        self._types = types

    def classes(self) -> dict[str, type]:
        """Return them."""
        found = {}
        for index, one in enumerate(self._types.list):
            if one.name.isidentifier() and (cls := self._types.class_of(index)) is not None:
                found[one.name] = cls
        return found

    namespace = classes


def _constant(types: Types, index: int, text: str) -> Any:
    convert = types.from_go(index)
    match types.list[index].kind:
        case "bool":
            value: Any = text == "true"
        case "int" | "uint":
            value = int(text)
        case "float":
            value = float(text)
        case "complex":
            value = [float(part) for part in text.split()]
        case _:
            value = text
    return value if convert is None else convert(value)
