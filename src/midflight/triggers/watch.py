"""Swap on save."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from midflight import _probe
from midflight._control import control_of
from midflight._errors import TriggerError
from midflight.triggers.module import runner_of
from midflight.triggers.observer import Subscription, observer
from midflight.triggers.trigger import Trigger

if TYPE_CHECKING:
    from types import ModuleType

    from midflight.triggers.runner import Runner

SETTLE_SECONDS = 0.02


class Watcher(Trigger):
    """Swaps a module when one of the files that it is made from is saved.

    Guarantees: a save after `wait_ready` is never missed; saves that follow each other within the settling time are one
    swap; broken content is refused once, and the next good save applies.
    """

    def __init__(self, runner: Runner, settle: float) -> None:
        super().__init__((runner,))
        self._subscription = Subscription(runner, settle)
        # A swap, also a refused one, may have found other headers.
        runner.after_swap = observer.refresh
        observer.add(self._subscription)

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the files are being watched; return False if that took longer than ``timeout`` or won't happen."""
        return self._subscription.ready.wait(timeout) and self.active

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until all changes noticed so far have been dealt with; return False if it took too long."""
        return self._runners[0].wait_idle(timeout)

    def _detach(self) -> None:
        observer.remove(self._subscription)


_lock = threading.Lock()
_watchers: weakref.WeakKeyDictionary[ModuleType, Watcher] = weakref.WeakKeyDictionary()


def watch(module: ModuleType, *, settle: float = SETTLE_SECONDS) -> Watcher:
    """Swap ``module`` whenever one of its sources, headers or its library is saved, ``settle`` seconds afterwards.

    A module has one watcher: a second call returns the same, as long as it isn't stopped.  The watcher doesn't keep the
    module alive, and ends with it.  Raises `SwapError` for what `midflight.load` didn't return.
    """
    if not isinstance(settle, (int, float)) or not 0 < settle <= 60:  # noqa: PLR2004 - a minute is no settling
        what = f"settle={settle!r} is no number of seconds between 0 and 60"
        raise TriggerError(what, todo="leave it out for 0.02")
    runner = runner_of(module)
    _probe.expected(control_of(module))
    with _lock:
        watcher = _watchers.get(module)
        if watcher is None or not watcher.active:
            watcher = _watchers[module] = Watcher(runner, settle)
        return watcher


def _after_fork() -> None:
    global _lock, _watchers  # noqa: PLW0603 - the parent's are of no use here
    _lock = threading.Lock()
    _watchers = weakref.WeakKeyDictionary()


os.register_at_fork(after_in_child=_after_fork)
