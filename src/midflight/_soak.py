"""What a swap with ``soak=`` gives to look at."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, TypeAlias

from midflight.soaking.verdict import not_compared

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._version import Version
    from midflight.soaking.comparison import Both

State: TypeAlias = Literal["under way", "passed", "went back", "superseded", "stuck"]


class Soak:
    """A new version's time of trial: a live object.

    ``state``: "under way"; "passed"; "went back" (to the version before, by a swap of its own); "superseded" (another
    swap, a rollback or an unload came first); "stuck" (it should have gone back, and couldn't).  ``reason``: why it
    isn't under way any more, "" if it passed.  ``seconds``: how long it lasts if nothing happens.
    """

    def __init__(self, module: str, old: Version, new: Version, seconds: float, stats: Callable[[], Both]) -> None:
        self.module = module
        self.old = old
        self.new = new
        self.seconds = seconds
        self.state: State = "under way"
        self.reason = ""
        self._read: Callable[[], Both] | None = stats
        self._last: Both | None = None
        self._ended = threading.Event()

    @property
    def stats(self) -> Both:
        """The figures of both versions, ``old`` and ``new`` (`SoakStats`): as they are now, or were at the end."""
        read = self._read
        last = read() if read is not None else self._last
        assert last is not None  # noqa: S101 - one of the two is there
        return last

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures are no evidence for: functions that were called too seldom."""
        return tuple(not_compared(*self.stats))

    def wait(self, timeout: float | None = None) -> State:
        """Wait until it has ended, at most so many seconds; return its state then."""
        self._ended.wait(timeout)
        return self.state

    def end(self, state: State, reason: str) -> None:
        """Note how it has ended.  For midflight itself."""
        self._last = self.stats
        self._read = None
        self.state, self.reason = state, reason
        self._ended.set()

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        old, new = self.stats
        what = f"{self.module}: the soak of version {self.new.number} {_SAID[self.state]}{why}"
        return f"{what} (version {self.new.number}: {new}; version {self.old.number}: {old})"

    def __repr__(self) -> str:
        return f"<Soak of version {self.new.number} of {self.module}: {self.state}>"


_SAID: dict[State, str] = {
    "under way": "is under way",
    "passed": "has passed",
    "went back": "has ended: it went back",
    "superseded": "has ended early",
    "stuck": "has failed, and it couldn't go back",
}
