"""How long calls into other processes may take, said where they are made."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_current: ContextVar[float | None] = ContextVar("midflight_call_timeout", default=None)


@contextlib.contextmanager
def call_timeout(seconds: float) -> Iterator[None]:
    """Give each call over a socket that is made in this block, by this thread or task, at most so many seconds."""
    mark = _current.set(seconds)
    try:
        yield
    finally:
        _current.reset(mark)


def current() -> float | None:
    """Return what `call_timeout` says here; None where it says nothing."""
    return _current.get()
