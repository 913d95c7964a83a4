"""From a function of the interface to a binding of the core: which kind each value is, and what fits it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight.artifact import stub
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Signature, Unsupported, Void
from midflight.lanes.native.by_value import ByValueCall
from midflight.lanes.native.callbacks import CallbackMaker

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable

    from midflight._core import Binding, ParamSpec, ResultSpec, Table
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Function, Interface, Type, TypeId

_ITEM_CLASSES = {"int": "i", "uint": "u", "float": "f", "bool": "b", "char": "c"}


@dataclass(eq=False)
class FunctionInfo:
    """What help() and completion show of a function; made when it is first asked for."""

    interface: Interface
    function: Function

    @cached_property
    def doc(self) -> str:
        """The docstring."""
        return stub.docstring(self.interface, self.function)

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature."""
        return stub.signature(self.interface, self.function)


class _UnusableError(Exception):
    """A type that can't be passed."""


class Binder:
    """Makes the bindings of one version: `bind` for each function, then `finish` with the table of all."""

    def __init__(self, module: str, interface: Interface, ctypes: CTypes, hold_gil: Callable[[str], bool]) -> None:
        self._module = module
        self._interface = interface
        self._ctypes = ctypes
        self._hold_gil = hold_gil
        self._callbacks: dict[TypeId, CallbackMaker] = {}
        self._by_value: list[ByValueCall] = []

    def bind(self, function: Function, address: int) -> Binding:
        """Return the binding of a function at an address; one that can't be called raises when it is called."""
        name = f"{self._module}.{function.name or function.qualified}"
        unusable = None
        slow = None
        params: list[ParamSpec] = []
        result: ResultSpec = ("void", "void", None)
        hold_gil = self._hold_gil(function.name)
        try:
            if function.variadic:
                message = (
                    "it is variadic; say with which types to call it: "
                    f"midflight.function(module, {function.qualified!r}, signature='int f(const char *, int)')"
                )
                raise _UnusableError(message)
            params = [self._param(param.name, param.type) for param in function.params]
            result = self._result(function.result)
            if self._needs_ctypes(function):
                slow = ByValueCall(self._interface, self._ctypes, function, address, hold_gil=hold_gil)
        except _UnusableError as error:
            unusable, params = str(error), []
        binding = _core.Binding(
            name,
            address,
            params,
            result,
            hold_gil=hold_gil,
            slow=slow,
            unusable=unusable,
            info=FunctionInfo(self._interface, function),
        )
        if slow is not None:
            slow.binding = binding
            self._by_value.append(slow)
        return binding

    def finish(self, table: Table) -> None:
        """Tell the calls that go through ctypes which version their results belong to."""
        for call in self._by_value:
            call.table = table

    def _needs_ctypes(self, function: Function) -> bool:
        types = [*(param.type for param in function.params), function.result]
        return any(isinstance(self._interface.strip(type_id), Record) for type_id in types)

    # ---- parameters

    def _param(self, name: str, type_id: TypeId) -> ParamSpec:
        spelled = self._interface.spell(type_id)
        match self._interface.strip(type_id):
            case Pointer(target, const):
                return self._pointer(name, spelled, target, const=const)
            case Array(element):
                return self._pointer(name, spelled, element, const=False)
            case Record():
                return (name, "pointer", "r", 0, True, spelled, self._ctypes.of(type_id))
            case other:
                return (name, self._kind(other), "v", 0, False, spelled, None)

    def _pointer(self, name: str, spelled: str, target: TypeId, *, const: bool) -> ParamSpec:
        if isinstance(self._interface.strip(target), Signature):
            return (name, "callback", "o", 0, const, spelled, self._callback(target))
        item, size, ctype = self._item(target)
        return (name, "pointer", item, size, const, spelled, ctype)

    def _callback(self, signature: TypeId) -> CallbackMaker:
        if signature not in self._callbacks:
            self._callbacks[signature] = CallbackMaker(self._interface, self._ctypes, signature)
        return self._callbacks[signature]

    def _item(self, target: TypeId) -> tuple[str, int, Any]:
        """Return the class and the size of what is pointed to (see `_core.pyi`), and its ctypes class."""
        match self._interface.strip(target):
            case Void():
                return "v", 0, None
            case Scalar(_, kind, size):
                return _ITEM_CLASSES[kind], size, self._ctypes.of(target)
            case Enum(_, size, signed):
                return "i" if signed else "u", size, self._ctypes.of(target)
            case Record(_, _, size) if size:
                return "r", size, self._ctypes.of(target)
            case Array(element):
                return self._item(element)
            case Pointer():
                return "p", 8, self._ctypes.of(target)
            case _:
                return "o", 0, None

    # ---- results

    def _result(self, type_id: TypeId) -> ResultSpec:
        spelled = self._interface.spell(type_id)
        match self._interface.strip(type_id):
            case Void():
                return ("void", spelled, None)
            case Pointer(target, const):
                return self._pointer_result(spelled, target, const=const)
            case Record():
                return ("void", spelled, None)
            case Enum(_, _, _) as enum:
                return (self._kind(enum), spelled, _members(self._ctypes.enum(type_id)))
            case other:
                return (self._kind(other), spelled, None)

    def _pointer_result(self, spelled: str, target: TypeId, *, const: bool) -> ResultSpec:
        pointed = self._interface.strip(target)
        if const and isinstance(pointed, Scalar) and pointed.kind == "char":
            return ("string", spelled, None)
        _, _, ctype = ("", 0, None) if isinstance(pointed, Signature) else self._item(target)
        return ("pointer", spelled, ctype)

    # ---- numbers

    def _kind(self, found: Type) -> str:
        match found:
            case Scalar(_, "bool", 1):
                return "bool"
            case Scalar(_, "float", size) if size in (4, 8):
                return f"float{size * 8}"
            case Scalar(_, "int" | "char", size) if size in (1, 2, 4, 8):
                return f"int{size * 8}"
            case Scalar(_, "uint", size) if size in (1, 2, 4, 8):
                return f"uint{size * 8}"
            case Enum(_, size, signed) if size in (1, 2, 4, 8):
                return f"{'int' if signed else 'uint'}{size * 8}"
            case Unsupported(name, _, reason):
                message = f"its type {name} can't be passed: {reason}"
                raise _UnusableError(message)
            case _:
                message = "it has a parameter or a result of a type that can't be passed"
                raise _UnusableError(message)


def _members(enum: Any) -> dict[int, Any]:
    """Map each value to its enumerator (the first, where two have the same value)."""
    return {member.value: member for member in enum}
