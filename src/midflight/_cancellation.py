"""Says that the results of calls aren't wanted any more, to code that can be told so.

Guarantees: a `Cancellation` may be used by any number of threads and calls at once, also from a signal handler and in a
fork's child.  After `cancel` has returned, each call that it was given to, then or later, has been told or is over.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from midflight._fork import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Result = TypeVar("_Result")


class Cancellation:
    """Cancels calls that it was given to: ``shop.Search(query, cancel=cancellation)``.  It stays cancelled."""

    __slots__ = ("_calls", "_cancelled", "_mutex", "_numbers")

    def __init__(self) -> None:
        self._mutex = Lock()  # protects all below
        self._cancelled = False
        self._calls: dict[int, Callable[[], object]] = {}
        self._numbers = itertools.count()

    def __repr__(self) -> str:
        return f"<Cancellation, {'cancelled' if self._cancelled else 'not cancelled'}>"

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the calls under way, and those that it will be given to."""
        with self._mutex:
            self._cancelled = True
            while self._calls:
                self._calls.popitem()[1]()

    async def run(self, function: Callable[..., _Result], /, *arguments: Any, **keywords: Any) -> _Result:
        """Make a call in another thread and wait for it.  When the task is cancelled, the call is, too.

        So are the other calls that this object was given to.  The task ends when the call has come back.
        """
        call = asyncio.ensure_future(asyncio.to_thread(function, *arguments, cancel=self, **keywords))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            self.cancel()
            call.add_done_callback(_look_at)
            await asyncio.wait([call])
            raise

    @contextmanager
    def watched(self, tell: Callable[[], object]) -> Iterator[None]:
        """For lanes: during the block, ``tell`` is called once when this is cancelled, or at once if it is already."""
        number = next(self._numbers)
        with self._mutex:
            self._calls[number] = tell
            # Looked at afterwards: a signal handler may have come in between, in spite of the lock.
            if self._cancelled and self._calls.pop(number, None) is not None:
                tell()
        try:
            yield
        finally:
            with self._mutex:
                self._calls.pop(number, None)


def _look_at(call: asyncio.Future[Any]) -> None:
    """Take note of how a call ended that nobody waits for: otherwise asyncio reports it."""
    if not call.cancelled():
        call.exception()
