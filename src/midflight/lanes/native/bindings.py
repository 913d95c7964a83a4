"""From a function of the interface to a binding of the core: which kind each value is, and what fits it."""

from __future__ import annotations

import ctypes
import platform
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from midflight import _core
from midflight.artifact import stub
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Signature, Unsupported, Void
from midflight.artifact.type_names import canonical
from midflight.lanes.native.by_value import ByValueCall, by_value_obstacle, classify
from midflight.lanes.native.callbacks import CallbackMaker
from midflight.lanes.native.function_info import FunctionInfo
from midflight.lanes.native.layouts import CHAR, misfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Binding, ParamSpec, ResultSpec, Table
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Function, Interface, Type, TypeId

_ITEM_CLASSES = {"int": "i", "uint": "u", "float": "f", "bool": "b", "char": "c"}
_CHAR = "int8" if CHAR is ctypes.c_int8 else "uint8"
_MOST_PARAMETERS = 70
_MOST_STACK_WORDS = 64
_PLACES_STRUCTS = platform.machine() == "x86_64"


def _same_call(one: Function, other: Function) -> bool:
    """Whether two versions of a function are called in the same way."""
    return (one.name, one.params, one.result, one.variadic) == (other.name, other.params, other.result, other.variadic)


class UnusableError(Exception):
    """A type that can't be passed."""


class Call(NamedTuple):
    """What there is to know of a function's calls."""

    name: str
    address: int
    params: list[ParamSpec]
    result: ResultSpec
    hold_gil: bool
    unusable: str | None
    info: FunctionInfo


