"""Locks that the child of a fork finds free.

The thread that held a lock at the moment of the fork isn't in the child, so nobody there would ever give it back.  What
the lock protects must be sound at any moment: a cache that is filled in one step, for example.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Lock:
    """A reentrant lock, for ``with`` only."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Only what this thread holds: a fork inside the block has left the child with a new, free lock.
        if self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            self._lock.release()


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_locks):
        lock.renew()


os.register_at_fork(after_in_child=_after_fork)
