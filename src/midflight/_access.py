"""Reading a module: its versions, types, variables, and functions by their full names."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import msgspec

from midflight import _retire
from midflight._control import Control, control_of, generation_of, is_pinned
from midflight._errors import InterfaceError, MissingFunction, UnloadedError
from midflight._lane import ExplicitFunction, attributes_of
from midflight._variables import Variables
from midflight.artifact import declared
from midflight.artifact.interface import Scalar

if TYPE_CHECKING:
    from midflight._core import Function
    from midflight._version import Version
    from midflight.artifact.interface import Function as Described
    from midflight.artifact.interface import Interface, TypeId


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
    found = _find(current.interface, name)
    if found is None:
        raise _missing(control, name)
    if signature is None:
        return control.function(name if name == found.name else found.qualified)
    return _explicit(control, found, signature)


def _find(interface: Interface, name: str) -> Described | None:
    """Find a function by its plain or its full name; where the spaces are in that doesn't matter."""
    squeezed = _squeezed(name)
    found = (one for one in interface.functions if name and (one.name == name or _squeezed(one.qualified) == squeezed))
    return next(found, None)


def _squeezed(name: str) -> str:
    return "".join(name.split())


def _explicit(control: Control, wanted: Described, signature: str) -> Function:
    """Give a signature of the user's a slot of its own, in this version and all later ones."""
    key = f"{wanted.qualified} as {signature}"
    if key not in control.slots:
        text = signature if signature.rstrip().endswith(";") else f"{signature};"
        read = declared.parse(text)
        if len(read.functions) != 1:
            what = f"one declaration of a function is expected: {signature!r}"
            raise InterfaceError(what, subject=control.name, todo="write it as in C: 'int f(const char *, int)'")
        with control.queue:
            if key not in control.slots:
                _add_explicit(control, key, ExplicitFunction(wanted.qualified, *_promoted(read, wanted)))
    return control.function(key)


def _add_explicit(control: Control, key: str, explicit: ExplicitFunction) -> None:
    code = control.need_current().code
    slot = len(control.slots)
    if code is not None:
        code.add_explicit(slot, explicit)
    control.explicit[key] = explicit
    control.slots[key] = slot


def _promoted(read: Interface, wanted: Described) -> tuple[Interface, Described]:
    """Pass a `float` for the dots of a variadic function as C does: as a double."""
    given = read.functions[0]
    if not wanted.variadic:
        return read, given
    double = len(read.types)
    params = [
        msgspec.structs.replace(param, type=double)
        if index >= len(wanted.params) and _is_float(read, param.type)
        else param
        for index, param in enumerate(given.params)
    ]
    types = (*read.types, Scalar("double", "float", 8))
    return msgspec.structs.replace(read, types=types), msgspec.structs.replace(given, params=tuple(params))


def _is_float(interface: Interface, type_id: TypeId) -> bool:
    found = interface.strip(type_id)
    return isinstance(found, Scalar) and found.kind == "float" and found.size < 8  # noqa: PLR2004 - a double's size


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
            return Variables(control)[name]
        if current.code is not None and name in (found := attributes_of(current.code)):
            return found[name]
        raise _missing(control, name)


# ---- types ----------------------------------------------------------------------------------------------------------


def types_of(module: types.ModuleType) -> types.SimpleNamespace:
    """Return the module's structs and unions as ctypes classes and its enums as IntEnum classes.

    They are those of the current version; a swap that doesn't change the types keeps the classes.
    """
    _, generation = generation_of(module)
    code = generation.code
    if code is None:
        raise UnloadedError("this version has been unloaded", subject=generation.version.source, todo="load it again")
    return types.SimpleNamespace(**code.ctypes.namespace())


# ---- variables ------------------------------------------------------------------------------------------------------


def variables(module: types.ModuleType) -> Variables:
    """Return the module's variables as a mapping from name to value, to read and to write.

    Exported ones have their own name; a static one its name too where that is unambiguous, else ``file.c:name`` or
    ``function.name``.
    """
    control, generation = generation_of(module)
    return Variables(control, generation if is_pinned(module) else None)
