"""Reading a module: its versions, types, variables, and functions by their full names."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from midflight import _retire
from midflight._control import Control, control_of, generation_of
from midflight._errors import (
    ArgumentRangeError,
    ArgumentTypeError,
    InterfaceError,
    MissingFunction,
    UnloadedError,
    UnsupportedFunctionError,
)
from midflight._lane import ExplicitFunction
from midflight.artifact import declared
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Unsupported

if TYPE_CHECKING:
    from midflight._control import Generation
    from midflight._core import Function, Table
    from midflight._version import Version
    from midflight.artifact.interface import Interface, Type, Variable


def versions(module: types.ModuleType) -> list[Version]:
    """Return the module's versions, oldest first: all that are loaded, and the last ones that were unloaded.

    The objects are live: their ``status`` changes as versions drain and go.
    """
    control = control_of(module)
    generations = list(control.generations)
    for generation in generations:
        if generation is not control.current:
            _retire.refresh(generation)
    return [generation.version for generation in generations]


def function(module: types.ModuleType, name: str, *, signature: str | None = None) -> Function:
    """Return a function by its full name: ``"ns::add(int, int)"``, or one whose name isn't an identifier.

    ``signature``: C's declaration to call it by, instead of the library's own: for a variadic function, with the types
    that are passed, as in ``"int print(const char *format, int a, double b)"``.

    Raises:
        MissingFunction: the module has none of that name.
        InterfaceError: the signature can't be read.
    """
    control = control_of(module)
    current = control.need_current()
    found = next((one for one in current.interface.functions if name in (one.qualified, one.name) and name), None)
    if found is None:
        raise _missing(control, name)
    if signature is None:
        return control.function(found.qualified if name == found.qualified else name)
    return _explicit(control, found.qualified, signature)


def _explicit(control: Control, qualified: str, signature: str) -> Function:
    """Give a signature of the user's a slot of its own, in this version and all later ones."""
    key = f"{qualified} as {signature}"
    if key not in control.slots:
        text = signature if signature.rstrip().endswith(";") else f"{signature};"
        read = declared.parse(text)
        if len(read.functions) != 1:
            what = f"one declaration of a function is expected: {signature!r}"
            raise InterfaceError(what, subject=control.name, todo="write it as in C: 'int f(const char *, int)'")
        with control.queue:
            control.explicit[key] = ExplicitFunction(qualified, read, read.functions[0])
            slot = control.slots[key] = len(control.slots)
            code = control.need_current().code
            if code is not None:
                code.add_explicit(slot, control.explicit[key])
    return control.function(key)


def _missing(control: Control, name: str) -> MissingFunction:
    current = control.current
    offered = [one.qualified for one in current.interface.functions] if current else []
    matches = [full for full in offered if full.split("(", 1)[0].split("::")[-1] == name]
    if matches:
        todo = f"several have that name; say which: midflight.function(module, {matches[0]!r})"
    else:
        shown = ", ".join(offered[:8]) or "none"
        todo = f"it has {shown}{' …' if len(offered) > 8 else ''}"  # noqa: PLR2004 - as many as fit a line
    number = current.version.number if current else 0
    error = MissingFunction(f"version {number} has no function or variable {name!r}", subject=control.name, todo=todo)
    error.name = name
    return error


class Missing:
    """A module's ``__getattr__`` (PEP 562): exported variables, and an explanation of what isn't there."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def __call__(self, name: str) -> Any:
        """Return the exported variable's value, or raise `MissingFunction`, which is an `AttributeError`."""
        control = self._control
        if name.startswith("__"):
            what = f"module {control.name!r} has no attribute {name!r}"
            raise AttributeError(what, name=name)
        current = control.current
        if current is None:
            raise control.unloaded()
        if any(variable.name == name and variable.exported for variable in current.interface.variables):
            return Variables(control, None)[name]
        raise _missing(control, name)


# ---- types ----------------------------------------------------------------------------------------------------------


def types_of(module: types.ModuleType) -> types.SimpleNamespace:
    """Return the module's structs and unions as ctypes classes and its enums as IntEnum classes.

    They are those of the current version; a swap that doesn't change the types keeps the classes.
    """
    _, generation = generation_of(module)
    code = generation.code
    if code is None:
        raise UnloadedError("this version has been unloaded", subject=generation.version.source)
    return types.SimpleNamespace(**code.ctypes.namespace())


# ---- variables ------------------------------------------------------------------------------------------------------


class _Hold:
    """Keeps a version loaded while a view of its memory is alive."""

    def __init__(self, table: Table) -> None:
        table.pin()
        self._table = table

    def __del__(self) -> None:
        self._table.unpin()


