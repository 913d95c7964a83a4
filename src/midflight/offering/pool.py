"""Threads that run calls: a few, and one more for each that waits for a client's callback.

Guarantees: a job starts as soon as fewer than ``size`` threads are busy; a thread that waits for somebody else doesn't
count, so calls that wait for each other can't use up the pool.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger("midflight")
_IDLE_SECONDS = 10.0


class Pool:
    """Runs jobs in the order in which they come."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._waiting = 0  # threads that wait for somebody else
        self._stopped = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job as soon as there is a thread for it."""
        with self._changed:
            if self._stopped:
                return
            self._jobs.append(job)
            self._staff()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While this thread waits for somebody else, let another one take its place."""
        with self._changed:
            self._waiting += 1
            self._staff()
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= 1

    def stop(self) -> None:
        """Let the threads end when they have done what they are doing; jobs that haven't started are dropped."""
        with self._changed:
            self._stopped = True
            self._jobs.clear()
            self._changed.notify_all()

    def _staff(self) -> None:
        if not self._jobs or self._stopped:
            return
        if self._idle:
            self._changed.notify()
        if len(self._jobs) > self._idle and self._threads - self._waiting < self._size:
            self._threads += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException:  # noqa: BLE001 - the thread must live on
                _log.exception("a call failed in a way that nobody is told of")
            del job  # it may hold what is to be unloaded

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            try:
                surplus = self._threads - self._waiting > self._size
                while not self._jobs and not self._stopped and not surplus:
                    if not self._changed.wait(_IDLE_SECONDS) and not self._jobs:
                        break
                if self._jobs and not surplus and not self._stopped:
                    return self._jobs.popleft()
                self._threads -= 1
                return None
            finally:
                self._idle -= 1
