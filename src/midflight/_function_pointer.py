"""`pointer`: a function of a module as a function pointer of C's."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight._control import control_of_function
from midflight._errors import ArgumentTypeError, MissingFunction, UnsupportedFunctionError
from midflight._lane import function_keys
from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.interface import Foreign, Signature
from midflight.lanes.native.callbacks import CallbackMaker

if TYPE_CHECKING:
    from midflight.artifact.interface import Function, Interface


def pointer(function: _core.Function) -> Any:
    """Return a C function pointer to a module's function: a ctypes object, whose ``address`` is for others.

    It always runs the current version, counted like any call, from any thread, with and without the GIL.  The object
    keeps the module; the address stays valid without it, also after the module's end: calls return 0 then, and say so
    (a call that comes from inside a call of Python's raises `UnloadedError` there).

    Raises:
        UnsupportedFunctionError: the function has no type that C could call it by.
        MissingFunction: the current version has no such function.
        UnloadedError: the module has been unloaded.
    """
    interface, described = _described(function)
    made = _native(function, interface, described) or _through_python(function, interface, described)
    made.address = ctypes.cast(made, ctypes.c_void_p).value
    made.function = function
    return made


def _described(function: object) -> tuple[Interface, Function]:
    control = control_of_function(function) if isinstance(function, _core.Function) else None
    if control is None or not isinstance(function, _core.Function):
        what = f"{function!r} is no function of a module's"
        raise UnsupportedFunctionError(what, todo="pass one of a module that midflight.load returned")
    current, name = control.need_current(), function.__name__
    found = next((one for one in current.interface.functions if name in function_keys(one)), None)
    if found is None:
        what, todo = f"version {current.version.number} has no function {name}", "dir(module) lists those that it has"
        raise MissingFunction(what, subject=control.name, todo=todo)
    reason = "it is variadic" if found.variadic else "it is written in Go" if _has_foreign(current.interface) else ""
    if reason:
        what = f"it can't have a function pointer with a type: {reason}"
        todo = "wrap it in a function with fixed parameters"
        raise UnsupportedFunctionError(what, subject=f"{control.name}.{name}", todo=todo)
    return current.interface, found


def _has_foreign(interface: Interface) -> bool:
    return any(isinstance(one, Foreign) for one in interface.types)


def _native(function: _core.Function, interface: Interface, described: Function) -> Any:
    """Return a pointer that leads straight to the code; None where that isn't in this process."""
    address = function._cell.entry(function._slot)  # noqa: SLF001 - the core's, for us
    if not address:
        return None
    types = CTypes(interface)
    params = [types.of(param.type) for param in described.params]
    return ctypes.CFUNCTYPE(types.of(described.result), *params)(address)


def _through_python(function: _core.Function, interface: Interface, described: Function) -> Any:
    signature = Signature(tuple(param.type for param in described.params), described.result)
    try:
        return CallbackMaker(interface, CTypes(interface), signature).pointer(function)
    except ArgumentTypeError as error:
        raise UnsupportedFunctionError(error.what, subject=described.qualified, todo=error.todo) from None
