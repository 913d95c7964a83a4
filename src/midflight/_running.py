"""Runs what might hang in a thread of its own, so that somebody can stop waiting for it.

Guarantee: whoever waits is told at the deadline; the thread goes on, and `finished` says when it has ended.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_here = threading.local()


class Running:
    """A call in a thread of its own.

    ``for_whom``: modules that are being swapped, which `runs_for` finds in that thread; ``then``: called at its end.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[], Any],
        for_whom: frozenset[Any] = frozenset(),
        then: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self._call = call
        self._for_whom = for_whom
        self._then = then
        self._ended = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._run,), name=f"midflight-{name}", daemon=True)
        thread.start()

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; return whether that came in time."""
        return self._ended.wait(timeout)

    def result(self) -> Any:
        """Return what it returned, or raise what it raised.  Precondition: it has ended."""
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        _here.for_whom = self._for_whom
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            self._error = error
        self._ended.set()
        self._then()


def runs_for() -> frozenset[Any]:
    """Return the modules (their records) in whose swap this thread runs a hook."""
    found: frozenset[Any] = getattr(_here, "for_whom", frozenset())
    return found
