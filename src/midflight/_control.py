"""What midflight knows of a module: its versions, its source, what swaps of it are to obey.

Guarantees:
- `Control.queue` serialises whatever changes which version is current; reading what is current needs no lock, because
  `current` is replaced in one store.
- Whoever holds it waits for calls, and for hooks, only until a timeout; nobody emits events while holding it.
- A control lives for as long as its module or any function of it does; when all are gone, its version is let go.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from midflight import _core, _retire
from midflight._carry import HOOK_TIMEOUT, Carrying, Migrations
from midflight._directory import private
from midflight._errors import SwapError, UnloadedError
from midflight._heaps import Heaps
from midflight._lane import Held, function_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._fall_back import FallBack
    from midflight._hooks import Swapping
    from midflight._integrity import Expectations
    from midflight._lane import Code, ExplicitFunction
    from midflight._running import Running
    from midflight._services import Services
    from midflight._trial import Compare, OnCrash, Probe, RegisteredCheck
    from midflight._version import Version
    from midflight._wrap import WrappedObject
    from midflight.artifact.interface import Interface
    from midflight.build import Artifact, Source
    from midflight.lanes import LaneOptions

KEPT_VERSIONS = 32
"""How many unloaded versions a module remembers: for `versions`, and as steps that `rollback` can go back."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Generation:
    """One version and all that belongs to it.  ``code`` is None once it is proven to be gone.

    ``mutex`` lets one thread at a time retire it; ``retiring`` is for a destructor that comes back here.  ``running``:
    its hooks that were waited for in vain, maybe; ``unloading_wanted``: whether its hook midflight_unloading is still
    to run; ``unloading``: that hook, once it runs; ``hook_timeout``: seconds that it may take.  ``carried``: keys of
    the variables that the version before has left it, in the process ``carried_to`` (0: this one); ``kept_for``: what
    still points into it, a text each.  ``observer``: what has ever noted its calls, ``observers``: for how many it does
    so now, see `midflight._observing`; ``soaked_by``: what soak holds it, "" for none; ``fall_back``: its way back
    after a crash, in this process.
    """

    version: Version
    artifact: Artifact
    interface: Interface
    code: Code | None
    mutex: threading.RLock = field(default_factory=threading.RLock)
    retiring: bool = False
    held: Held | None = None
    running: list[Running] = field(default_factory=list)
    unloading_wanted: bool = False
    unloading: Running | None = None
    hook_timeout: float = HOOK_TIMEOUT
    carried: frozenset[str] = frozenset()
    carried_to: int = 0
    kept_for: tuple[str, ...] = ()
    observer: _core.Observer | None = None
    fall_back: FallBack | None = None
    observers: int = 0
    soaked_by: str = ""

    @property
    def table(self) -> _core.Table:
        """The version's table.  Raises `UnloadedError` once the version is gone."""
        code = self.code
        if code is None:
            what = f"version {self.version.number} has been unloaded"
            raise UnloadedError(what, subject=self.version.source, todo="use the module, which has the current version")
        return code.table


@dataclass(slots=True)
class Options:
    """What was said at `load` and holds for every version of the module."""

    compat: str
    interface: Any
    hold_gil: bool | frozenset[str]
    lazy: bool
    flags: tuple[str, ...]
    lanes: LaneOptions
    carrying: Carrying = field(default_factory=Carrying)
    hook_timeout: float = HOOK_TIMEOUT
    probe: Probe | bool | None = None
    on_crash: OnCrash | None = None
    record: float = 0.0
    compare: Compare = "exact"
    hardened: bool = False

    def holds_gil(self, function: str) -> bool:
        """Whether a function is called without giving up the GIL."""
        return self.hold_gil if isinstance(self.hold_gil, bool) else function in self.hold_gil


