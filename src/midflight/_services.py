"""Host services: functions of the program's that a library calls.

Guarantees:
- A library calls the same `Provided` for its version's whole life; which function that is comes from one read at each
  call.  So replacing one is atomic, and calls under way finish in the old one.
- What is provided is judged before any of the library's code runs.
- Any function here may be called from any thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import re
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from midflight import _core
from midflight._control import control_of, control_of_function
from midflight._errors import InterfaceError, MidflightError, ServiceError
from midflight._fork import Lock
from midflight._lane import Service, function_keys
from midflight.artifact import compare, protocol
from midflight.artifact.elf import Elf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from midflight._control import Control
    from midflight._errors import UnresolvedSymbolError
    from midflight._lane import Follower
    from midflight.artifact.interface import Function, Interface

AnyFunction = TypeVar("AnyFunction", bound="Callable[..., Any]")

_SERVING = ("here", "worker")
_LENGTH = re.compile(r"\d+")
_MOST_SHOWN = 12


def provide(module: ModuleType, name: str | None = None) -> Callable[[AnyFunction], AnyFunction]:
    """Let a library call the decorated function, as ``name`` or by its own name.

    It replaces what was provided under that name, also while it is in use: calls that start from now on run the new
    function, calls under way end in the old one.  One that the loaded version doesn't call serves later versions.

    Raises:
        ServiceError: its type isn't known, or isn't what the library declares.
        UnloadedError: the module has been unloaded.
    """
    control = control_of(module)
    current = control.need_current()

    def register(function: AnyFunction) -> AnyFunction:
        own = str(getattr(function, "__name__", ""))
        control.services.put(name or own, function, current.interface)
        return function

    return register


class Typed(NamedTuple):
    """A function type: that of a function of an interface."""

    interface: Interface
    function: Function


class Provided:
    """What a library calls by one name.  ``typed``: by which type it does, once one does."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.typed: Typed | None = None
        self._mutex = Lock()  # so that the last one who replaces is the last one whom followers hear of
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()

    def __call__(self, *values: Any) -> Any:
        """Run the function that is provided now."""
        return self.function(*values)

    def follow(self, follower: Follower) -> None:
        """See `midflight._lane.Provider`."""
        with self._mutex:
            self._followers.add(follower)
            follower.lead(self.function)

    def replace(self, function: Callable[..., Any]) -> None:
        """Provide another function from now on."""
        with self._mutex:
            self.function = function
            for follower in self._followers:
                follower.lead(function)


