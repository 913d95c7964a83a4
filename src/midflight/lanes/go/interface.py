"""A Go package's API as an `Interface`: what the swap compares and help() lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Foreign, Function, Interface, Param, Variable, Void

if TYPE_CHECKING:
    from midflight.artifact.interface import Type, TypeId
    from midflight.lanes.go.model import API, Func


class _Table:
    def __init__(self, api: API) -> None:
        self.api = api
        self.types: list[Type] = [Void()]
        self._known: dict[str, TypeId] = {}

    def text(self, text: str) -> TypeId:
        if not text:
            return 0
        if text not in self._known:
            self._known[text] = len(self.types)
            self.types.append(Foreign(text))
        return self._known[text]

    def of(self, index: int) -> TypeId:
        return self.text(self.api.types[index].text)

    def function(self, func: Func, name: str, qualified: str) -> Function:
        params = [Param("ctx", self.text("context.Context"))] if func.context else []
        params += [Param(name, self.of(param.type)) for name, param in zip(func.names(), func.params, strict=True)]
        results = [self.api.types[param.type].text for param in func.results] + (["error"] if func.error else [])
        result = results[0] if len(results) == 1 else f"({', '.join(results)})" if results else ""
        return Function(name, qualified, qualified, tuple(params), self.text(result), func.variadic, func.place)


def interface_of(api: API) -> Interface:
    """Return the interface of a package: functions, methods of its types, variables and constants."""
    table = _Table(api)
    functions = [table.function(func, func.name, func.name) for func in api.functions]
    functions += [Function(one.name, one.name, one.name, (), 0) for one in api.skipped]
    for one, func in api.methods():
        functions.append(table.function(func, "", f"{one.name}.{func.name}"))
    variables = [Variable(one.name, table.of(one.type), None, exported=one.exported) for one in api.variables]
    variables += [Variable(one.name, table.of(one.type), None, const=True) for one in api.constants]
    return Interface(tuple(table.types), tuple(functions), tuple(variables), origin="declared", language="Go")