class Control:
    """The record of one module."""

    _serial = itertools.count()

    def __init__(self, name: str, source: Source, options: Options, services: Services, expected: Expectations) -> None:
        self.name = name
        self.expected = expected
        self.source = source
        self.options = options
        self.serial = next(self._serial)
        self.identity = ""  # which module it is in the records of crashes
        self.queue = threading.RLock()
        self.services = services
        self.migrations = Migrations()
        self.holders: weakref.WeakSet[WrappedObject] = weakref.WeakSet()  # whoever moves data tells them
        self.busy = False  # a swap is under way, in the thread that holds the queue
        self.slots: dict[str, int] = {}
        self.explicit: dict[str, ExplicitFunction] = {}
        self.functions: dict[str, _core.Function] = {}
        self._offered: list[str] = []  # the current version's functions, by name
        self._attributes: dict[str, object] = {}  # what the module gets for them
        self.before: list[Callable[[Swapping], object]] = []
        self.after: list[Callable[[Swapping], object]] = []
        self.checks: list[RegisteredCheck] = []
        self.current: Generation | None = None
        self.candidate: Generation | None = None  # what has a share of the calls, and isn't current
        self.past: deque[tuple[Artifact, Source]] = deque(maxlen=KEPT_VERSIONS)
        self.generations: deque[Generation] = deque()
        self._numbers = itertools.count(1)
        self.heaps = _heaps_of(weakref.ref(self), name)
        self._cell: weakref.ref[_core.Cell] = lambda: None  # type: ignore[assignment]
        self._module: weakref.ref[ModuleType] = lambda: None  # type: ignore[assignment]

    # ---- life

    def attach(self, module: ModuleType, generation: Generation) -> None:
        """Make the module's first version current."""
        cell = _core.Cell(self.name, generation.table, owner=self)
        self._cell = weakref.ref(cell)
        self._module = weakref.ref(module)
        _registry[module] = weakref.ref(self)
        _controls.add(self)
        # The cell is kept by the functions and by the module; no function may be left to keep it.
        module.__dict__["__midflight_cell__"] = cell
        self.generations.append(generation)
        self.current = generation

    @property
    def module(self) -> ModuleType | None:
        """The module object, unless only functions of it are left."""
        return self._module()

    @property
    def cell(self) -> _core.Cell:
        """What holds the current version's table.  Raises `UnloadedError` if nothing of the module is left."""
        cell = self._cell()
        if cell is None:
            raise self.unloaded()
        return cell

    def need_current(self) -> Generation:
        """Return the current generation.  Raises `UnloadedError` after `unload`."""
        current = self.current
        if current is None:
            raise self.unloaded()
        return current

    def unloaded(self) -> UnloadedError:
        """Return the error for what can't be done any more."""
        return UnloadedError("the module has been unloaded", subject=self.name, todo="load it again")

    def next_number(self) -> int:
        """Return a version number that was never used in this module."""
        return next(self._numbers)

    def __del__(self) -> None:
        """Nothing of the module is left to call it by: let its versions go."""
        for generation in () if sys.is_finalizing() else tuple(self.generations):
            if generation.version.status in {"current", "draining"}:
                _retire.let_go_later(generation)

    # ---- names

    def add_slots(self, interface: Interface) -> None:
        """Give every function of an interface a slot; those that have one keep it for the module's life."""
        for function in interface.functions:
            for key in function_keys(function):
                self.slots.setdefault(key, len(self.slots))

    def function(self, key: str) -> _core.Function:
        """Return the one Function object of a name."""
        if key not in self.functions:
            self.functions[key] = _core.Function(self.cell, self.slots[key], key)
        return self.functions[key]

    def has(self, function: _core.Function) -> bool:
        """Whether this is one of the module's functions, always calling what is current."""
        return self._cell() is function._cell  # noqa: SLF001 - the core's, for us

    def publish(self) -> None:
        """Let the module's attributes be what the current version offers."""
        module, current = self.module, self.current
        if module is None or current is None:
            return
        offered = [function.name for function in current.interface.functions]
        if offered != self._offered:
            self._offered = offered
            names = sorted(set(filter(is_attribute, offered)))
            # __all__ is what help() lists: it can't tell otherwise that the functions belong to the module.
            self._attributes = {name: self.function(name) for name in names} | {"__all__": names}
            for name, function in self.functions.items():
                if name not in self._attributes and module.__dict__.get(name) is function:
                    del module.__dict__[name]
        module.__dict__.update(self._attributes)

    # ---- memory

    def forget_old(self) -> None:
        """Drop the oldest unloaded versions from the list, so that a module that swaps for ever doesn't grow."""
        if len(self.generations) <= KEPT_VERSIONS + 1:
            return
        if self.generations[0].version.status == "unloaded":
            self.generations.popleft()  # by far the commonest case, and every swap comes here
            return
        gone = [one for one in self.generations if one.version.status == "unloaded"]
        for generation in gone[: max(0, len(gone) - KEPT_VERSIONS)]:
            self.generations.remove(generation)


