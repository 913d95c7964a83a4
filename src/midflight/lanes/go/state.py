"""The data of Go packages: from version to version, and saved for a worker that crashes.

Guarantees:
- State is read while no call is inside the version (of ours; what goroutines of the package do, it does at any time).
- A move that fails leaves the old version as it was, and serving.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from midflight._errors import MidflightError, SwapError
from midflight.lanes.go import wire

if TYPE_CHECKING:
    from midflight._core import Link
    from midflight.lanes.go.code import GoCode

_log = logging.getLogger("midflight")

PATIENCE = 2.0
"""Seconds that calls under way are given to end before state is moved."""


def carry(old: GoCode, new: GoCode) -> None:
    """Move the state; the old version's callers wait from now on, until the new code hears `switched` or `retire`.

    Raises `SwapError`, with nothing changed.
    """
    new.held_since = time.perf_counter()
    if not old.gate.close(PATIENCE):
        what = f"its state can't be moved: calls have been under way for {PATIENCE:g} s"
        raise SwapError(what, subject=old.label, todo="swap when they have ended, or let them take less long")
    try:
        saved = old.ask(old.process.link, wire.SAVE, [])
        data, hook, _same, left = saved
        restored = new.ask(new.process.link, wire.RESTORE, [data, hook]) if data or hook is not None else [[], []]
    except MidflightError as error:
        old.gate.open()
        what = f"the state of version {old.number} can't be carried over: {error.what}"
        raise SwapError(what, subject=old.module, todo=error.todo) from error
    except BaseException:
        old.gate.open()
        raise
    _, dropped = restored
    new.warnings += tuple(f"{name} was left behind: version {new.number} doesn't have it" for name in dropped)
    new.warnings += tuple(f"{name} isn't carried, and starts as the source says: {why}" for name, why in left)
    new.predecessor = old


class Saver:
    """Saves a version's state from time to time, for a worker that takes the place of one that has crashed.

    ``seconds``, ``calls``: how often; None: not by that.
    """

    def __init__(self, code: GoCode, seconds: float | None, calls: int | None) -> None:
        self._code = weakref.ref(code)
        self._calls = calls
        self._count = 0
        self._saved: list[Any] | None = None
        self._stop = threading.Event()
        if seconds is not None:
            args = (self._code, seconds, self._stop)
            threading.Thread(target=_by_the_clock, args=args, name="midflight-go-saver", daemon=True).start()

    def called(self) -> None:
        """Note that a call has ended."""
        if self._calls is None:
            return
        self._count += 1
        if self._count >= self._calls:
            self._count = 0
            self.save()

    def save(self) -> None:
        """Save now, if the calls under way end soon."""
        code = self._code()
        if code is None or not code.gate.close(PATIENCE):
            return
        try:
            data, hook, _same, _left = code.ask(code.process.link, wire.SAVE, [])
            self._saved = [data, hook]
        except MidflightError as error:
            _log.warning("%s: its state couldn't be saved: %s", code.label, error)
        finally:
            code.gate.open()

    def restore(self, link: Link) -> None:
        """Give a fresh worker what was saved last."""
        code = self._code()
        if code is not None and self._saved is not None:
            code.ask(link, wire.RESTORE, self._saved)
            _log.info("%s: its state is as it was last saved", code.label)

    def keep(self, saved: list[Any]) -> None:
        """Take a state that is known already for the last saved one."""
        self._saved = saved

    def stop(self) -> None:
        """Save no more."""
        self._stop.set()


def _by_the_clock(code: weakref.ref[GoCode], seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        found = code()
        if found is None:
            return
        found.saver.save()
        del found
