"""Function pointers from Python callables.

Guarantees:
- A callable that was passed stays callable from native code for as long as the version is loaded: the library may have
  kept it, and nobody can know when it lets go.  Passing the same callable again makes nothing new.
- Who wants another lifetime passes a ctypes function object, and keeps it alive himself.
- An exception raised by the callable is raised by the call into the module that it was called from, once that call
  returns; the native code sees 0.
- Another midflight function of this process is called without Python in between, if its type is the callback's: by its
  stable pointer.
- The same callable may be passed from several threads at once: all get the same function pointer.
"""

from __future__ import annotations

import ctypes
import logging
import math
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from midflight import _core
from midflight._errors import ArgumentRangeError, ArgumentTypeError, MidflightError
from midflight.artifact import compare
from midflight.artifact.interface import Enum, Function, Param, Pointer, Record, Scalar, Unsupported, Void
from midflight.lanes.native.by_value import by_value_obstacle
from midflight.lanes.native.function_info import FunctionInfo
from midflight.lanes.native.layouts import CHAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Interface, Signature, TypeId

_log = logging.getLogger("midflight")

_function_pointer_type: Any = ctypes.CFUNCTYPE(None).__mro__[1]  # _ctypes.CFuncPtr
_pointer_type: Any = ctypes.POINTER(ctypes.c_int).__base__  # _ctypes._Pointer
_simple_type: Any = ctypes.c_int.__base__  # _ctypes._SimpleCData
_BOUND = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
"""Made anew by each access to an attribute, and equal where they are the same method of the same object."""


class _Made(NamedTuple):
    """A function pointer, and what it needs to stay alive."""

    address: int
    pointer: Any
    function: object


class CallbackMaker:
    """Makes function pointers of one type, for one version."""

    def __init__(
        self,
        interface: Interface,
        types: CTypes,
        signature: Signature,
        unheard: Callable[[BaseException], object] | None = None,
    ) -> None:
        """``unheard``: called with what is raised where no call of the module waits for it; by default it is logged."""
        self._interface = interface
        self._types = types
        self._signature = signature
        self._unheard = unheard or log_unheard
        self._made: dict[object, _Made] = {}

    def __call__(self, value: object) -> int | None:
        """Return the address of a function pointer for ``value``; None if it can't be called."""
        if isinstance(value, _function_pointer_type):
            return ctypes.cast(value, ctypes.c_void_p).value or 0
        if not callable(value):
            return None
        # What was made keeps the callable alive, so its identity isn't used again.
        key = value if isinstance(value, _BOUND) else id(value)
        made = self._made.get(key)
        if made is None:
            direct = self.direct(value)
            made = self._made.setdefault(key, _Made(direct, None, value) if direct else self._make(value))
        return made.address

    def kept(self) -> dict[int, Any]:
        """Return what keeps the function pointers that have been made, by address."""
        return {made.address: made.pointer for made in tuple(self._made.values()) if made.pointer is not None}

    def pointer(self, function: Callable[..., object]) -> Any:
        """Return a ctypes function pointer that calls ``function``, and keeps it alive."""
        return self._make(function).pointer

    def direct(self, function: object) -> int:
        """Return the stable pointer of another native function of this process if its type is this one, else 0."""
        if not isinstance(function, _core.Function):
            return 0
        info = function._info  # noqa: SLF001 - the core's, for us
        if not isinstance(info, FunctionInfo):
            return 0
        params = tuple(Param("", param) for param in self._signature.params)
        wanted = Function("", "", "", params, self._signature.result, self._signature.variadic)
        if info.function.variadic or compare.compare_calls(self._interface, wanted, info.interface, info.function):
            return 0
        try:
            return function._cell.entry(function._slot)  # noqa: SLF001
        except MidflightError:
            return 0  # there are no more: through Python it goes too

    def _make(self, function: Callable[..., object]) -> _Made:
        result, check = self._result()
        arguments = [self._argument(param) for param in self._signature.params]
        incoming = [self._incoming(param) for param in self._signature.params]

        def call(*values: Any) -> Any:
            return check(function(*values))

        def call_converted(*values: Any) -> Any:
            converted = [convert(value) for convert, value in zip(incoming, values, strict=True)]
            return check(function(*converted))

        plain = all(convert is _as_it_is for convert in incoming)
        guarded = _core.Callback(
            call if plain else call_converted, None if result is None else result().value, self._unheard
        )
        pointer = ctypes.CFUNCTYPE(result, *arguments)(guarded)
        return _Made(ctypes.cast(pointer, ctypes.c_void_p).value or 0, pointer, function)

    def _argument(self, param: TypeId) -> Any:
        """Return the ctypes class by which an argument comes in."""
        interface = self._interface
        reason = "it takes further arguments of unknown types" if self._signature.variadic else None
        match interface.strip(param):
            case Unsupported(_, _, why):
                reason = why
            case Record():
                reason = by_value_obstacle(interface, param)
            case Scalar(_, "char"):
                return CHAR
            case Pointer(target, const) if not const and _is_char(interface, target):
                return ctypes.POINTER(ctypes.c_char)
        if reason is not None:
            what = f"a Python function can't take {interface.spell(param)}: {reason}"
            raise ArgumentTypeError(what, todo="let a function of the library be called there")
        return self._types.of(param)

    def _incoming(self, param: TypeId) -> Callable[[Any], Any]:
        """How a value from C is shown to Python."""
        match self._interface.strip(param):
            # One that isn't const may be a buffer to be filled: nobody knows where its text ends.
            case Pointer(target, True) if _is_char(self._interface, target):
                return _text
            case Enum():
                enum = self._types.enum(param)
                members = {member.value: member for member in enum}
                return lambda value: members.get(value, value)
            case _:
                return _as_it_is

    def _result(self) -> tuple[Any, Callable[[Any], Any]]:
        """Return the ctypes class of the result and a check of what the callable returned."""
        found = self._interface.strip(self._signature.result)
        match found:
            case Void():
                return None, lambda _value: None
            case Scalar(_, "char"):
                return CHAR, _ranged("char", 1, signed=CHAR is ctypes.c_int8)
            case Scalar(name, "int" | "uint", size):
                return self._types.of(self._signature.result), _ranged(name, size, signed=found.kind == "int")
            case Enum(name, size, signed):
                return self._types.of(self._signature.result), _ranged(name, size, signed=signed)
            case Scalar(_, "bool"):
                return ctypes.c_bool, bool
            case Scalar(name, "float", size):
                return self._types.of(self._signature.result), _floating(name, size)
            case Pointer():
                return ctypes.c_void_p, _pointer_result
            case _:
                what = f"a callback can't return {self._interface.spell(self._signature.result)}"
                raise ArgumentTypeError(what, todo="let it return a number, a pointer or nothing")


