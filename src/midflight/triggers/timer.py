"""Look for new bytes at regular times.

Guarantees: all timers share one thread, which exists while there are timers; it only marks runners, so a slow swap
delays no other module's timer, and a swap never overlaps itself.  Times are monotonic: setting the clock changes
nothing.  Looks that couldn't happen in time (the machine slept) are not made up for.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING

from midflight._errors import TriggerError
from midflight.triggers.module import runner_of
from midflight.triggers.trigger import Trigger

if TYPE_CHECKING:
    from types import ModuleType

    from midflight.triggers.runner import Runner


_SHORTEST = 0.001


class TimerTrigger(Trigger):
    """Looks every ``seconds`` whether its modules' inputs have new content, and swaps those that have."""

    def __init__(self, seconds: float, runners: tuple[Runner, ...], clock: Clock) -> None:
        super().__init__(runners)
        self.seconds = seconds
        self.due = time.monotonic() + seconds
        self._clock = clock
        clock.add(self)

    def look(self, now: float) -> None:
        """Let the runners look."""
        self.due = now + self.seconds
        for runner in self._runners:
            runner.mark()

    def _detach(self) -> None:
        self._clock.remove(self)


class Clock:
    """The thread of all timers."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as new, without any timer; for a forked child, in which the thread doesn't exist."""
        self._changed = threading.Condition()
        self._timers: list[TimerTrigger] = []
        self._thread: threading.Thread | None = None

    def add(self, timer: TimerTrigger) -> None:
        """Serve one more timer."""
        with self._changed:
            self._timers.append(timer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="midflight-timer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def remove(self, timer: TimerTrigger) -> None:
        """Serve one timer fewer; the last removal waits for the thread's end."""
        with self._changed:
            if timer in self._timers:
                self._timers.remove(timer)
            thread = None
            if not self._timers:
                thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        with self._changed:
            while self._thread is threading.current_thread():
                self._timers = [timer for timer in self._timers if timer.active]
                if not self._timers:
                    self._thread = None
                    return
                now = time.monotonic()
                for timer in self._timers:
                    if timer.due <= now:
                        timer.look(now)
                self._changed.wait(max(0.0, min(timer.due for timer in self._timers) - now))


clock = Clock()
os.register_at_fork(after_in_child=clock.forget)


def every(seconds: float, *modules: ModuleType) -> TimerTrigger:
    """Look every ``seconds`` whether there are new bytes for ``modules``, and swap to them.

    Contents are compared, not file times.  Raises `TriggerError`, or `SwapError` for what `midflight.load` didn't
    return.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not _SHORTEST <= seconds < math.inf:
        what = f"{seconds!r} is no number of seconds, or less than a thousandth"
        raise TriggerError(what, todo="write every(1.0, module)")
    if not modules:
        raise TriggerError("no module was given", todo="write every(1.0, module)")
    return TimerTrigger(seconds, tuple(dict.fromkeys(runner_of(module) for module in modules)), clock)
