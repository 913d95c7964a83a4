"""Writes the ``.pyi`` of a Go package: what editors and type checkers know of the module."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from midflight.lanes.go.classes import field_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.lanes.go.model import API, Func, Type

_PLAIN = {
    "bool": "bool",
    "int": "int",
    "uint": "int",
    "float": "float",
    "complex": "complex",
    "string": "str",
    "bytes": "bytes",
    "any": "_Any",
    "error": "BaseException | None",
    "context": "_Any",
    "unsupported": "_Never",
}
_BASES = {**_PLAIN, "slice": "list", "array": "tuple", "map": "dict"}
_HEAD = """from collections.abc import Callable as _Callable, Mapping as _Mapping, Sequence as _Sequence
from dataclasses import dataclass as _dataclass
from typing import Any as _Any, Final as _Final, Never as _Never

from midflight import Cancellation as _Cancellation
from midflight.lanes.go import GoObject as _GoObject, GoStruct as _GoStruct, GoValue as _GoValue
"""


def render(api: API, module: str) -> str:
    """Return the text of the stub."""
    return "".join(_Stub(api).lines(module))


class _Stub:
    def __init__(self, api: API) -> None:
        self.api = api
        self.types = api.types
        self.objects = {one.name: index for index, one in enumerate(api.types) if one.kind == "object" and one.name}
        self.data = {one.name for one in api.types if self.is_class(one) and one.kind != "object"}

    def lines(self, module: str) -> Iterator[str]:
        about = self.api.doc.splitlines()[0] if self.api.doc else f"The Go package {self.api.path or module}."
        yield f'"""{_quoted(about)}"""\n\n{_HEAD}'
        for one in self.types:
            if one.name in self.data and self.is_class(one) and one.kind != "object":
                yield from self.data_class(one)
        for name, index in self.objects.items():
            yield from self.object_class(name, self.types[index])
        yield "\n"
        for constant in self.api.constants:
            yield f"{constant.name}: _Final[{self.result(constant.type)}]\n"
        for variable in self.api.variables:
            if variable.exported:
                yield f"{variable.name}: {self.result(variable.type)}\n"
        for func in self.api.functions:
            if not func.why:
                yield "\n"
                yield from self.function(func, "", "")

    def is_class(self, one: Type) -> bool:
        return bool(one.name) and (one.kind in {"struct", "object"} or bool(one.methods and one.kind in _BASES))

    def class_name(self, one: Type) -> str:
        name = _identifier(one.name)
        # A live *Account and an Account that is data are two classes.
        return f"_{name}Object" if one.kind == "object" else name

    def data_class(self, one: Type) -> Iterator[str]:
        name = self.class_name(one)
        if one.kind == "struct":
            yield f"\n@_dataclass(unsafe_hash=True)\nclass {name}(_GoStruct):\n"
        else:
            yield f"\nclass {name}(_GoValue, {_BASES[one.kind]}):\n"
        yield from _doc(one.doc or one.text, "    ")
        for field in one.fields:
            yield f"    {field_name(field.name)}: {self.result(field.type)} = ...\n"
        for func in one.methods:
            yield from self.function(func, "self", "    ")

    def object_class(self, name: str, one: Type) -> Iterator[str]:
        yield f"\nclass {self.class_name(one)}(_GoObject):\n"
        yield from _doc(one.doc or name, "    ")
        methods = {func.name for func in one.methods}
        for field in one.fields:
            if field.name not in methods:
                yield f"    {field_name(field.name)}: {self.result(field.type)}\n"
        for func in one.methods:
            if not func.why:
                yield from self.function(func, "self", "    ")

    def function(self, func: Func, receiver: str, indent: str) -> Iterator[str]:
        params = [receiver] if receiver else []
        for index, (name, param) in enumerate(zip(func.names(), func.params, strict=True)):
            if func.variadic and index == len(func.params) - 1:
                params.append(f"*{name}: {self.parameter(self.types[param.type].elem)}")
            else:
                params.append(f"{name}: {self.parameter(param.type)}")
        if func.context:
            params += [] if func.variadic else ["*"]
            params += [
                f"{func.timeout_name()}: float | None = None",
                f"{func.cancel_name()}: _Cancellation | None = None",
            ]
        results = [self.result(param.type) for param in func.results]
        result = "None" if not results else results[0] if len(results) == 1 else f"tuple[{', '.join(results)}]"
        line = f"{indent}def {func.name}({', '.join(params)}) -> {result}:"
        if func.doc:
            yield f"{line}\n"
            yield from _doc(func.doc, f"{indent}    ")
        else:
            yield f"{line} ...\n"

    def result(self, index: int) -> str:
        """Spell what a value of a type is in Python."""
        one = self.types[index]
        if self.is_class(one):
            return f"{self.class_name(one)} | _Any" if one.kind == "object" else self.class_name(one)
        match one.kind:
            case "slice":
                return f"list[{self.result(one.elem)}]"
            case "array":
                return f"tuple[{self.result(one.elem)}, ...]"
            case "map":
                return f"dict[{self.result(one.key)}, {self.result(one.elem)}]"
            case "pointer":
                return f"{self.result(one.elem)} | None"
            case "func":
                return "_Callable[..., _Any] | None"
            case "struct" | "object":
                return "_Any"
        return _PLAIN[one.kind]

    def parameter(self, index: int) -> str:
        """Spell what may be passed for a type."""
        one = self.types[index]
        match one.kind:
            case "slice":
                return f"_Sequence[{self.parameter(one.elem)}] | None"
            case "array":
                return f"_Sequence[{self.parameter(one.elem)}]"
            case "map":
                return f"_Mapping[{self.parameter(one.key)}, {self.parameter(one.elem)}] | None"
            case "pointer":
                return f"{self.parameter(one.elem)} | None"
            case "bytes":
                return "bytes | bytearray | memoryview" + ("" if one.length else " | None")
            case "struct":
                return f"{self.class_name(one)} | _Mapping[str, _Any]" if one.name else "_Mapping[str, _Any]"
            case "object":
                return "_GoObject | _GoStruct | _GoValue | _Mapping[str, _Any] | None"
            case "func":
                return "_Callable[..., _Any] | None"
        return _PLAIN[one.kind]


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "_"


def _doc(text: str, indent: str) -> Iterator[str]:
    first = text.strip().splitlines()[0]
    yield f'{indent}"""{_quoted(first)}"""\n'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
