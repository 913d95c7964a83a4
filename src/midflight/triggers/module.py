"""The modules that triggers swap, and the one runner that each of them has.

Guarantees: nothing here keeps a module alive; a module's runner is the same for all of its triggers.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from midflight import _swap
from midflight._control import control_of
from midflight.triggers.runner import Runner

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from midflight._control import Control


class ModuleTarget:
    """A module as a runner sees it.  Raises `SwapError` for what `load` didn't return."""

    def __init__(self, module: ModuleType) -> None:
        self.name = control_of(module).name
        self._module = weakref.ref(module)

    @property
    def alive(self) -> bool:
        """Whether the module is still there."""
        return self._module() is not None

    def inputs(self) -> frozenset[Path]:
        """Return the files that the module's source depends on."""
        control = self._control()
        return control.source.inputs() | control.expected.inputs(control.source) if control is not None else frozenset()

    def missing(self) -> frozenset[Path]:
        """Return those of them that it can't do without and that aren't there."""
        control = self._control()
        return control.source.missing() if control is not None else frozenset()

    def changed(self) -> bool:
        """Tell whether one has other content than the last build saw."""
        control = self._control()
        return control is not None and (control.source.changed() or control.expected.changed(control.source))

    def swap(self) -> None:
        """Swap the module; the swap itself reports a refusal."""
        module = self._module()
        if module is not None:
            _swap.swap(module)

    def _control(self) -> Control | None:
        module = self._module()
        return None if module is None else control_of(module)


_lock = threading.Lock()
_runners: weakref.WeakKeyDictionary[ModuleType, Runner] = weakref.WeakKeyDictionary()


def runner_of(module: ModuleType) -> Runner:
    """Return the module's runner.  Raises `SwapError` for what `load` didn't return."""
    target = ModuleTarget(module)
    with _lock:
        runner = _runners.get(module)
        if runner is None:
            runner = _runners[module] = Runner(target)
            # Wakes the thread, which then sees that the module is gone and ends.
            weakref.finalize(module, runner.mark).atexit = False
        return runner


def _after_fork() -> None:
    """In the child there are no threads of ours, and perhaps a lock that nobody will ever release."""
    global _lock, _runners  # noqa: PLW0603 - the parent's are of no use here
    _lock = threading.Lock()
    _runners = weakref.WeakKeyDictionary()


os.register_at_fork(after_in_child=_after_fork)
