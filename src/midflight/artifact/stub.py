"""What editors, type checkers and ``help()`` see of a library: stub files, signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from midflight.artifact.annotations import Annotations, unsupported_reason
from midflight.artifact.ctypes_types import friendly_name, member_names, safe_name
from midflight.artifact.interface import Enum, Record, Typedef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.interface import Function, Interface, TypeId

_BUILTINS = frozenset({"int", "float", "bool", "bytes", "str"})
_IMPORTED = frozenset({"ctypes", "enum", "Callable", "Any", "Pointer", "Buffer"})
_IMPORTS = """import ctypes
import enum
from collections.abc import Callable
from typing import Any

from midflight import Pointer
from typing_extensions import Buffer
"""
_HIDDEN_IMPORTS = """import builtins as _builtins
import ctypes as _ctypes
import enum as _enum
from collections.abc import Callable as _Callable
from typing import Any as _Any

from midflight import Pointer as _Pointer
from typing_extensions import Buffer as _Buffer
"""
_LINE_LENGTH = 100
_NO_NAME = re.compile(r"\W+")


class _Text(str):
    """An annotation that `inspect.Signature` shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(interface: Interface, function: Function) -> inspect.Signature:
    """Return the function's signature: parameters by position or by name, annotated with what Python passes."""
    notes = Annotations(interface, lambda name: name, lambda type_id: _class_name(interface, type_id))
    params = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_Text(notes.parameter(param.type)))
        for name, param in zip(parameter_names(function), function.params, strict=True)
    ]
    if function.variadic:
        params.append(inspect.Parameter(_unused("args", params), inspect.Parameter.VAR_POSITIONAL))
    return inspect.Signature(params, return_annotation=_Text(notes.result(function.result)))


def docstring(interface: Interface, function: Function) -> str:
    """Return the function's docstring: its declaration in C, where it stands, and what keeps it from being called."""
    lines = [interface.describe(function)]
    if function.declared_in:
        lines += ["", f"Declared in {function.declared_in}."]
    reasons = [reason for param in function.params if (reason := unsupported_reason(interface, param.type))]
    reasons += [reason] if (reason := unsupported_reason(interface, function.result)) else []
    if reasons:
        lines += ["", f"Can't be called from Python ({reasons[0]})."]
    return "\n".join(lines)


def parameter_names(function: Function) -> list[str]:
    """Return names for a function's parameters that Python can write, each one different.

    A parameter without a name is ``arg0``, ``arg1`` …; a reserved word gets an underscore at its end.
    """
    names: list[str] = []
    for index, param in enumerate(function.params):
        name = safe_name(_NO_NAME.sub("_", param.name)) if param.name else f"arg{index}"
        if not name.isidentifier():
            name = f"arg{index}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def render(interface: Interface, module_name: str) -> str:
    """Return a stub file (``.pyi``) of the library's functions, exported variables and types."""
    return _Stub(interface).text(module_name)


def _unused(name: str, params: list[inspect.Parameter]) -> str:
    while any(param.name == name for param in params):
        name += "_"
    return name


def _class_id(interface: Interface, type_id: TypeId) -> TypeId:
    found = interface.types[type_id]
    while isinstance(found, Typedef):
        type_id = found.target
        found = interface.types[type_id]
    return type_id


def _class_name(interface: Interface, type_id: TypeId) -> str:
    """Return the short name of a record's or an enum's class, a typedef's name where it has none of its own."""
    found = interface.types[type_id]
    name = ""
    while True:
        if isinstance(found, (Record, Enum)):
            return friendly_name(found.name) or name
        if not isinstance(found, Typedef):
            return ""
        name = name or friendly_name(found.name)
        found = interface.types[found.target]