class Services:
    """What is provided to one module, for all its versions."""

    def __init__(self, module: str, provides: Any = None) -> None:
        """Raises `ServiceError` for a ``provides`` that can't be meant."""
        self._module = module
        self._mutex = Lock()  # protects all below; held for look-ups only
        self._named: dict[str, Provided] = {}
        self._by_symbol: dict[str, Provided] = {}  # as versions were given them
        self._modules: list[ModuleType] = []
        for one in provides if isinstance(provides, (list, tuple)) else (provides,):
            self._take(one)

    def _take(self, source: Any) -> None:
        if isinstance(source, ModuleType):
            _need_control(source, self._module)
            self._modules.append(source)
        elif isinstance(source, dict):
            for name, function in source.items():
                self._named[name] = Provided(self._checked(name, function))
        elif source is not None:
            what = f"provides= is a {type(source).__name__}"
            todo = 'pass a dictionary, {"say": say}, a module that midflight.load returned, or a list of these'
            raise ServiceError(what, subject=self._module, todo=todo)

    def _checked(self, name: object, function: Any) -> Callable[..., Any]:
        if not isinstance(name, str) or not name:
            what = f"{name!r} is no function's name"
            raise ServiceError(what, subject=self._module, todo="name it as the library does")
        if not callable(function):
            what = f"what is provided as {name} can't be called ({type(function).__name__})"
            todo = "provide a function; a variable that the library shares with its host can't be provided"
            raise ServiceError(what, subject=self._module, todo=todo)
        return function  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        """Whether anything is provided."""
        return bool(self._named or self._modules)

    # ---- replacing

    def put(self, name: str, function: Any, interface: Interface) -> None:
        """Provide a function, or another one than before.  ``interface``: of the version that is current."""
        self._checked(name, function)
        needed = {need.symbol: need for need in interface.needs}
        with self._mutex:
            meant = [symbol for symbol in self._by_symbol if name in names_of(symbol, needed.get(symbol))]
            known = [self._by_symbol[symbol] for symbol in meant] + [self._named.get(name)]
            found = next((one for one in known if one is not None), None)
        if found is not None and found.typed is not None:
            self._fit(found.typed, function, name)
        with self._mutex:
            found = found or Provided(function)
            self._named[name] = found
        found.replace(function)

    # ---- what a version gets

    def resolve(self, interface: Interface, data: bytes, lane: str) -> tuple[tuple[Service, ...], list[str]]:
        """Return what a version's library is given, and which names it doesn't call.  Raises `ServiceError`."""
        if not self:
            return (), []
        if lane not in _SERVING:
            what = "functions of this program can be provided only to native libraries that midflight loads itself"
            raise ServiceError(what, subject=self._module, todo="pass them as callbacks, where a function takes one")
        needed = {need.symbol: need for need in interface.needs}
        found: list[Service] = []
        used: set[str] = set()
        for symbol in Elf(data).undefined:
            need = needed.get(symbol)
            names = names_of(symbol, need)
            provided = self._find(names, symbol)
            if provided is not None:
                if symbol in interface.needs_variables:
                    raise self._variable(symbol)
                used.update(names)
                typed = self._typed(names[0], provided, Typed(interface, need) if need is not None else None)
                found.append(Service(symbol, *typed, provided))
        return tuple(found), sorted(self._named.keys() - used)

    def refuse_unused(self, unused: Iterable[str], interface: Interface, data: bytes) -> None:
        """Raise `ServiceError` if a name isn't called: at a module's first load that is a slip of the pen."""
        names = ", ".join(unused)
        if names:
            calls = ", ".join(_wanted(interface, Elf(data).undefined)) or "nothing that it doesn't have itself"
            what = f"{names} is provided, but the library doesn't call it; it calls {calls}"
            raise ServiceError(what, subject=self._module, todo="correct the name, or leave it out")

    def _find(self, names: Iterable[str], symbol: str) -> Provided | None:
        with self._mutex:
            found = next((self._named[name] for name in names if name in self._named), None)
            known = self._by_symbol.get(symbol)
        if found is None:
            function = self._offered(names, symbol)
            if function is None:
                return None
            found = known or Provided(function)
            found.replace(function)
        with self._mutex:
            return self._by_symbol.setdefault(symbol, found)

    def _offered(self, names: Iterable[str], symbol: str) -> _core.Function | None:
        """Return the function that a module offers under one of the names."""
        for module in self._modules:
            control = control_of(module)
            for function in control.need_current().interface.functions:
                if function.symbol == symbol or not {function.name, function.qualified}.isdisjoint(names):
                    return control.function(function_keys(function)[0])
        return None

    def _typed(self, name: str, provided: Provided, declared: Typed | None) -> Typed:
        """Return the type by which the library calls it: as it declares it, else as the function says."""
        typed = declared or _own_type(provided.function) or self._annotated(name, provided.function)
        if typed.function.variadic:
            what = f"the library calls {name} with arguments of types that its declaration doesn't tell"
            todo = f"declare its parameters: void {name}(void), if it has none; a variadic function can't be provided"
            raise ServiceError(what, subject=self._module, todo=todo)
        self._fit(typed, provided.function, name)
        provided.typed = typed
        return typed

    def _annotated(self, name: str, function: Callable[..., Any]) -> Typed:
        try:
            interface = protocol.read_function(function, name)
        except InterfaceError as error:
            what = f"the library doesn't say what type {name} has, and the Python function doesn't either: {error.what}"
            todo = f"annotate it, as in `def {name}(text: str) -> None`; gcc -g tells the types of what a library calls"
            raise ServiceError(what, subject=self._module, todo=todo) from None
        return Typed(interface, interface.functions[0])

    def _fit(self, typed: Typed, function: Any, name: str) -> None:
        """Raise `ServiceError` if a function can't be called by a type."""
        own = _own_type(function)
        if own is None and typed.interface.origin == "declared":
            with contextlib.suppress(ServiceError):  # what says nothing is taken at its caller's word
                own = self._annotated(name, function)
        if own is not None:
            differences = compare.compare_calls(*typed, *own)
        else:
            differences = _wrong_count(function, len(typed.function.params))
        if differences:
            wanted = typed.interface.describe(typed.function)
            what = f"the library calls `{wanted}`, and what is provided as {name} isn't that: {'; '.join(differences)}"
            raise ServiceError(what, subject=self._module, todo="let both sides have the same type")

    def _variable(self, symbol: str) -> ServiceError:
        what = f"{symbol} is a variable, and only functions can be provided"
        todo = f"let the library define {symbol} and set it by midflight.variables, or call a function that returns it"
        return ServiceError(what, subject=self._module, todo=todo)

    def advise(self, error: UnresolvedSymbolError, interface: Interface, data: bytes) -> None:
        """Let an error name all that nothing provides, and say how to."""
        missing = [name for name in _missing(interface, data, error) if name not in self._named]
        if missing:
            names, them = ", ".join(missing), "it" if len(missing) == 1 else "them"
            error.what = f"nothing defines {names}: {error.what}"
            error.todo = (
                f'provide {them} from Python, load(…, provides={{"{missing[0]}": …}}) or @midflight.provide(module),'
                f" link the library with what defines {them} (flags=), or define {them}"
            )


