"""Brings a cancellation to the call's context in the worker.

Guarantees: a call is cancelled whether the news comes to the worker before it, while it runs, or not at all because the
call has ended; nothing of a call that has ended stays in the worker.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._cancellation import Cancellation
    from midflight._core import Link, Worker

_CANCEL, _FORGET = 0, 1
"""What the worker is to do with a key; see golang/runtime/cancel.go."""

_keys = itertools.count(1)


class Cancels:
    """The calls into one version that are being cancelled."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._told: dict[int, None] = {}

    @contextmanager
    def watching(self, cancellation: Cancellation) -> Iterator[int]:
        """Make a key for a call that is made in the block; the worker cancels it by that."""
        key = next(_keys)
        try:
            with cancellation.watched(partial(self._tell, key)):
                yield key
        finally:
            if key in self._told:
                del self._told[key]
                self._say(self._worker.link, _FORGET, key)

    def repeat(self, link: Link) -> None:
        """Tell a fresh worker: a call that the one before hadn't begun comes to it."""
        for key in list(self._told):
            self._say(link, _CANCEL, key)

    def _tell(self, key: int) -> None:
        self._told[key] = None
        self._say(self._worker.link, _CANCEL, key)

    @staticmethod
    def _say(link: Link | None, what: int, key: int) -> None:
        if link is not None:
            link.cancel(what, key)