class _Stub:
    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._classes = self._name_classes()
        # A function called `int` would hide the type: then all names that the stub needs are written differently.
        self._hidden = bool(self._all_names() & (_BUILTINS | _IMPORTED))
        self._notes = Annotations(interface, self._qualified, self._class)

    def text(self, module_name: str) -> str:
        parts = [
            f'"""The interface of {_quoted(module_name)}, as midflight reads it."""\n',
            _HIDDEN_IMPORTS if self._hidden else _IMPORTS,
        ]
        parts += self._variables()
        for function in self._interface.functions:
            parts += self._function(function)
        if self._classes:
            parts.append('\nclass _types:\n    """What `midflight.types` of the module offers."""\n')
            for type_id, name in self._classes.items():
                parts += self._type(type_id, name)
        return "".join(parts)

    def _name_classes(self) -> dict[TypeId, str]:
        """Give each record and enum a name of its own; those without any get the first typedef's."""
        found: dict[TypeId, str] = {}
        used: set[str] = set()
        typedefs: dict[TypeId, str] = {}
        for entry in self._interface.types:
            if isinstance(entry, Typedef):
                typedefs.setdefault(_class_id(self._interface, entry.target), entry.name)
        for type_id, entry in enumerate(self._interface.types):
            if isinstance(entry, (Record, Enum)):
                name = safe_name(friendly_name(entry.name or typedefs.get(type_id, "")))
                name = name if name.isidentifier() else f"type_{type_id}"
                # Two leading underscores would be mangled within the class that holds the types.
                name = f"type{name}" if name.startswith("__") else name
                while name in used:
                    name += "_"
                used.add(name)
                found[type_id] = name
        return found

    def _class(self, type_id: TypeId) -> str:
        name = self._classes.get(_class_id(self._interface, type_id))
        return f"_types.{name}" if name else ""

    def _all_names(self) -> set[str]:
        found = set(self._classes.values())
        found.update(function.name for function in self._interface.functions)
        found.update(variable.name for variable in self._interface.variables)
        for record in self._interface.types:
            if isinstance(record, Record):
                found.update(field.name for field in record.fields)
        return found

    def _qualified(self, name: str) -> str:
        if not self._hidden:
            return name
        return f"_builtins.{name}" if name in _BUILTINS else f"_{name}"

    def _variables(self) -> Iterator[str]:
        functions = {function.name for function in self._interface.functions}
        lines = [
            f"{variable.name}: {self._notes.field(variable.type)}\n"
            for variable in self._interface.variables
            if variable.exported and _is_writable_name(variable.name) and variable.name not in functions
        ]
        if lines:
            yield "\n"
            yield from lines

    def _function(self, function: Function) -> Iterator[str]:
        if not _is_writable_name(function.name):
            name = _quoted(function.qualified)
            yield f"\n# {name} is found by midflight.function(module, {name!r})\n"
            return
        params = [
            f"{name}: {self._notes.parameter(param.type)}"
            for name, param in zip(parameter_names(function), function.params, strict=True)
        ]
        if function.variadic:
            taken = parameter_names(function)
            rest = "args"
            while rest in taken:
                rest += "_"
            params.append(f"*{rest}: {self._qualified('Any')}")
        doc = _quoted(docstring(self._interface, function).replace("\n\n", "  ").replace("\n", " "))
        result = self._notes.result(function.result)
        line = f"def {function.name}({', '.join(params)}) -> {result}:\n"
        if len(line) > _LINE_LENGTH:
            line = "".join([f"def {function.name}(\n", *(f"    {param},\n" for param in params), f") -> {result}:\n"])
        yield f"\n{line}"
        yield f'    """{doc}"""\n'

    def _type(self, type_id: TypeId, name: str) -> Iterator[str]:
        found = self._interface.types[type_id]
        if isinstance(found, Enum):
            yield f"\n    class {name}({self._qualified('enum')}.IntEnum):\n"
            for item, value in member_names(found).items():
                yield f"        {item} = {value}\n"
            if not found.items:
                yield "        ...\n"
        elif isinstance(found, Record):
            base = "Union" if found.kind == "union" else "Structure"
            yield f"\n    class {name}({self._qualified('ctypes')}.{base}):\n"
            fields = list(self._fields(type_id))
            yield from fields or ["        ...\n"]

    def _fields(self, type_id: TypeId) -> Iterator[str]:
        """List a record's fields; those of anonymous members belong to the record itself."""
        used: set[str] = set()
        pending = [type_id]
        seen: set[TypeId] = set()
        while pending:
            current = pending.pop(0)
            record = self._interface.types[current]
            if not isinstance(record, Record) or current in seen:
                continue
            seen.add(current)
            for field in record.fields:
                name = safe_name(field.name)
                if not field.name:
                    pending.append(_class_id(self._interface, field.type))
                elif _is_writable_name(name) and name not in used:
                    used.add(name)
                    yield f"        {name}: {self._notes.field(field.type)}\n"


def _is_writable_name(name: str) -> bool:
    return name.isidentifier() and safe_name(name) == name and not name.startswith("__")


def _quoted(text: str) -> str:
    """Make text safe within a docstring or a comment."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
