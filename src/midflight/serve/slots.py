"""A worker's place: the process that serves in it, and how soon the next one may follow it when it dies.

Guarantees: a worker that keeps dying is started again ever more rarely, at most twice a minute, and reported once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from midflight.serve.process import Process

_SHORT_SECONDS = 10.0
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
_LOOP = 5


@dataclass(eq=False)
class Slot:
    """One of the places for workers, by its number from 1."""

    number: int
    process: Process | None = None
    draining: Process | None = None
    refill: asyncio.Task[None] | None = None
    deaths: int = 0
    short_lives: int = 0
    last_words: tuple[str, ...] = ()

    @property
    def crash_loop(self) -> bool:
        """Whether its workers die as soon as they are started."""
        return self.short_lives >= _LOOP

    @property
    def loop_begins(self) -> bool:
        """Whether that has been so since the last death."""
        return self.short_lives == _LOOP

    def died(self, seconds: float) -> None:
        """Take notice that a worker died after so many seconds."""
        self.deaths += 1
        self.short_lives = self.short_lives + 1 if seconds < _SHORT_SECONDS else 1

    def restarted(self) -> None:
        """Take notice that a restart put another version here."""
        self.short_lives = 0

    def delay(self) -> float:
        """Return for how many seconds to wait before the next start."""
        if self.short_lives <= 1:
            return 0.0
        return float(min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (self.short_lives - 2)))
