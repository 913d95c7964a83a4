"""A module's variables, to read and to write.

Guarantees:
- A version stays loaded while a variable of it is read or written, and while a view of its memory is alive.
- A value is converted by the same rules as an argument or a result of a call.
- Reading and writing take no lock: what C's rules say about threads that use the same variable holds here too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from midflight._errors import ArgumentTypeError, MissingVariableError, UnloadedError, UnsupportedFunctionError
from midflight._lane import access_of
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Unsupported
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from midflight._control import Control, Generation
    from midflight._core import Table
    from midflight._lane import Code, Memory
    from midflight.artifact.interface import Interface, Variable

_SHOWN = 8


class _Hold:
    """Keeps a version loaded for as long as it is alive itself."""

    _table: Table | None = None

    def __init__(self, table: Table) -> None:
        table.pin()
        self._table = table

    def __del__(self) -> None:
        if self._table is not None:
            self._table.unpin()


class _Place(NamedTuple):
    """A variable of a loaded version: where it is."""

    interface: Interface
    code: Code
    variable: Variable
    subject: str
    memory: Memory


class Variables(Mapping[str, Any]):
    """A module's exported and static variables by name, in whichever version is current.

    Numbers are read and written as numbers, range-checked; enums as their IntEnum members; a ``char *`` is read as text
    and any other pointer as a `Pointer`; structs, unions and arrays are ctypes views of the variable itself, which keep
    their version loaded (copies, where they are const).
    """

    def __init__(self, control: Control, pinned: Generation | None = None) -> None:
        self._control = control
        self._pinned = pinned

    def __getitem__(self, name: str) -> Any:
        """Read a variable."""
        _, code, hold = self._held()
        access = access_of(code)
        if access is not None:
            value = access.read(name)
            del hold
            return value
        with self._place(name) as place:
            return _read(place)

    def __setitem__(self, name: str, value: object) -> None:
        """Write a variable."""
        _, code, hold = self._held()
        access = access_of(code)
        if access is not None:
            access.write(name, value)
            del hold
            return
        with self._place(name) as place:
            _write(place, value)

    def __contains__(self, name: object) -> bool:
        # The inherited one would read the variable.
        return any(one.name == name for one in self._generation().interface.variables)

    def __iter__(self) -> Iterator[str]:
        # Those without an address (thread-local, optimised away) say so when they are asked for by name.
        code = self._generation().code
        access = access_of(code) if code is not None else None
        if access is not None:
            return iter(access.names())
        return iter([one.name for one in self._generation().interface.variables if one.address is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<variables of {self._control.name}: {', '.join(self)}>"

    def _generation(self) -> Generation:
        return self._pinned or self._control.need_current()

    def _held(self) -> tuple[Generation, Code, _Hold]:
        """Hold the version; one that is unloaded in between is current no longer, and the next one is taken."""
        while True:
            generation = self._generation()
            code = generation.code
            try:
                if code is None:
                    raise self._control.unloaded()
                return generation, code, _Hold(code.table)
            except UnloadedError:
                if generation is self._pinned:
                    raise

    @contextmanager
    def _place(self, name: str) -> Iterator[_Place]:
        """Find a variable, in a version that stays loaded, and whose data don't move, meanwhile."""
        generation, code, hold = self._held()
        while not code.table.enter():  # its data have moved meanwhile
            generation, code, hold = self._held()
        try:
            interface = generation.interface
            found = next((one for one in interface.variables if one.name == name), None)
            subject = f"{self._control.name}.{name}"
            if found is None:
                raise self._missing(generation, name)
            if found.address is None:
                reason = (
                    "every thread has its own (thread_local)"
                    if found.thread_local
                    else "the compiler has split it up"
                    if found.split
                    else "the compiler optimised it away"
                )
                what = f"it has no one place in memory: {reason}"
                raise UnsupportedFunctionError(what, subject=subject, todo="let a function of the library read it")
            size = size_of(interface.types, found.type) or 1
            yield _Place(interface, code, found, subject, code.variable(found.address, size))
        finally:
            code.table.leave()
            del hold

    def _missing(self, generation: Generation, name: str) -> MissingVariableError:
        offered = list(self)
        what = f"version {generation.version.number} has no variable {name!r}"
        shown = ", ".join(offered[:_SHOWN]) or "none"
        todo = f"it has {shown}{' …' if len(offered) > _SHOWN else ''}"
        return MissingVariableError(what, subject=self._control.name, todo=todo)


def _read(place: _Place) -> Any:
    interface, code, variable = place.interface, place.code, place.variable
    match interface.strip(variable.type):
        case Unsupported(name, _, reason):
            what = f"its type {name} can't be read: {reason}"
            raise UnsupportedFunctionError(what, subject=place.subject, todo="let a function of the library return it")
        case Pointer(target, _):
            return _read_pointer(place, target)
        case Enum() | Scalar(_, "int" | "uint" | "bool" | "char"):
            return code.from_native(variable.type, int.from_bytes(place.memory.read(), "little"))
        case Scalar():
            return place.memory.view(code.ctypes.of(variable.type)).value
        case _:
            view = place.memory.view(code.ctypes.of(variable.type))
            if variable.const:
                return type(view).from_buffer_copy(view)
            view._midflight_hold = _Hold(code.table)  # noqa: SLF001 - our own attribute
            return view


def _read_pointer(place: _Place, target: int) -> Any:
    pointed = place.interface.strip(target)
    if isinstance(pointed, Scalar) and pointed.kind == "char":
        text = place.memory.text()
        return None if text is None else text.decode("utf-8", "surrogateescape")
    return place.code.from_native(place.variable.type, int.from_bytes(place.memory.read(), "little"))


def _write(place: _Place, value: Any) -> None:
    interface, variable = place.interface, place.variable
    if variable.const:
        raise ArgumentTypeError("it is const and can't be written", subject=place.subject)
    found = interface.strip(variable.type)
    match found:
        case Scalar() | Enum():
            number = place.code.to_native(variable.name, variable.type, value)
            _write_number(place, found, number)
        case Array() | Record():
            _write_whole(place, value)
        case _:
            what = f"a variable of type {interface.spell(variable.type)} can't be written from Python"
            raise ArgumentTypeError(what, subject=place.subject, todo="let a function of the library do it")


def _write_number(place: _Place, found: Scalar | Enum, number: int | float) -> None:  # noqa: PYI041 - either, as said
    if isinstance(found, Scalar) and found.kind == "float":
        data = bytes(place.code.ctypes.of(place.variable.type)(number))
    else:
        data = (int(number) & ((1 << (8 * found.size)) - 1)).to_bytes(found.size, "little")
    place.memory.write(data)


def _write_whole(place: _Place, value: Any) -> None:
    """Copy a struct, or an array of the same length."""
    ctype = place.code.ctypes.of(place.variable.type)
    size = ctypes.sizeof(ctype)
    try:
        data = bytes(value) if isinstance(value, (ctype, bytes, bytearray)) else bytes(ctype(*value))
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        what = f"{type(value).__name__} can't be written to it: {error}"
        raise ArgumentTypeError(what, subject=place.subject) from None
    if len(data) != size:
        what = f"{size} bytes are expected, not {len(data)}"
        raise ArgumentTypeError(what, subject=place.subject)
    place.memory.write(data)
