"""The client's side of the functions: arguments become values that can travel, results come back as Python's.

Guarantees: arguments are judged by the very rules of calls in this process (the core's own conversion), before anything
is sent; what comes back is checked against the interface, whatever the other side says.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight._errors import ArgumentTypeError, ProtocolError, UnsupportedFunctionError
from midflight.artifact import stub
from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.interface import Array, Enum, Foreign, Pointer, Record, Scalar, Unsupported
from midflight.lanes.native.bindings import Binder, UnusableError
from midflight.lanes.native.function_info import FunctionInfo
from midflight.lanes.remote.callables import RemoteCallbackMaker
from midflight.lanes.remote.places import holds_address, opaque, places
from midflight.lanes.remote.pointers import RemotePointer
from midflight.lanes.remote.wire import Data, Handle, Plain, Same, Token, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Binding, ParamSpec, ResultSpec
    from midflight.artifact.interface import Function, Interface, Signature, TypeId, Variable
    from midflight.lanes.native.callbacks import CallbackMaker
    from midflight.lanes.remote.connection import Connection
    from midflight.lanes.remote.session import Session

_ADDRESS_TYPES: tuple[Any, ...] = (ctypes.POINTER(ctypes.c_int).__base__, ctypes.c_void_p, ctypes.c_char_p)
_NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NO_RESULT: ResultSpec = ("void", "void", None, "")


class Packing:
    """The arguments of one call on their way, and the memory that they were taken from."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._places: dict[tuple[int, int], int] = {}
        self._back: dict[int, tuple[int, int, object]] = {}

    def memory(self, index: int, address: int, size: int, keep: object, *, back: bool) -> Value:
        """Send the memory of an argument; the same memory twice stays the same."""
        first = self._places.setdefault((address, size), index)
        if first != index and (not back or first in self._back):
            return Same(first)
        if back:
            self._back[index] = (address, size, keep)
        return Data(ctypes.string_at(address, size), back)

    def copy_back(self, memory: tuple[bytes | None, ...]) -> None:
        """Let the caller's memory be what the function made of it."""
        for index, (address, size, _) in self._back.items():
            data = memory[index] if index < len(memory) else None
            if data is None or len(data) != size:
                raise ProtocolError("the other side didn't send back the memory that it was given")
            ctypes.memmove(address, data, size)