def log_unheard(error: BaseException) -> None:
    """Log what a callback raised."""
    _log.error("a callback that native code called on its own failed", exc_info=error)


def _is_char(interface: Interface, target: TypeId) -> bool:
    found = interface.strip(target)
    return isinstance(found, Scalar) and found.kind == "char"


def _as_it_is(value: Any) -> Any:
    return value


def _text(value: bytes | None) -> str | None:
    """Show a `const char *` as text, as results are."""
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _ranged(name: str, size: int, *, signed: bool) -> Callable[[Any], int]:
    low, high = (-(1 << (8 * size - 1)), (1 << (8 * size - 1)) - 1) if signed else (0, (1 << (8 * size)) - 1)

    def check(value: Any) -> int:
        if type(value) is int and low <= value <= high:  # as nearly always
            return value
        if not hasattr(value, "__index__"):
            what = f"a callback returned {type(value).__name__} where {name} is expected"
            raise ArgumentTypeError(what, todo="let it return an integer")
        number = value.__index__()
        if not low <= number <= high:
            what = f"a callback returned {number}, which doesn't fit {name}"
            raise ArgumentRangeError(what, todo=f"let it return an integer from {low} to {high}")
        return int(number)

    return check


def _floating(name: str, size: int) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
            what = f"a callback returned {type(value).__name__} where {name} is expected"
            raise ArgumentTypeError(what, todo="let it return a number")
        try:
            number = float(value)
            fits = size == ctypes.sizeof(ctypes.c_double) or math.isinf(ctypes.c_float(number).value) == math.isinf(
                number
            )
        except OverflowError:
            number, fits = 0.0, False
        if not fits:
            what = f"a callback returned a number that doesn't fit {name}"
            raise ArgumentRangeError(what, todo=f"let it return a number that {name} can hold")
        return number

    return check


def _pointer_result(value: Any) -> int | None:
    """Return an address.  What it points to must outlive the callback, so nothing temporary is accepted."""
    if value is None or isinstance(value, int):
        return value or None
    if isinstance(value, _core.Pointer):
        return value.address
    if isinstance(value, (_pointer_type, _function_pointer_type, ctypes.c_void_p, ctypes.c_char_p)):
        return ctypes.cast(value, ctypes.c_void_p).value
    if isinstance(value, (ctypes.Array, ctypes.Structure, ctypes.Union, _simple_type)):
        return ctypes.addressof(value)
    what = f"a callback returned {type(value).__name__} where a pointer is expected"
    raise ArgumentTypeError(what, todo="let it return a ctypes object that you keep alive, a Pointer, or None")
