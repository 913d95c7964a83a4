"""Python functions that the other side may call.

Guarantees:
- A callable that was passed can be called for as long as this version's face is in use, also after the call that it was
  passed to: the library may have kept it.  Passing it again makes nothing new.
- Its arguments and its result are converted by the rules for callbacks in this process; addresses come as opaque
  pointers, a struct that is pointed to as a copy, which is copied back after the call.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from midflight._errors import ArgumentTypeError, ProtocolError
from midflight.artifact.interface import Enum, Pointer, Record, Scalar, Void
from midflight.lanes.native.callbacks import _BOUND, CallbackMaker
from midflight.lanes.remote.places import holds_address, places
from midflight.lanes.remote.pointers import RemotePointer
from midflight.lanes.remote.wire import Data, Handle, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Interface, Signature, TypeId
    from midflight.lanes.remote.session import Session

_tokens = itertools.count(1)


class Outcome(NamedTuple):
    """What a callable returned, and what is to be copied back."""

    value: Value
    memory: tuple[bytes | None, ...]


class Registered:
    """One callable under one function type."""

    def __init__(self, maker: RemoteCallbackMaker, function: Callable[..., object]) -> None:
        self.number = next(_tokens)
        self._maker = maker
        self._function = function

    def __call__(self, session: Session, arguments: tuple[Value, ...]) -> Outcome:
        """Call it.  Raises what it raises."""
        return self._maker.call(session, self._function, arguments)


class RemoteCallbackMaker(CallbackMaker):
    """Registers callables under one function type, for one version."""

    def __init__(self, interface: Interface, types: CTypes, signature: Signature) -> None:
        super().__init__(interface, types, signature)
        self._registered: dict[object, Registered] = {}
        self._pointers: dict[TypeId, Any] = {}
        self._plan: tuple[list[Callable[[Any], Any]], Callable[[Any], Any]] | None = None

    def register(self, function: Callable[..., object]) -> Registered:
        """Return what stands for a callable."""
        key = function if isinstance(function, _BOUND) else id(function)
        found = self._registered.get(key)
        if found is None:
            if self._plan is None:
                for param in self._signature.params:
                    self._argument(param)  # refuses what Python can't take
                self._plan = ([self._incoming(param) for param in self._signature.params], self._result()[1])
            found = self._registered.setdefault(key, Registered(self, function))
        return found

    def call(self, session: Session, function: Callable[..., object], arguments: tuple[Value, ...]) -> Outcome:
        """Convert, call, convert back."""
        params = self._signature.params
        if self._plan is None or len(arguments) != len(params):
            raise ProtocolError(f"a callback of {len(params)} arguments was called with {len(arguments)}")
        incoming, check = self._plan
        values = [self._arrived(session, param, value) for param, value in zip(params, arguments, strict=True)]
        returned = function(*(convert(value) for convert, value in zip(incoming, values, strict=True)))
        result = self._leaving(session, returned, check)
        memory = tuple(
            self._back(param, held) if isinstance(sent, Data) and sent.back else None
            for param, sent, held in zip(params, arguments, values, strict=True)
        )
        return Outcome(result, memory)

    def _arrived(self, session: Session, param: TypeId, value: Value) -> Any:
        """Turn what came over the socket into what ctypes would have given."""
        match self._interface.strip(param), value:
            case Scalar(_, "float", _), float():
                return value
            case Scalar(_, "bool", _), bool():
                return value
            case ((Scalar(_, "int" | "uint" | "char", _) | Enum()), int()) if not isinstance(value, bool):
                return value
            case Record(), bytes():
                return self._copy(self._types.of(param), value)
            case Pointer(), (None | bytes()):
                return value
            case Pointer(target), Data():
                ctype = self._types.of(target)
                if target not in self._pointers:
                    self._pointers[target] = _one_only(ctype)
                return self._pointers[target](self._copy(ctype, value.data))
            case Pointer(), Handle():
                return session.pointer(value)
        raise ProtocolError("a callback was called with arguments of other types than it has")

    def _copy(self, ctype: Any, data: bytes) -> Any:
        if len(data) != ctypes.sizeof(ctype):
            raise ProtocolError(f"a {ctype.__name__} of {len(data)} bytes was sent")
        return ctype.from_buffer_copy(data)

    def _back(self, param: TypeId, held: Any) -> bytes:
        pointer = self._interface.strip(param)
        assert isinstance(pointer, Pointer)  # noqa: S101 - only such arguments are sent as memory
        data = bytes(held.contents)
        if holds_address(data, len(data), places(self._interface, pointer.target)):
            what = "a callback put an address of this process into a struct of another one"
            raise ArgumentTypeError(what, todo="let a function of the library do it")
        return data

    def _leaving(self, session: Session, returned: object, check: Callable[[Any], Any]) -> Value:
        match self._interface.strip(self._signature.result):
            case Void():
                return None
            case Pointer() if isinstance(returned, RemotePointer):
                number = returned.number_in(session)
                if number is None:
                    raise ArgumentTypeError("a callback returned a pointer of another connection")
                return Handle(number)
            case Pointer():
                if returned is None:
                    return None
                what = f"a callback returned {type(returned).__name__} where a pointer of the other process is expected"
                raise ArgumentTypeError(what, todo="let it return what the module gave, or None")
            case _:
                result: Value = check(returned)
                return result


def _one_only(ctype: Any) -> Any:
    """Return a pointer class for exactly one item: what lies beyond it wasn't sent."""

    def getitem(self: Any, index: int) -> Any:
        if index == 0:
            return self.contents
        _refuse_beyond()

    base = ctypes.POINTER(ctype)
    return type(f"One_{ctype.__name__}", (base,), {"_type_": ctype, "__getitem__": getitem})


def _refuse_beyond() -> NoReturn:
    what = "only the struct that a pointer points to has come over the socket, not what lies beside it"
    raise ArgumentTypeError(what, todo="let a function of the library go through the array")
