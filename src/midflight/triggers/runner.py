"""One runner for each module: whatever triggers ask for, it does one swap after the other, with the newest bytes.

Guarantees:
- `Runner.mark` may be called from any thread, from a signal handler and from a finalizer: it takes no lock that Python
  code could be interrupted in, and never waits.
- Any number of marks before a round starts is one round.  A mark during a round is one more round after it, so the
  bytes that a mark was about are always looked at after it was made.
- An unforced round swaps only if an input's content differs from what the last build saw.  Content that was refused is
  therefore tried, and reported, once.
- No round starts after `release` by the last user has returned, or when the module is gone.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from midflight._errors import MidflightError, UnloadedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK: Final = "look"
_FORCE: Final = "force"
_STOP: Final = "stop"

_Mark: TypeAlias = str | threading.Event
"""What is in a runner's queue; an event is set when all that was asked for before it is done."""

_log = logging.getLogger("midflight")


class Target(Protocol):
    """What a runner swaps."""

    name: str

    @property
    def alive(self) -> bool:
        """Whether there is still a module to swap."""

    def inputs(self) -> frozenset[Path]:
        """Return the files to watch."""

    def missing(self) -> frozenset[Path]:
        """Return the files without which a swap needn't be tried."""

    def changed(self) -> bool:
        """Tell whether an input's content differs from what the last build saw."""

    def swap(self) -> None:
        """Swap to the newest bytes.  Raises `MidflightError`, which it has reported itself."""


class Runner:
    """Swaps one target, in a thread that exists while a trigger uses the runner."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.after_swap: Callable[[], None] | None = None
        # SimpleQueue.put is reentrant by its documentation: it is made for signal handlers and finalizers.
        self._queue: queue.SimpleQueue[_Mark] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._users = 0
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether rounds can still happen."""
        return self.target.alive

    def acquire(self) -> None:
        """Use the runner: from now on marks have an effect."""
        with self._lock:
            self._users += 1
            if self._thread is None or not self._thread.is_alive():
                self._queue = queue.SimpleQueue()  # one queue for each thread: an old one can't take a new one's marks
                self._thread = threading.Thread(
                    target=self._work, args=(self._queue,), name=f"midflight-swap-{self.target.name}", daemon=True
                )
                self._thread.start()

    def release(self) -> None:
        """Stop using the runner.  The last user's release waits for a round that is under way."""
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            thread, self._thread = self._thread, None
            self._queue.put(_STOP)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def mark(self, *, force: bool = False) -> None:
        """Ask for a round; ``force``: swap even if no input's content changed."""
        self._queue.put(_FORCE if force else _LOOK)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until every mark made so far has been dealt with; return False if it took longer than ``timeout``."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                return True
            done = threading.Event()
            self._queue.put(done)
        return done.wait(timeout)

    def _work(self, marks: queue.SimpleQueue[_Mark]) -> None:
        ended = False
        while not ended:
            wanted = [marks.get(), *_drain(marks)]
            ended = _STOP in wanted or not self.alive
            if not ended and (_FORCE in wanted or _LOOK in wanted):
                ended = self._round(force=_FORCE in wanted)
            if ended:
                wanted += _drain(marks)
            for mark in wanted:
                if isinstance(mark, threading.Event):
                    mark.set()

    def _round(self, *, force: bool) -> bool:
        """Look and swap; return True if there is nothing left to swap."""
        target = self.target
        try:
            # In this order: a file deleted in between is then missing, not changed.
            if not force and (not target.changed() or target.missing()):
                return False
            target.swap()
        except UnloadedError:
            return True
        except MidflightError as error:
            _log.debug("%s: %s", target.name, error)
        except Exception:  # noqa: BLE001 - the thread has to outlive whatever a swap does wrong
            _log.exception("%s: a triggered swap failed in an unexpected way", target.name)
        if self.after_swap is not None:
            self.after_swap()
        return False


def _drain(marks: queue.SimpleQueue[_Mark]) -> list[_Mark]:
    found: list[_Mark] = []
    while True:
        try:
            found.append(marks.get_nowait())
        except queue.Empty:
            return found
