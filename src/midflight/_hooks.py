"""Hooks: what a library (in C) and a program (in Python) want to do when a version is replaced.

Guarantees:
- Every hook has a time limit.  One that refuses, raises, crashes or hangs before the switch refuses the swap, and
  nothing has changed; after it, the module goes back to the version before.
- Hooks run in a thread of their own.  A hook that hangs goes on there: its version stays loaded, and says by what it is
  held.
- `midflight_loaded` runs once in each version; `midflight_unloading` once in each in which neither `midflight_loaded`
  has failed nor `midflight_restore` has crashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from midflight._control import control_of
from midflight._errors import HookError, MidflightError, WorkerCrashedError
from midflight._lane import hooks_of
from midflight._running import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from midflight._control import Control, Generation
    from midflight._version import Report, Version

LOADED, SAVE, RESTORE, UNLOADING = "midflight_loaded", "midflight_save", "midflight_restore", "midflight_unloading"


# ---- hooks of a library ---------------------------------------------------------------------------------------------


def has(generation: Generation, hook: str) -> bool:
    """Whether a version has this hook."""
    return generation.code is not None and hook in hooks_of(generation.code)


def run(generation: Generation, hook: str, control: Control) -> None:
    """Run a hook of a version's, if it has it.  Raises `HookError`."""
    if not has(generation, hook):
        return
    assert generation.code is not None  # noqa: S101 - has() has looked
    running = Running(hook, hooks_of(generation.code)[hook], frozenset({control}))
    generation.running.append(running)
    try:
        refusal = refusal_of(running, control.options.hook_timeout)
    except Exception as error:
        if hook == RESTORE:
            generation.unloading_wanted = False  # a version that crashes is run no further
        raise _hook_error(generation, hook, control, explain(error, hook)) from error
    if refusal:
        raise _hook_error(generation, hook, control, refusal)


def refusal_of(running: Running, timeout: float) -> str:
    """Wait for a hook; return "" if all is well, else what it did.  Raises what it raised."""
    if not running.wait(timeout):
        return f"hasn't returned within {timeout:g} s"
    answer = running.result()
    return f"has refused: it returned {answer}" if answer else ""


def explain(error: Exception, hook: str) -> str:
    """Say what a hook did that raised."""
    if isinstance(error, HookError):
        return error.what
    if isinstance(error, WorkerCrashedError):
        lost = ", and its data with it" if hook == SAVE else ""
        return f"crashed: {error.what}{lost}"
    return f"raised {type(error).__name__}: {error}"


def _hook_error(generation: Generation, hook: str, control: Control, did: str) -> HookError:
    what = f"{hook} of version {generation.version.number} {did}"
    return HookError(what, subject=control.name, todo=f"mend {hook}, or what it found")


# ---- hooks of a program ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Swapping:
    """What a hook in Python is told: the module, the version that is replaced, and the one that takes over.

    ``report``: of the swap, for hooks that run after it.
    """

    module: ModuleType | None
    old: Version
    new: Version
    report: Report | None = None


_Hook = TypeVar("_Hook", bound="Callable[[Swapping], object]")


class HookList:
    """A decorator that adds a hook.  Hooks run in the order in which they were added."""

    def __init__(self, functions: list[Callable[[Swapping], object]]) -> None:
        self._functions = functions

    def __call__(self, function: _Hook) -> _Hook:
        """Add a hook, and return it."""
        self._functions.append(function)
        return function

    def remove(self, function: Callable[[Swapping], object]) -> None:
        """Take a hook away again.  Raises ValueError if it isn't one."""
        self._functions.remove(function)


def before_swap(module: ModuleType) -> HookList:
    """Run a function before each swap of a module, when its new version is ready: ``@midflight.before_swap(game)``.

    The function gets a `Swapping`.  If it raises, or takes longer than the ``hook_timeout`` of `load`, the swap is
    refused with a `HookError`, and nothing has changed.  It may call the module: that is the old version still.
    ``before_swap(game).remove(function)`` takes it away again.
    """
    return HookList(control_of(module).before)


def after_swap(module: ModuleType) -> HookList:
    """Run a function after each swap of a module, when its new version is current: ``@midflight.after_swap(game)``.

    The function gets a `Swapping` with the report.  If it raises, or takes longer than the ``hook_timeout`` of `load`,
    the module goes back to the version before, with its data, and the swap raises a `HookError`.
    """
    return HookList(control_of(module).after)


def run_all(
    functions: Sequence[Callable[[Swapping], object]], told: Swapping, control: Control, busy: frozenset[Control]
) -> None:
    """Run hooks of a program's one after the other.  Raises `HookError`.

    ``busy``: modules that are being swapped, which a hook therefore can't ask for.
    """
    for function in tuple(functions):
        name = getattr(function, "__qualname__", repr(function))
        when = "after" if told.report is not None else "before"
        subject = f"the hook {name} that runs {when} a swap"
        running = Running("hook", partial(function, told), busy)
        timeout = control.options.hook_timeout
        if not running.wait(timeout):
            what = f"{subject} hasn't returned within {timeout:g} s"
            todo = "let it do less, or allow more with hook_timeout= in midflight.load"
            raise HookError(what, subject=control.name, todo=todo)
        _result_of(running, subject, control)


def _result_of(running: Running, subject: str, control: Control) -> Any:
    try:
        return running.result()
    except Exception as error:
        own = error if isinstance(error, MidflightError) else None  # which says what goes on in words of its own
        what = f"{subject} raised {type(error).__name__}: {own.what if own else error}"
        todo = own.todo if own and own.todo else "mend the hook, or what it found"
        raise HookError(what, subject=control.name, todo=todo) from error