# ---- names ----------------------------------------------------------------------------------------------------------


def names_of(symbol: str, need: Function | None) -> tuple[str, ...]:
    """Return what people may call an undefined symbol, the plainest name first."""
    if need is not None:
        return tuple(filter(None, (need.name, need.qualified.split("(", 1)[0], need.qualified, symbol)))
    path = _demangled(symbol)
    return (path[-1], "::".join(path), symbol) if path else (symbol,)


def _demangled(symbol: str) -> list[str]:
    """Return the names that a C++ function's symbol is made of: ``_ZN4host5levelEd`` gives host and level."""
    nested = symbol.startswith("_ZN")
    found: list[str] = []
    at = len("_ZN") if nested else len("_Z")
    while symbol.startswith("_Z") and (nested or not found):
        length = _LENGTH.match(symbol, at)
        if length is None:
            break
        at = length.end() + int(length[0])
        found.append(symbol[length.end() : at])
    return found if not nested or symbol[at : at + 1] == "E" else []


def _undefined(interface: Interface, undefined: Iterable[str]) -> Iterator[tuple[str, Function | None]]:
    """Return undefined symbols and their declarations, the declared ones first and in their order."""
    yield from ((need.symbol, need) for need in interface.needs)
    declared = {need.symbol for need in interface.needs}
    yield from ((symbol, None) for symbol in undefined if symbol not in declared)


def _wanted(interface: Interface, undefined: dict[str, bool]) -> list[str]:
    """Return the functions that a library calls and doesn't have, by their plain names."""
    shown = [
        names_of(symbol, need)[0]
        for symbol, need in _undefined(interface, undefined)
        if not (undefined[symbol] and symbol.startswith("_")) and symbol not in interface.needs_variables
    ]
    return [*shown[:_MOST_SHOWN], *(["…"] if len(shown) > _MOST_SHOWN else [])]


def _missing(interface: Interface, data: bytes, error: UnresolvedSymbolError) -> Iterator[str]:
    """Return the functions that nothing defines: the one that the loader named, and all others if that can be told."""
    elf = Elf(data)
    libraries, _ = _core.needs(data)
    # A library without versions of its symbols may define any of them.
    certain = elf.versioned_libraries().issuperset(libraries)
    loaded = ctypes.CDLL(None)
    for symbol, need in _undefined(interface, elf.undefined):
        declared = need is not None and not elf.undefined[symbol]
        if symbol == error.symbol or (certain and declared and not hasattr(loaded, symbol)):
            yield names_of(symbol, need)[0]


# ---- types ----------------------------------------------------------------------------------------------------------


def _need_control(module: ModuleType, subject: str) -> Control:
    try:
        return control_of(module)
    except MidflightError as error:
        todo = "provide functions by a dictionary, or a module that midflight.load returned"
        raise ServiceError(error.what, subject=subject, todo=todo) from None


def _own_type(function: object) -> Typed | None:
    """Return the type of another native module's function; None for whatever has none."""
    control = control_of_function(function) if isinstance(function, _core.Function) else None
    current = control.current if control is not None else None
    if current is None or current.interface.language == "Go" or not isinstance(function, _core.Function):
        return None
    name = function.__name__
    found = next((one for one in current.interface.functions if name in function_keys(one)), None)
    return Typed(current.interface, found) if found is not None else None


def _wrong_count(function: Any, count: int) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return []  # a builtin that doesn't say
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        return [f"called with {count} argument{'' if count == 1 else 's'}: {error}"]
    return []


__all__ = ["Services", "names_of", "provide"]