def _heaps_of(find: weakref.ref[Control], name: str) -> Heaps:
    """Return the heaps of a module, which may outlive it."""

    def current() -> int:
        control = find()
        generation = control.current if control is not None else None
        return generation.version.number if generation is not None else 0

    def inside() -> bool:
        control = find()
        codes = [one.code for one in tuple(control.generations)] if control is not None else []
        return any(code is not None and code.table.inside for code in codes)

    return Heaps(name, current, inside)


def is_attribute(name: str) -> bool:
    """Whether a function may be an attribute of the module: Python's own names of a module aren't to be shadowed."""
    return bool(name) and not (name.startswith("__") and name.endswith("__"))


# ---- from the module to its record ----------------------------------------------------------------------------------

# Weak on both sides: a callback of a module's may lead back to the module.  The module's cell keeps the control.
_registry: weakref.WeakKeyDictionary[ModuleType, weakref.ref[Control]] = weakref.WeakKeyDictionary()
_controls: weakref.WeakSet[Control] = weakref.WeakSet()  # also those of which only functions are left
_pinned: weakref.WeakKeyDictionary[ModuleType, tuple[Control, Generation]] = weakref.WeakKeyDictionary()


def control_of(module: object) -> Control:
    """Return a module's record.  Raises `SwapError` for what `load` didn't return."""
    if isinstance(module, ModuleType):
        known = _registry.get(module)
        found = known() if known is not None else None
        if found is not None:
            return found
        if module in _pinned:
            raise SwapError("this is a pinned version", subject=repr(module), todo="pass the module that was pinned")
    what = f"{module!r} is no module of midflight's"
    raise SwapError(what, todo="pass what midflight.load returned")


def all_controls() -> tuple[Control, ...]:
    """Return the records of all modules."""
    return tuple(_controls)


def control_of_function(function: _core.Function) -> Control | None:
    """Return the record of the module that a function belongs to; None for a pinned view's."""
    return next((one for one in tuple(_controls) if one.has(function)), None)


def is_pinned(module: object) -> bool:
    """Tell whether this is a view that a pin gave."""
    return isinstance(module, ModuleType) and module in _pinned


def generation_of(module: object) -> tuple[Control, Generation]:
    """Return a module's record and what to read: the current version, or the one that a pin holds."""
    if isinstance(module, ModuleType) and is_pinned(module):
        return _pinned[module]
    control = control_of(module)
    return control, control.need_current()


def remember_pin(module: ModuleType, control: Control, generation: Generation) -> None:
    """Let `generation_of` know a pinned view."""
    _pinned[module] = (control, generation)


def _after_fork() -> None:
    """In the child: only this thread goes on, and the private directory is the parent's."""
    _core.after_fork()
    private.forget()
    for control in list(_controls):
        control.queue = threading.RLock()
        control.busy = False
        for generation in control.generations:
            generation.mutex = threading.RLock()
            generation.retiring = False


os.register_at_fork(after_in_child=_after_fork)
