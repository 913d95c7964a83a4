"""What every trigger is to its user: something that can be stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from midflight.triggers.runner import Runner


class Trigger:
    """Starts swaps until `stop` is called; a context manager that stops at its end."""

    def __init__(self, runners: tuple[Runner, ...]) -> None:
        self._runners = runners
        self._stop_lock = threading.Lock()
        self._stopped = False
        for runner in runners:
            runner.acquire()

    @property
    def active(self) -> bool:
        """Whether it can still start swaps."""
        return not self._stopped and any(runner.alive for runner in self._runners)

    @property
    def runners(self) -> tuple[Runner, ...]:
        """The runners of its modules."""
        return self._runners

    def stop(self) -> None:
        """Start no more swaps.  A swap that is under way is waited for, unless this is called from within it."""
        with self._stop_lock:
            if self._stopped:
                return
            self._stopped = True
        self._detach()
        for runner in self._runners:
            runner.release()

    def _detach(self) -> None:
        """Cut the connection to what triggers it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
