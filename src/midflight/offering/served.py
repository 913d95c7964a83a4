"""The server's side of the functions: what came over a socket becomes arguments, results become what can travel.

Guarantees:
- Arguments are handed to the module's own functions, which convert and check them as if a program in this process had
  passed them; here they are only given the form that such a program would give them.
- A call runs wholly in one version: the one for which its arguments were read.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from midflight import _core
from midflight._errors import (
    ArgumentTypeError,
    MissingFunction,
    ProtocolError,
    UnloadedError,
    UnsupportedFunctionError,
)
from midflight._lane import function_keys
from midflight.artifact.interface import Array, Enum, Foreign, Pointer, Record, Scalar, Signature, Void
from midflight.artifact.layout import size_of
from midflight.lanes.remote import wire
from midflight.lanes.remote.places import holds_address, opaque, places
from midflight.lanes.remote.wire import Data, Handle, Plain, Same, Token, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight._control import Control, Generation
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Function, TypeId
    from midflight.offering.peer import Peer


class Served:
    """What is needed to serve one version's calls."""

    def __init__(self, control: Control, generation: Generation, types: CTypes) -> None:
        self.number = generation.version.number
        self.interface = generation.interface
        self.layout = wire.layout(generation.interface)
        self.types = types
        self._control = control
        self._functions = {one.qualified: one for one in generation.interface.functions}
        self._places: dict[TypeId, tuple[int, ...]] = {}

    def function(self, name: str) -> Function:
        """Return a function by its full name."""
        found = self._functions.get(name)
        if found is None:
            what = f"version {self.number} has no function {name!r}"
            raise MissingFunction(what, subject=self._control.name, todo="call one that the module has now")
        return found

    def ctype(self, type_id: TypeId) -> Any:
        """Return a type's ctypes class."""
        return self.types.of(type_id)

    def places(self, type_id: TypeId) -> tuple[int, ...]:
        """Return where addresses are in a type."""
        if type_id not in self._places:
            self._places[type_id] = places(self.interface, type_id)
        return self._places[type_id]

    def refuse_addresses(self, data: bytes, type_id: TypeId, subject: str) -> None:
        """Raise for bytes of a struct that would bring an address of another process in."""
        interface = self.interface
        if opaque(interface, type_id) or holds_address(
            data, size_of(interface.types, type_id) or 0, self.places(type_id)
        ):
            what = f"{interface.spell(type_id)} can't be sent: it is opaque, or holds addresses of another process"
            raise ArgumentTypeError(what, subject=subject)

    def call(self, generation: Generation, function: Function, arguments: Sequence[Any]) -> Any:
        """Call a function of exactly this generation, which the caller has pinned."""
        key = function_keys(function)[0]
        cell = _core.Cell(self._control.name, generation.table)
        try:
            return _core.Function(cell, self._control.slots[key], key)(*arguments)
        finally:
            cell.end("the call has ended")