class Variables(Mapping[str, Any]):
    """A module's exported and static variables by name, in whichever version is current.

    Numbers are read and written as numbers, range-checked; enums as their IntEnum members; a ``char *`` is read as
    text; structs, unions and arrays are ctypes views of the variable itself, which keep their version loaded.
    """

    def __init__(self, control: Control, generation: Generation | None) -> None:
        self._control = control
        self._pinned = generation

    def __getitem__(self, name: str) -> Any:
        """Read a variable."""
        with self._place(name) as (generation, variable, place):
            return _read(generation, variable, place)

    def __setitem__(self, name: str, value: object) -> None:
        """Write a variable."""
        with self._place(name) as (generation, variable, place):
            _write(generation, variable, place, value)

    def __iter__(self) -> Iterator[str]:
        # Those without an address (thread-local, optimised away) say so when they are asked for by name.
        return iter([one.name for one in self._generation().interface.variables if one.address is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<variables of {self._control.name}: {', '.join(self)}>"

    def _generation(self) -> Generation:
        return self._pinned or self._control.need_current()

    @contextmanager
    def _place(self, name: str) -> Iterator[tuple[Generation, Variable, int]]:
        """Find a variable, in a version that stays loaded meanwhile."""
        generation = self._generation()
        found = next((one for one in generation.interface.variables if one.name == name), None)
        if found is None:
            raise KeyError(name)
        if found.address is None:
            reason = (
                "it is thread-local: every thread has its own"
                if found.thread_local
                else "the compiler has optimised it away"
            )
            raise UnsupportedFunctionError(reason, subject=f"{self._control.name}.{name}")
        hold = _Hold(generation.table)
        try:
            code = generation.code
            if code is None:
                raise self._control.unloaded()
            yield generation, found, code.variable(found.address)
        finally:
            del hold


def variables(module: types.ModuleType) -> Variables:
    """Return the module's variables as a mapping from name to value, to read and to write.

    Exported ones have their own name; a static one its name too where that is unambiguous, else ``file.c:name`` or
    ``function.name``.
    """
    control, generation = generation_of(module)
    return Variables(control, None if generation is control.current else generation)


def _read(generation: Generation, variable: Variable, place: int) -> Any:
    interface, code = generation.interface, generation.code
    assert code is not None  # noqa: S101 - held by the caller
    found = interface.strip(variable.type)
    match found:
        case Unsupported(name, _, reason):
            what = f"its type {name} can't be read: {reason}"
            raise UnsupportedFunctionError(what, subject=variable.name)
        case Pointer(target, _):
            return _read_pointer(interface, target, place)
        case Enum():
            value = code.ctypes.of(variable.type).from_address(place).value
            return {member.value: member for member in code.ctypes.enum(variable.type)}.get(value, value)
        case Scalar(_, "char"):
            return ctypes.c_int8.from_address(place).value
        case Scalar():
            return code.ctypes.of(variable.type).from_address(place).value
        case _:
            view = code.ctypes.of(variable.type).from_address(place)
            view._midflight_hold = _Hold(generation.table)  # noqa: SLF001 - our own attribute
            return view


def _read_pointer(interface: Interface, target: int, place: int) -> str | int | None:
    pointed = interface.strip(target)
    if isinstance(pointed, Scalar) and pointed.kind == "char":
        text = ctypes.c_char_p.from_address(place).value
        return None if text is None else text.decode("utf-8", "surrogateescape")
    return ctypes.c_void_p.from_address(place).value


def _write(generation: Generation, variable: Variable, place: int, value: Any) -> None:
    interface, code = generation.interface, generation.code
    assert code is not None  # noqa: S101 - held by the caller
    if variable.const:
        raise ArgumentTypeError("it is const and can't be written", subject=variable.name)
    found = interface.strip(variable.type)
    ctype: Any = code.ctypes.of(variable.type)
    match found:
        case Scalar() | Enum():
            ctypes.memmove(place, ctypes.byref(ctype(_checked(variable, found, value))), ctypes.sizeof(ctype))
        case Array() | Record():
            _write_whole(variable, ctype, place, value)
        case _:
            what = f"a variable of type {interface.spell(variable.type)} can't be written from Python"
            raise ArgumentTypeError(what, subject=variable.name, todo="let a function of the library do it")


def _checked(variable: Variable, found: Type, value: Any) -> int | float | bool:
    """Return a number that fits the variable."""
    if isinstance(found, Scalar) and found.kind == "float":
        if isinstance(value, (int, float)) or hasattr(value, "__float__"):
            return float(value)
        raise ArgumentTypeError(f"a number is expected, not {type(value).__name__}", subject=variable.name)
    if not hasattr(value, "__index__"):
        raise ArgumentTypeError(f"an integer is expected, not {type(value).__name__}", subject=variable.name)
    number = int(value.__index__())
    low, high = _bounds(found)
    if not low <= number <= high:
        raise ArgumentRangeError(f"{number} doesn't fit the variable's type", subject=variable.name)
    return number


def _bounds(found: Type) -> tuple[int, int]:
    match found:
        case Scalar(_, "bool"):
            return 0, 1
        case Scalar(_, kind, size):
            signed = kind != "uint"
        case Enum(_, size, signed):
            pass
        case _:
            return 0, 0
    return (-(1 << (8 * size - 1)), (1 << (8 * size - 1)) - 1) if signed else (0, (1 << (8 * size)) - 1)


def _write_whole(variable: Variable, ctype: Any, place: int, value: Any) -> None:
    """Copy a struct, or an array of the same length."""
    size = ctypes.sizeof(ctype)
    try:
        data = bytes(value) if isinstance(value, (ctype, bytes, bytearray)) else bytes(ctype(*value))
    except (TypeError, ValueError, IndexError) as error:
        what = f"{type(value).__name__} can't be written to it: {error}"
        raise ArgumentTypeError(what, subject=variable.name) from None
    if len(data) != size:
        what = f"{size} bytes are expected, not {len(data)}"
        raise ArgumentTypeError(what, subject=variable.name)
    ctypes.memmove(place, data, size)
