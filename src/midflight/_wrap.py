"""`wrap`: the objects that a library makes, as instances of a Python class.

Guarantees:
- An instance holds one object, frees it once, and never after the module's end.
- With ``objects="move"`` it follows its object from version to version: between the making of an object and the moment
  when the mover of data knows of it, and between a method's look at where it is and its call, nothing moves.
- With ``objects="keep"`` it keeps its version loaded, and calls that version's functions.
"""

from __future__ import annotations

import inspect
import keyword
import logging
import sys
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from midflight import _core
from midflight._control import control_of
from midflight._errors import (
    ArgumentTypeError,
    InterfaceError,
    MidflightError,
    MissingFunction,
    SwapInsideError,
    UnloadedError,
)
from midflight._lane import function_keys, link_of
from midflight.artifact.interface import Pointer, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from midflight._control import Control, Generation
    from midflight._core import Link
    from midflight.artifact.interface import Function, Interface, TypeId

_log = logging.getLogger("midflight")

_NEW = ("new_{}", "{}_new", "create_{}", "{}_create", "make_{}", "{}_make", "{}_open")
_FREE = ("free_{}", "{}_free", "destroy_{}", "{}_destroy", "delete_{}", "{}_delete", "{}_close")
_FREED = "it has been freed"


class Wrapped:
    """The base of the classes that `wrap` makes."""

    _family: ClassVar[Family]
    _held: Any = None

    def __init__(self, *values: Any, **named: Any) -> None:
        self._family.make(self, values, named)

    def free(self) -> None:
        """Let the library free the object; nothing happens if it has been freed."""
        self._family.free(self)

    def __enter__(self) -> Any:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the object."""
        self.free()

    def __del__(self) -> None:
        """Free the object, if nobody has."""
        if self._held is not None and not sys.is_finalizing():
            self._family.free(self, quietly=True)


class WrappedObject:
    """An object of the library's, for whoever moves data; kept by the instance."""

    def __init__(self, family: Family, pointer: _core.Pointer, link: Link | None) -> None:
        self.holder = _core.Holder(pointer, link)
        self._family = family

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self._family.name} at {self.holder.address:#x}"

    def type_in(self, interface: Interface) -> TypeId:
        """Return the type of a pointer to it."""
        return self._family.type_in(interface)


class Family:
    """What the instances of one class have in common.  The functions are named by their keys."""

    def __init__(self, control: Control, name: str, new: Function, free: Function | None) -> None:
        self.name = name
        self.control = control
        self._new = function_keys(new)[0]
        self._free = function_keys(free)[0] if free is not None else None
        self._late: list[Any] = []  # what couldn't be freed where it was collected: in the middle of a move

    def type_in(self, interface: Interface) -> TypeId:
        """Return the type of a pointer to an object; ``void`` if it can't be said any more."""
        found = next((one for one in interface.functions if self._new in function_keys(one)), None)
        return found.result if found is not None else 0

    def make(self, instance: Wrapped, values: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Let the library make an object for an instance."""
        self._free_late()

        def made(_table: object) -> None:
            link = self._link()
            pointer = self.control.function(self._new)(*unwrapped(values), **named)
            if not isinstance(pointer, _core.Pointer):
                what = f"{self._new} returned a null pointer"
                raise MidflightError(what, subject=self.control.name, todo="see in the library why it does")
            held = WrappedObject(self, pointer, link)
            instance._held = held  # noqa: SLF001 - of this file
            self.control.holders.add(held)

        self.control.cell.run(made)

    def method(self, key: str) -> Callable[..., Any]:
        """Return what calls a method: with the instance, and the arguments."""
        function = self.control.function(key)

        def call(instance: Wrapped, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return function(instance._held.holder, *unwrapped(values), **named)  # noqa: SLF001 - of this file

        return call

    def free(self, instance: Wrapped, *, quietly: bool = False) -> None:
        """Let the library free an instance's object, once."""
        if self._free is None:
            return
        function = self.control.function(self._free) if self._free in self.control.slots else None

        def freed(_table: object) -> None:
            taken = instance._held.holder.take(_FREED)  # noqa: SLF001
            if taken is not None and function is not None and taken.link is self._link():
                function(taken)  # what a worker had made that has died went with it

        try:
            self.control.cell.run(freed)
        except UnloadedError:
            pass  # it went with the module
        except SwapInsideError:
            self._late.append(instance)
        except MidflightError as error:
            if not quietly:
                raise
            _log.error("%s: %s", self.name, error)

    def _link(self) -> Link | None:
        code = self.control.need_current().code
        return link_of(code) if code is not None else None

    def _free_late(self) -> None:
        while self._late:
            self.free(self._late.pop(), quietly=True)


class KeptFamily(Family):
    """Instances that stay with the version that made them."""

    def __init__(self, control: Control, name: str, new: Function, free: Function | None) -> None:
        super().__init__(control, name, new, free)
        self._cells: weakref.WeakKeyDictionary[Generation, _core.Cell] = weakref.WeakKeyDictionary()

    def make(self, instance: Wrapped, values: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Let the current version make an object, which its pointer keeps loaded from then on."""
        generation = self.control.need_current()
        cell = self._cells.get(generation)
        if cell is None:
            cell = self._cells.setdefault(generation, _core.Cell(self.control.name, generation.table))
        pointer = self._function(cell, self._new)(*unwrapped(values), **named)
        if not isinstance(pointer, _core.Pointer):
            what = f"{self._new} returned a null pointer"
            raise MidflightError(what, subject=self.control.name, todo="see in the library why it does")
        instance._held = [(cell, pointer)]  # noqa: SLF001 - of this file

    def _function(self, cell: _core.Cell, key: str) -> _core.Function:
        return _core.Function(cell, self.control.slots[key], key)

    def method(self, key: str) -> Callable[..., Any]:
        """Return what calls a method of the version that made the instance's object."""

        def call(instance: Wrapped, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
            for cell, pointer in instance._held:  # noqa: SLF001 - of this file
                return self._function(cell, key)(pointer, *unwrapped(values), **named)
            raise UnloadedError(f"the object is gone: {_FREED}", subject=self.name, todo="make a new one")

        return call

    def free(self, instance: Wrapped, *, quietly: bool = False) -> None:
        """Let that version free it, once."""
        try:
            cell, pointer = instance._held.pop()  # noqa: SLF001 - one of all threads gets it
        except IndexError:
            return
        try:
            if self._free is not None:
                self._function(cell, self._free)(pointer)
        except MidflightError as error:
            if not quietly:
                raise
            _log.error("%s: %s", self.name, error)


def unwrapped(values: tuple[Any, ...]) -> Iterable[Any]:
    """Put what an instance holds in its place."""
    for value in values:
        if isinstance(value, Wrapped):
            return [_pointer(one) if isinstance(one, Wrapped) else one for one in values]
    return values


def _pointer(instance: Wrapped) -> Any:
    held = instance._held  # noqa: SLF001
    if isinstance(held, WrappedObject):
        return held.holder
    return held[0][1] if held else None


# ---- finding the functions ------------------------------------------------------------------------------------------


def wrap(
    module: ModuleType,
    name: str,
    *,
    new: str | None = None,
    free: str | None = None,
    methods: Iterable[str] | Mapping[str, str] | None = None,
    objects: Literal["move", "keep"] = "move",
) -> type[Any]:
    """Make a Python class of a library's objects, such as ``new_counter``, ``counter_add`` and ``free_counter`` handle.

    Args:
        module: what `load` returned.
        name: of the objects, as the functions' names have it: ``"counter"``.
        new: the function that makes one; by default found by its name.
        free: the function that frees one; by default found by its name.
        methods: the functions that take one first, or a dictionary of them by the methods' names.
        objects: what becomes of instances in a swap: they "move" to the new version with the data, or "keep" the one
            that made them.

    Raises:
        InterfaceError: the functions don't fit together.
        MissingFunction: one of them isn't there.
    """
    if objects not in ("move", "keep"):
        what = f"objects={objects!r} is neither 'move' nor 'keep'"
        raise InterfaceError(what, subject=name, todo="say which")
    control = control_of(module)
    current = control.need_current()
    if current.version.lane not in {"here", "worker"}:
        what = "objects can be wrapped only of native libraries that midflight loads itself"
        raise InterfaceError(what, subject=control.name, todo="wrap them where the library is loaded")
    interface = current.interface
    found = _Finder(control.name, interface, name)
    maker = found.one(new, _NEW, "makes")
    if maker is None:
        what = f"no function makes a {name}: none is called {', '.join(form.format(name) for form in _NEW)}"
        raise MissingFunction(what, subject=control.name, todo="say which one does: new=")
    freer = found.one(free, _FREE, "frees")
    family = (Family if objects == "move" else KeptFamily)(control, f"{control.name}.{name}", maker, freer)
    chosen = found.methods(methods, maker, freer)
    return _new_class(module, name, family, maker, chosen)


class _Finder:
    def __init__(self, module: str, interface: Interface, name: str) -> None:
        self._module = module
        self._interface = interface
        self._name = name
        self._functions = {function.name: function for function in interface.functions if function.name}

    def named(self, name: str) -> Function:
        found = self._functions.get(name)
        if found is None:
            raise MissingFunction(f"there is no function {name}", subject=self._module, todo="correct the name")
        return found

    def one(self, given: str | None, forms: tuple[str, ...], does: str) -> Function | None:
        if given is not None:
            return self.named(given)
        found = [self._functions[one] for form in forms if (one := form.format(self._name)) in self._functions]
        if len(found) > 1:
            names = ", ".join(function.name for function in found)
            what = f"it isn't clear which function {does} a {self._name}: {names}"
            raise InterfaceError(what, subject=self._module, todo="say which: new=, free=")
        return found[0] if found else None

    def methods(
        self, given: Iterable[str] | Mapping[str, str] | None, new: Function, free: Function | None
    ) -> dict[str, Function]:
        made = self._pointed(new.result)
        if made is None:
            what = f"{new.name} doesn't return a pointer to an object"
            raise InterfaceError(what, subject=self._module, todo="name the function that makes one: new=")
        prefix = f"{self._name}_"
        if given is None:
            candidates = [one for one in self._functions.values() if one.name.startswith(prefix)]
            chosen = {one.name.removeprefix(prefix): one for one in candidates if self._takes(one, made)}
        else:
            pairs = given if isinstance(given, Mapping) else {one.removeprefix(prefix): one for one in given}
            chosen = {method: self.named(name) for method, name in pairs.items()}
        chosen = {method: one for method, one in chosen.items() if one not in (new, free)}
        for one in (*chosen.values(), *((free,) if free is not None else ())):
            if not self._takes(one, made):
                what = f"{one.name} doesn't take what {new.name} returns first"
                raise InterfaceError(what, subject=self._module, todo="leave it out, or correct the library")
        return chosen

    def _pointed(self, type_id: TypeId) -> TypeId | None:
        found = self._interface.strip(type_id)
        if not isinstance(found, Pointer) or isinstance(self._interface.strip(found.target), Signature):
            return None
        return found.target

    def _takes(self, function: Function, made: TypeId) -> bool:
        target = self._pointed(function.params[0].type) if function.params else None
        return target is not None and self._interface.strip(target) is self._interface.strip(made)


# ---- the class ------------------------------------------------------------------------------------------------------


def _new_class(
    module: ModuleType, name: str, family: Family, new: Function, methods: dict[str, Function]
) -> type[Wrapped]:
    control = family.control
    maker = control.function(function_keys(new)[0])
    members: dict[str, Any] = {
        "_family": family,
        "__module__": module.__name__,
        "__doc__": maker.__doc__,
        "__signature__": maker.__signature__,  # type: ignore[attr-defined]
    }
    made = type(name.title().replace("_", ""), (Wrapped,), members)
    for method, function in methods.items():
        attribute = f"{method}_" if keyword.iskeyword(method) else method
        setattr(made, attribute, _method(made, attribute, family, function))
    return made


def _method(made: type[Wrapped], name: str, family: Family, function: Function) -> Callable[..., Any]:
    key = function_keys(function)[0]
    call = family.method(key)

    def method(self: Any, /, *values: Any, **named: Any) -> Any:
        if not isinstance(self, made):
            what = f"it is a method of {made.__name__}, and was called for {type(self).__name__}"
            raise ArgumentTypeError(what, subject=f"{made.__name__}.{name}")
        return call(self, values, named)

    native = family.control.function(key)
    signature: inspect.Signature | None = native.__signature__  # type: ignore[attr-defined]
    method.__name__, method.__qualname__ = name, f"{made.__name__}.{name}"
    method.__doc__ = native.__doc__
    if signature is not None:
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        rest = [*signature.parameters.values()][1:]
        method.__signature__ = signature.replace(parameters=[own, *rest])  # type: ignore[attr-defined]
    return method
