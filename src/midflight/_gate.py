"""Holds callers back while the data of one or several modules move.

Guarantees:
- The gates of all modules of a transaction close and open together.
- They are closed only while calls under way are waited for, at most for the timeout, and while data move.
- When waiting fails, they are open again, and nothing has changed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import GateTimeoutError
from midflight._lane import set_yield

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._control import Control, Generation

_SHOWN = 8


class Closed:
    """The gates of some versions, closed.  ``seconds``: for how long they were, once they are open again."""

    def __init__(self, versions: Sequence[tuple[Control, Generation]]) -> None:
        """Close them.  Raises `SwapInsideError` from inside a call into one of them."""
        self.seconds = 0.0
        self._versions = versions
        self._start = time.perf_counter()
        self._gate = _core.Gate([generation.table for _, generation in versions])
        self._tell(wanted=True)

    def wait(self, timeout: float) -> None:
        """Wait until no call is under way.  Raises `GateTimeoutError`; they are to be opened then."""
        if self._gate.wait(timeout):
            return
        inside = self._inside(timeout)
        calls = "a call runs" if self._gate.inside == 1 else f"{self._gate.inside} calls run"
        what = f"data can't move while {calls} in it; waited {timeout:g} s for {'; '.join(inside)}"
        todo = "swap again later, allow more with timeout=, or let long calls poll midflight_should_yield()"
        names = ", ".join(control.name for control, _ in self._versions)
        raise GateTimeoutError(what, inside=inside, subject=names, todo=todo)

    def open(self) -> None:
        """Let callers go on.  May be called again."""
        self._tell(wanted=False)
        self._gate.open()
        if not self.seconds:
            self.seconds = time.perf_counter() - self._start

    def _tell(self, *, wanted: bool) -> None:
        for _, generation in self._versions:
            if generation.code is not None:
                set_yield(generation.code, wanted=wanted)

    def _inside(self, timeout: float) -> list[str]:
        """Say who is inside.  Nobody has come in since the gates closed; when they had come is not recorded."""
        threads = {thread.ident: thread.name for thread in threading.enumerate()}
        callers = self._gate.callers()
        said = [
            f"{functions[-1]} in thread {threads.get(thread, str(thread))!r}, called more than {timeout:g} s ago"
            for thread, functions in callers[:_SHOWN]
        ]
        rest = len(callers) - len(said)
        others = self._gate.inside - sum(len(functions) for _, functions in callers)
        said += [f"{rest} more threads"] if rest else []
        said += [f"{others} calls from threads that Python doesn't know"] if others > 0 else []
        return said
