"""Holds calls back while the state of a version is read.

Guarantees:
- While a gate is closed nobody is inside, so nothing changes the state; but a thread that is inside already may go on
  with calls from there, or it could never come out.
- Who waits at a gate that leads elsewhere (`open` with a successor) is told where.
- In a fork's child it is open, and only the thread that forked may be inside.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.lanes.go.code import GoCode


class Moved(Exception):  # noqa: N818 - no error: it says where to go
    """The version has been replaced while a call waited; ``successor`` is the one that serves."""

    def __init__(self, successor: GoCode) -> None:
        super().__init__()
        self.successor = successor


class _Here(threading.local):
    depth = 0


class Gate:
    """The way into a version that has state."""

    def __init__(self) -> None:
        self._successor: GoCode | None = None
        self._here = _Here()
        self.renew()
        _gates.add(self)

    def renew(self) -> None:
        """Forget who waits and who is inside, besides this thread: the others aren't in a fork's child."""
        self._lock = threading.Lock()  # protects all but _here; taken directly where nobody is waited for or woken
        self._condition = threading.Condition(self._lock)
        self._inside = self._here.depth
        self._closed = False

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be inside."""
        self.enter(may_move=False)
        try:
            yield
        finally:
            self.leave()

    def enter(self, *, may_move: bool) -> None:
        """Go in.  Raises `Moved` if the version was replaced while we waited, and ``may_move``."""
        here = self._here
        with self._lock:
            if self._closed and not here.depth:
                while self._closed:
                    self._condition.wait()
                if self._successor is not None and may_move:
                    raise Moved(self._successor)
            self._inside += 1
        here.depth += 1

    def leave(self) -> None:
        """Come out again."""
        self._here.depth -= 1
        with self._lock:
            self._inside -= 1
            if self._closed:
                self._condition.notify_all()

    def close(self, timeout: float) -> bool:
        """Let nobody in, and wait until nobody is inside; return whether that came in time, else open again."""
        with self._condition:
            while self._closed:
                self._condition.wait()
            self._closed = True
            if self._condition.wait_for(lambda: self._inside == 0, timeout):
                return True
            self._closed = False
            self._condition.notify_all()
            return False

    def open(self, successor: GoCode | None = None) -> None:
        """Let everybody go on: here, or in the version that has taken over."""
        with self._condition:
            self._closed = False
            self._successor = successor or self._successor
            self._condition.notify_all()


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()


def _after_fork() -> None:
    for gate in list(_gates):
        gate.renew()


os.register_at_fork(after_in_child=_after_fork)