def needs_ctypes(call: Call) -> bool:
    """Whether a call has a struct by value that the core can't place."""
    structs = [param for param in call.params if param[1] == "struct"]
    if not structs and call.result[0] != "struct":
        return False
    return not _PLACES_STRUCTS or sum((param[3] + 7) // 8 for param in structs) > _MOST_STACK_WORDS - len(call.params)


class Binder:
    """Makes the bindings of one version: `bind` for each function, then `finish` with the table of all.

    ``before`` is the one of a version with the same types: what it found out about functions that haven't changed is
    not found out again.
    """

    def __init__(
        self,
        module: str,
        interface: Interface,
        types: CTypes,
        hold_gil: Callable[[str], bool],
        before: Binder | None = None,
        *,
        guarded: bool = False,
    ) -> None:
        self.bound: dict[str, tuple[Function, Binding]] = {}
        self._before = before.bound if before is not None else {}
        self._module = module
        self._interface = interface
        self.types = types
        self._hold_gil = hold_gil
        self._guarded = guarded
        self._callbacks: dict[TypeId, CallbackMaker] = {}
        self._by_value: list[ByValueCall] = []
        self._inherited: dict[int, Any] = {}

    def kept_callbacks(self) -> dict[int, Any]:
        """Return what keeps the function pointers that the library may hold, by address."""
        made = [maker.kept() for maker in tuple(self._callbacks.values())]
        return {address: pointer for each in (self._inherited, *made) for address, pointer in each.items()}

    def inherit_callbacks(self, before: Binder) -> None:
        """Keep the function pointers of the version before: data that have been brought over may hold them."""
        self._inherited = before.kept_callbacks()

    def bind(self, function: Function, address: int) -> Binding:
        """Return the binding of a function at an address; one that can't be called raises when it is called."""
        before = self._before.get(function.qualified)
        if before is not None and _same_call(before[0], function):
            binding = before[1].moved(address, FunctionInfo(self._interface, function))
            self.bound[function.qualified] = function, binding
            return binding
        binding = self._bind(function, address)
        if self._outlives(function, binding):
            self.bound[function.qualified] = function, binding
        return binding

    def _outlives(self, function: Function, binding: Binding) -> bool:
        """Whether nothing of a binding belongs to its version: a by-value call does, and so do kept callbacks."""
        if self._by_value and self._by_value[-1].binding is binding:
            return False
        return not any(self._is_callback(param.type) for param in function.params)

    def _is_callback(self, type_id: TypeId) -> bool:
        pointer = self._interface.strip(type_id)
        return isinstance(pointer, Pointer) and isinstance(self._interface.strip(pointer.target), Signature)

    def _bind(self, function: Function, address: int) -> Binding:
        name = f"{self._module}.{function.name or function.qualified}"
        unusable = None
        params: list[ParamSpec] = []
        result: ResultSpec = ("void", "void", None, "")
        hold_gil = self._hold_gil(function.name) or self._hold_gil(function.qualified)
        try:
            if len(function.params) > _MOST_PARAMETERS:
                message = f"it has {len(function.params)} parameters; at most {_MOST_PARAMETERS} can be passed"
                raise UnusableError(message)
            if function.variadic:
                message = (
                    "it is variadic; say with which types to call it: "
                    f"midflight.function(module, {function.qualified!r}, signature='int f(const char *, int)')"
                )
                raise UnusableError(message)
            names = stub.parameter_names(function)
            params = [self._param(name, param.type) for name, param in zip(names, function.params, strict=True)]
            result = self._result(function.result)
        except UnusableError as error:
            unusable, params, result = str(error), [], ("void", "void", None, "")
        call = Call(name, address, params, result, hold_gil, unusable, FunctionInfo(self._interface, function))
        return self._make(call)

    def _make(self, call: Call) -> Binding:
        """Return a binding for a call in this process."""
        slow = None
        if needs_ctypes(call):
            slow = ByValueCall(call.name, call.params, call.result, hold_gil=call.hold_gil, guarded=self._guarded)
        binding = _core.Binding(
            call.name,
            call.address,
            call.params,
            call.result,
            hold_gil=call.hold_gil,
            slow=slow,
            unusable=call.unusable,
            info=call.info,
            guarded=self._guarded,
        )
        if slow is not None:
            slow.binding = binding
            self._by_value.append(slow)
        return binding

    def finish(self, table: Table) -> None:
        """Tell the calls that go through ctypes which version their results belong to."""
        for call in self._by_value:
            call.table = table

    # ---- values that no function passes

    def to_native(self, name: str, type_id: TypeId, value: object) -> Any:
        """Convert a number to what fits a type, by the rules for arguments.  ``name`` is for errors."""
        param = self._param("value", type_id)
        number, _ = _core.Binding(f"{self._module}.{name}", 0, [param], ("void", "void", None, "")).convert(0, value)
        return number

    def from_native(self, table: Table, type_id: TypeId, value: int) -> Any:
        """Convert an integer or an address as a function's result of that type would be."""
        return _core.Binding(self._module, 0, [], self._result(type_id)).result_from(table, value)

    # ---- parameters

    def _param(self, name: str, type_id: TypeId) -> ParamSpec:
        spelled = self._interface.spell(type_id)
        match self._interface.strip(type_id):
            case Pointer(target, const):
                return self._pointer(name, spelled, target, const=const)
            case Array(element):
                return self._pointer(name, spelled, element, const=False)
            case Record():
                ctype = self._by_value_class(type_id)
                size, classes = ctypes.sizeof(ctype), self._struct_classes(type_id)
                return (name, "struct", "r", size, True, spelled, ctype, classes, partial(misfit, ctype))
            case other:
                return (name, self._kind(other), "v", 0, False, spelled, None, "", None)

    def _pointer(self, name: str, spelled: str, target: TypeId, *, const: bool) -> ParamSpec:
        same = canonical(self._interface, target)
        pointed = self._interface.strip(target)
        if isinstance(pointed, Signature):
            return (name, "callback", "o", 0, const, spelled, self._callback(target, pointed), same, None)
        item, size, ctype = self._item(target)
        fits = None if ctype is None else partial(misfit, ctype)
        return (name, "pointer", item, size, const, spelled, ctype, same, fits)

    def _callback(self, target: TypeId, signature: Signature) -> CallbackMaker:
        if target not in self._callbacks:
            self._callbacks[target] = self._new_callback_maker(signature)
        return self._callbacks[target]

    def _new_callback_maker(self, signature: Signature) -> CallbackMaker:
        return CallbackMaker(self._interface, self.types, signature)

    def _item(self, target: TypeId) -> tuple[str, int, Any]:
        """Return the class and the size of what is pointed to (see `_core.pyi`), and its ctypes class."""
        match self._interface.strip(target):
            case Void():
                return "v", 0, None
            case Scalar(_, kind, size):
                return _ITEM_CLASSES[kind], size, self.types.of(target)
            case Enum(_, size, signed):
                return "i" if signed else "u", size, self.types.of(target)
            case Record(_, _, size) if size:
                return "r", size, self.types.of(target)
            case Array(element):
                return self._item(element)
            case Pointer():
                return "p", 8, self.types.of(target)
            case _:
                return "o", 0, None

    def _by_value_class(self, type_id: TypeId) -> Any:
        """Return the ctypes class of a struct that ctypes can pass as the library expects it."""
        reason = by_value_obstacle(self._interface, type_id)
        if reason is not None:
            message = f"{self._interface.spell(type_id)} can't be passed by value: {reason}"
            raise UnusableError(message)
        return self.types.of(type_id)

    def _struct_classes(self, type_id: TypeId) -> str:
        """Say in which registers a struct travels; "" where only ctypes knows."""
        return classify(self._interface, type_id) if _PLACES_STRUCTS else ""

    # ---- results

    def _result(self, type_id: TypeId) -> ResultSpec:
        spelled = self._interface.spell(type_id)
        match self._interface.strip(type_id):
            case Void():
                return ("void", spelled, None, "")
            case Pointer(target, const):
                return self._pointer_result(spelled, target, const=const)
            case Record():
                ctype, classes = self._by_value_class(type_id), self._struct_classes(type_id)
                return ("struct", spelled, ctype, f"{classes}{ctypes.sizeof(ctype)}" if classes else "")
            case Enum() as enum:
                return (self._kind(enum), spelled, _members(self.types.enum(type_id)), "")
            case other:
                return (self._kind(other), spelled, None, "")

    def _pointer_result(self, spelled: str, target: TypeId, *, const: bool) -> ResultSpec:
        pointed = self._interface.strip(target)
        if const and isinstance(pointed, Scalar) and pointed.kind == "char":
            return ("string", spelled, None, "")
        _, _, ctype = ("", 0, None) if isinstance(pointed, Signature) else self._item(target)
        return ("pointer", spelled, ctype, canonical(self._interface, target))

    # ---- numbers

    def _kind(self, found: Type) -> str:
        match found:
            case Scalar(_, "bool", 1):
                return "bool"
            case Scalar(_, "float", size) if size in (4, 8):
                return f"float{size * 8}"
            case Scalar(_, "char", 1):
                return _CHAR
            case Scalar(_, "int", size) if size in (1, 2, 4, 8):
                return f"int{size * 8}"
            case Scalar(_, "uint", size) if size in (1, 2, 4, 8):
                return f"uint{size * 8}"
            case Enum(_, size, signed) if size in (1, 2, 4, 8):
                return f"{'int' if signed else 'uint'}{size * 8}"
            case Unsupported(name, _, reason):
                message = f"its type {name} can't be passed: {reason}"
                raise UnusableError(message)
            case _:
                message = "it has a parameter or a result of a type that can't be passed"
                raise UnusableError(message)


def _members(enum: Any) -> dict[int, Any]:
    """Map each value to its enumerator; IntEnum leaves out all but the first of those with the same value."""
    return {member.value: member for member in enum}