class Face:
    """One function, as the client sees it."""

    def __init__(self, terms: Terms, function: Function) -> None:
        self.terms = terms
        self.function = function
        self.name = f"{terms.module}.{function.name or function.qualified}"
        self._params: list[ParamSpec] = []
        self._result: ResultSpec = _NO_RESULT
        self._foreign = _is_foreign(terms.interface, function)
        self._unusable: str | None = None
        try:
            self._params, self._result = ([], _NO_RESULT) if self._foreign else terms.binder.plan(function)
        except UnusableError as error:
            self._unusable = str(error)
        self._converting = self.bound(_never)

    def bound(self, slow: Callable[..., Any]) -> Binding:
        """Return a binding that calls ``slow`` with as many arguments as the function takes, not converted."""
        return _core.Binding(
            self.name,
            0,
            self._params,
            self._result,
            slow=slow,
            unusable=self._unusable,
            raw=self._foreign,
            info=FunctionInfo(self.terms.interface, self.function),
        )

    # ---- arguments

    def encode(self, values: tuple[Any, ...], packing: Packing) -> tuple[Value, ...]:
        """Convert the arguments.  Raises as any call does."""
        if self._foreign:
            return tuple(map(Plain, values))
        return tuple(self._encode(index, value, packing) for index, value in enumerate(values))

    def _encode(self, index: int, value: Any, packing: Packing) -> Value:
        param = self._params[index]
        match param[1]:
            case "struct":
                return self._struct(index, param, value)
            case "pointer" | "callback" if value is None:
                return None
            case "pointer" | "callback" if isinstance(value, RemotePointer):
                return self._handle(param, value, packing)
            case "callback":
                return self._callable(param, value)
            case "pointer":
                return self._pointed(index, param, value, packing)
            case _:
                number: Value = self._converting.convert(index, value)[0]
                return number

    def _wrong(self, param: ParamSpec, value: object, why: str, todo: str = "") -> ArgumentTypeError:
        what = (
            f"parameter {param[0]!r} is {param[5]}, and {type(value).__name__} can't be passed to it{why and ': '}{why}"
        )
        return ArgumentTypeError(what, subject=self.name, todo=todo)

    def _struct(self, index: int, param: ParamSpec, value: object) -> bytes:
        wanted, misfit = param[6], param[8]
        if type(value) is not wanted:
            why = misfit(type(value)) if misfit and isinstance(value, (ctypes.Structure, ctypes.Union)) else ""
            if why is not None:
                todo = f"make one with midflight.types(module).{wanted.__name__}(...)"
                raise self._wrong(param, value, why, todo)
        data = ctypes.string_at(ctypes.addressof(value), ctypes.sizeof(wanted))  # type: ignore[arg-type]
        self._refuse_addresses(param, value, data, len(data), self.function.params[index].type)
        return data

    def _refuse_addresses(self, param: ParamSpec, value: object, data: bytes, size: int, type_id: TypeId) -> None:
        if holds_address(data, size, self.terms.places(type_id)):
            why = "it holds addresses of this process, which mean nothing in the other one"
            raise self._wrong(param, value, why, "let a function of the library make it there")

    def _handle(self, param: ParamSpec, value: RemotePointer, packing: Packing) -> Handle:
        number = value.number_in(packing.session)
        if number is None:
            why = "it came over another connection, or over this one before it was lost"
            raise self._wrong(param, value, why, "get a new one from the module")
        return Handle(number)

    def _callable(self, param: ParamSpec, value: Any) -> Token:
        maker = param[6]
        if not callable(value) or not isinstance(maker, RemoteCallbackMaker):
            raise self._wrong(param, value, "something that can be called is expected")
        registered = maker.register(value)
        self.terms.connection.remember(registered)
        return Token(registered.number)

    def _pointed(self, index: int, param: ParamSpec, value: Any, packing: Packing) -> Value:
        const, item = param[4], param[2]
        if isinstance(value, (_core.Pointer, *_ADDRESS_TYPES)) and item != "p":
            why = "an address of this process means nothing in the other one"
            raise self._wrong(param, value, why, "pass the object that it points to")
        address, keep = self._converting.convert(index, value)
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            if const and item in {"c", "v"}:
                return value
            return Data(value, back=False)
        size = memoryview(value).nbytes
        if item in {"r", "p"}:
            self._check_items(index, param, value, ctypes.string_at(address, size))
        return packing.memory(index, address, size, keep, back=not const)

    def _check_items(self, index: int, param: ParamSpec, value: object, data: bytes) -> None:
        target = self.terms.target(self.function.params[index].type)
        if opaque(self.terms.interface, target):
            why = "copying its bytes doesn't copy it"
            raise self._wrong(param, value, why, "let a function of the library make one, and pass the pointer")
        self._refuse_addresses(param, value, data, param[3], target)

    def in_order(self, values: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments by position; where the core has done that already, as they are."""
        if not self._foreign:
            return values
        try:
            bound = stub.signature(self.terms.interface, self.function).bind(*values, **keywords)
        except TypeError as error:
            raise ArgumentTypeError(str(error), subject=self.name) from None
        return bound.args

    # ---- the result

    def decode(self, value: Value, session: Session) -> Any:
        """Convert the result."""
        if self._foreign:
            return value.value if isinstance(value, Plain) else value
        return self.terms.arrived(self._result, value, session)


class RemoteBinder(Binder):
    """Finds out how values travel, by the rules of the native lane."""

    def plan(self, function: Function) -> tuple[list[ParamSpec], ResultSpec]:
        """Describe a function's parameters and its result."""
        if function.variadic:
            message = "it is variadic, and that can't be called over a socket; wrap it in a function of the library"
            raise UnusableError(message)
        names = stub.parameter_names(function)
        params = [self._param(name, param.type) for name, param in zip(names, function.params, strict=True)]
        return params, self._result(function.result)

    def result(self, type_id: TypeId) -> ResultSpec:
        """Describe a value of a type as a result."""
        return self._result(type_id)

    def _new_callback_maker(self, signature: Signature) -> CallbackMaker:
        return RemoteCallbackMaker(self._interface, self.types, signature)


class Terms:
    """What all functions and variables of one layout have in common."""

    def __init__(self, connection: Connection, module: str, interface: Interface, number: int) -> None:
        self.connection = connection
        self.module = module
        self.interface = interface
        self.layout = number
        self.types = CTypes(interface)
        self.binder = RemoteBinder(module, interface, self.types, lambda _name: False)
        self._places: dict[TypeId, tuple[int, ...]] = {}

    def places(self, type_id: TypeId) -> tuple[int, ...]:
        """Return where addresses are in a type."""
        if type_id not in self._places:
            self._places[type_id] = places(self.interface, type_id)
        return self._places[type_id]

    def target(self, type_id: TypeId) -> TypeId:
        """Return what a parameter points to."""
        match self.interface.strip(type_id):
            case Pointer(target, _):
                return target
            case Array(element, _):
                return element
            case _:
                return type_id

    def arrived(self, spec: ResultSpec, value: Value, session: Session) -> Any:
        """Convert what came back, after checking that it is what it should be."""
        kind, spelled, extra, _ = spec
        match kind, value:
            case "void", None:
                return None
            case "bool", bool():
                return value
            case "float32" | "float64", float():
                return value
            case name, int() if name in _NUMBERS and not isinstance(value, bool) and _fits(name, value):
                return extra.get(value, value) if isinstance(extra, dict) else value
            case "string", (None | bytes()):
                return None if value is None else value.decode("utf-8", "surrogateescape")
            case "struct", bytes() if len(value) == ctypes.sizeof(extra):
                return extra.from_buffer_copy(value)
            case "pointer" | "callback", None:
                return None
            case "pointer" | "callback", Handle():
                return session.pointer(value)
        raise ProtocolError(f"the other side sent something else than {spelled} as a result", subject=self.module)

    # ---- variables

    def variable_value(self, variable: Variable, value: Value, session: Session) -> Any:
        """Convert a variable's value."""
        found = self.interface.strip(variable.type)
        subject = f"{self.module}.{variable.name}"
        match found:
            case Unsupported(name, _, reason):
                what, todo = f"its type {name} can't be read: {reason}", "let a function of the library return it"
                raise UnsupportedFunctionError(what, subject=subject, todo=todo)
            case Foreign():
                return value.value if isinstance(value, Plain) else value
            case Pointer(target, _) if not isinstance(value, Handle):
                pointed = self.interface.strip(target)
                if isinstance(pointed, Scalar) and pointed.kind == "char":
                    return self.arrived(("string", "char *", None, ""), value, session)
                return self.arrived(("pointer", "pointer", None, ""), value, session)
            case Array() | Record():
                return self.arrived(
                    ("struct", found.__class__.__name__, self.types.of(variable.type), ""), value, session
                )
            case _:
                return self.arrived(self.binder.result(variable.type), value, session)

    def variable_bytes(self, variable: Variable, value: Any) -> Value:
        """Convert what is to be written to a variable, by the rules for variables in this process."""
        subject = f"{self.module}.{variable.name}"
        if variable.const:
            raise ArgumentTypeError("it is const and can't be written", subject=subject)
        match self.interface.strip(variable.type):
            case Scalar() | Enum():
                number: Value = self.binder.to_native(variable.name, variable.type, value)
                return number
            case Array() | Record():
                return self._whole(variable, value, subject)
            case Foreign():
                return Plain(value)
            case _:
                what = f"a variable of type {self.interface.spell(variable.type)} can't be written from Python"
                raise ArgumentTypeError(what, subject=subject, todo="let a function of the library do it")

    def _whole(self, variable: Variable, value: Any, subject: str) -> bytes:
        ctype = self.types.of(variable.type)
        try:
            data = bytes(value) if isinstance(value, (ctype, bytes, bytearray)) else bytes(ctype(*value))
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            what = f"{type(value).__name__} can't be written to it: {error}"
            raise ArgumentTypeError(what, subject=subject) from None
        if len(data) != ctypes.sizeof(ctype):
            what = f"{ctypes.sizeof(ctype)} bytes are expected, not {len(data)}"
            raise ArgumentTypeError(what, subject=subject)
        if holds_address(data, len(data), self.places(variable.type)):
            what = "it holds addresses of this process, which mean nothing in the other one"
            raise ArgumentTypeError(what, subject=subject, todo="let a function of the library write it")
        return data


class Faces:
    """All functions of one layout.  Nothing here refers back to it, so that it goes with its last version."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._faces = {one.qualified: Face(terms, one) for one in terms.interface.functions}

    def get(self, qualified: str) -> Face | None:
        """Return a function by its full name."""
        return self._faces.get(qualified)


def _is_foreign(interface: Interface, function: Function) -> bool:
    """Whether a function has to do with types of another language's."""
    parts = (function.result, *(param.type for param in function.params))
    return any(isinstance(interface.strip(part), Foreign) for part in parts)


def _never(*_values: object) -> None:
    """Stand in for a call where only arguments are converted."""


def _fits(kind: str, value: int) -> bool:
    bits = int(kind.removeprefix("u").removeprefix("int"))
    low = 0 if kind.startswith("u") else -(1 << (bits - 1))
    return low <= value < low + (1 << bits)