class Incoming:
    """The arguments of one call."""

    def __init__(self, served: Served, peer: Peer, function: Function, generation: Generation) -> None:
        self._generation = generation
        self._served = served
        self._peer = peer
        self._function = function
        self._memory: dict[int, tuple[bytearray, TypeId]] = {}
        self._values: list[Any] = []

    def read(self, arguments: Sequence[Value]) -> list[Any]:
        """Give the arguments the form in which a program in this process would pass them."""
        params = self._function.params
        if len(arguments) != len(params):
            what = f"{len(params)} arguments expected, {len(arguments)} given"
            raise ArgumentTypeError(what, subject=self._function.qualified)
        for index, (param, value) in enumerate(zip(params, arguments, strict=True)):
            self._values.append(self._value(index, param.type, value))
        return self._values

    def memory(self) -> tuple[bytes | None, ...]:
        """Return what the memory of the arguments is now, where that is to be sent back."""
        if not self._memory:
            return ()
        result: list[bytes | None] = [None] * len(self._values)
        for index, (data, target) in self._memory.items():
            result[index] = bytes(data)
            self._refuse_addresses(bytes(data), target)
        return tuple(result)

    def _refuse_addresses(self, data: bytes, target: TypeId) -> None:
        interface = self._served.interface
        if holds_address(data, size_of(interface.types, target) or 0, self._served.places(target)):
            what = f"the call was made, but {interface.spell(target)} holds addresses now, which can't travel"
            raise UnsupportedFunctionError(what, todo="wrap it in a function that returns what you need of it")

    def _value(self, index: int, type_id: TypeId, value: Value) -> Any:
        match self._served.interface.strip(type_id), value:
            case Pointer(target, const), _:
                return self._address(index, type_id, target, value, const=const)
            case Array(element, _), _:
                return self._address(index, type_id, element, value, const=False)
            case Record(), bytes():
                return self._record(type_id, value)
            case Foreign(), Plain():
                return value.value
            case Scalar() | Enum(), bool() | int() | float():
                return value
        raise self._mistaken(type_id, value)

    def _address(self, index: int, type_id: TypeId, target: TypeId, value: Value, *, const: bool) -> Any:
        match value, self._served.interface.strip(target):
            case None | bytes(), _:
                return value
            case Token(number), Signature() as signature:
                return self._peer.callable(number, self._served, self._generation, signature)
            case Handle(number), _:
                return self._peer.handles.pointer(number, self._served.number)
            case Same(first), _:
                if not 0 <= first < index:
                    raise ProtocolError("an argument is said to be the same as one that doesn't come before it")
                return self._values[first]
            case Data(), _:
                return self._pointed(index, target, value, const=const)
        raise self._mistaken(type_id, value)

    def _mistaken(self, type_id: TypeId, value: Value) -> ArgumentTypeError:
        what = f"an argument for {self._served.interface.spell(type_id)} was sent as {type(value).__name__}"
        return ArgumentTypeError(what, subject=self._function.qualified)

    def _record(self, type_id: TypeId, value: bytes) -> Any:
        ctype = self._served.ctype(type_id)
        if len(value) != ctypes.sizeof(ctype):
            what = f"{len(value)} bytes were sent for a {ctype.__name__} of {ctypes.sizeof(ctype)}"
            raise ArgumentTypeError(what, subject=self._function.qualified)
        self._served.refuse_addresses(value, type_id, self._function.qualified)
        return ctype.from_buffer_copy(value)

    def _pointed(self, index: int, target: TypeId, value: Data, *, const: bool) -> Any:
        data = bytearray(value.data)
        if value.back and not const:
            self._memory[index] = data, target
        match self._served.interface.strip(target):
            case Void() | Scalar(_, "char", _):
                return data
            case Record() | Pointer():
                self._served.refuse_addresses(value.data, target, self._function.qualified)
        return self._items(target, data)

    def _items(self, target: TypeId, data: bytearray) -> Any:
        interface = self._served.interface
        while isinstance(found := interface.strip(target), Array):
            target = found.element
        if isinstance(found, (Signature, Void)) or (isinstance(found, Record) and not found.size):
            what = f"memory can't be sent for {interface.spell(target)}"
            raise ArgumentTypeError(what, subject=self._function.qualified)
        ctype = ctypes.c_void_p if isinstance(found, Pointer) else self._served.ctype(target)
        size = ctypes.sizeof(ctype)
        if size == 0 or len(data) % size:
            what = f"{len(data)} bytes aren't a whole number of {interface.spell(target)} of {size}"
            raise ArgumentTypeError(what, subject=self._function.qualified)
        return (ctype * (len(data) // size)).from_buffer(data)


def leaving(served: Served, peer: Peer, type_id: TypeId, value: Any) -> Value:
    """Turn a result, or a variable's value, into what can travel."""
    interface = served.interface
    found = interface.strip(type_id)
    match value:
        case None | bool() | float() | bytes():
            return value
        case int():
            return int(value)
        case str():
            return value.encode("utf-8", "surrogateescape")
        case _core.Pointer():
            return peer.handles.give(value, served.number)
    if isinstance(found, Foreign):
        return Plain(value)
    if isinstance(value, (ctypes.Structure, ctypes.Union, ctypes.Array)):
        data = bytes(value)
        if opaque(interface, type_id) or holds_address(data, len(data), served.places(type_id)):
            what = f"{interface.spell(type_id)} is opaque, or holds addresses, which can't travel"
            raise UnsupportedFunctionError(what, todo="let a function of the library give what you need of it")
        return data
    what = f"a result of the Python type {type(value).__name__} can't travel"
    raise UnsupportedFunctionError(what, todo="return a number, a text or bytes")


class _Lent(NamedTuple):
    """A struct of native code's that a callback may write to."""

    place: int
    address: int
    target: TypeId
    size: int


def callback_arguments(
    served: Served, peer: Peer, generation: Generation, signature: Signature, values: Sequence[Any]
) -> tuple[tuple[Value, ...], Callable[[tuple[bytes | None, ...]], None]]:
    """Turn what native code passed to a callback into what can travel; also return what copies memory back."""
    lent: list[_Lent] = []
    sent: list[Value] = []
    for index, (type_id, value) in enumerate(zip(signature.params, values, strict=True)):
        found = served.interface.strip(type_id)
        if not isinstance(found, Pointer) or value is None or isinstance(value, (str, bytes)):
            sent.append(leaving(served, peer, type_id, value))
            continue
        address = value if isinstance(value, int) else ctypes.cast(value, ctypes.c_void_p).value
        data = _one_record(served, found, address) if address else None
        if data is None:
            sent.append(_as_pointer(served, peer, generation, type_id, address or 0))
            continue
        sent.append(Data(data, not found.const))
        if not found.const:
            lent.append(_Lent(index, address or 0, found.target, len(data)))
    return tuple(sent), partial(_take_back, served, lent)


def _as_pointer(served: Served, peer: Peer, generation: Generation, type_id: TypeId, address: int) -> Value:
    if address == 0:
        return None
    if generation.code is None:
        what = f"version {served.number} has been unloaded"
        raise UnloadedError(what, todo="take the pointer from the current version")
    return leaving(served, peer, type_id, generation.code.from_native(type_id, address))


def _take_back(served: Served, lent: list[_Lent], memory: tuple[bytes | None, ...]) -> None:
    """Let structs that were sent to a callback be what it made of them."""
    for place, address, target, size in lent:
        new = memory[place] if place < len(memory) else None
        if new is None or len(new) != size:
            raise ProtocolError("a callback's answer came without the memory that it was given")
        if holds_address(new, size, served.places(target)):
            raise ProtocolError("a callback sent addresses of another process")
        ctypes.memmove(address, new, size)


def _one_record(served: Served, pointer: Pointer, address: int) -> bytes | None:
    """Return the bytes of the struct at an address; None where it is no struct that can be copied."""
    found = served.interface.strip(pointer.target)
    if not isinstance(found, Record) or not found.size or opaque(served.interface, pointer.target):
        return None
    data = ctypes.string_at(address, found.size)
    return None if holds_address(data, found.size, served.places(pointer.target)) else data
