"""Tells listeners when a compiler or build command starts and ends, so that a person can be shown that one runs.

Guarantees: listeners are called in the thread that builds; each `Started` is followed by one `Finished` with the same
number; an exception in a listener is logged and changes nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Started:
    """A build has begun."""

    number: int
    display: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A build has ended, in so many ``seconds``."""

    number: int
    display: str
    seconds: float
    succeeded: bool


Event: TypeAlias = Started | Finished

_log = logging.getLogger("midflight")
_numbers = itertools.count(1)
_listeners: tuple[Callable[[Event], None], ...] = ()


def listen(callback: Callable[[Event], None]) -> Callable[[], None]:
    """Call ``callback`` for each event from now on; return a function that ends it."""
    global _listeners  # noqa: PLW0603 - replaced as a whole, so that emitting needs no lock
    _listeners = (*_listeners, callback)

    def stop() -> None:
        global _listeners  # noqa: PLW0603
        _listeners = tuple(listener for listener in _listeners if listener is not callback)

    return stop


@contextlib.contextmanager
def building(display: str) -> Iterator[None]:
    """Announce a build for as long as the block runs."""
    number, start, succeeded = next(_numbers), time.perf_counter(), False
    _emit(Started(number, display))
    try:
        yield
        succeeded = True
    finally:
        _emit(Finished(number, display, time.perf_counter() - start, succeeded))


def _emit(event: Event) -> None:
    for listener in _listeners:
        try:
            listener(event)
        except Exception:  # noqa: BLE001 - whatever a listener does wrong, the build goes on
            _log.exception("a listener for build progress failed")
