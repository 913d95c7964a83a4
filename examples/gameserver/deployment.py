"""Swaps the rules under the running server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import midflight

from history import History, Outcome
from workshop import TITLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import ModuleType

    from server import GameServer
    from workshop import Workshop


@dataclass
class Deployment:
    """The rules of one server, and the workshop in which they are edited.

    ``number`` is the number of the rules that the server runs now, ``earlier`` of those that a rollback goes back to.
    """

    rules: ModuleType
    server: GameServer
    workshop: Workshop
    number: int
    earlier: int = 0
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.rules)

    async def save(self, number: int) -> Outcome:
        """Bring in one version of the rules, from its source."""
        self.workshop.save(number)
        return await self._try(f"rules {number}, {TITLES[number]}", number, lambda: midflight.aswap(self.rules))

    async def save_with_a_typo(self, number: int) -> Outcome:
        """Try one that doesn't compile."""
        self.workshop.save_with_a_typo(number)
        return await self._refuse("one that doesn't compile", midflight.BuildError)

    async def save_without_look(self, number: int) -> Outcome:
        """Try one that lacks a function."""
        self.workshop.save_without_look(number)
        return await self._refuse("one that lacks a function", midflight.IncompatibleError)

    async def bring_half_a_library(self) -> Outcome:
        """Try a library whose file is truncated."""
        library = midflight.versions(self.rules)[-1].path
        with open(library, "rb") as file:  # noqa: ASYNC230, PTH123 - a few kilobytes, of a file that may be in /proc
            self.workshop.copy_half(file.read())
        return await self._refuse("one whose library is truncated", midflight.BadLibraryError, self.workshop.library)

    async def roll_back(self) -> Outcome:
        """Return to the rules before."""
        back = self.earlier
        return await self._try(f"back to rules {back}", back, lambda: asyncio.to_thread(midflight.rollback, self.rules))

    async def _refuse(self, title: str, wanted: type[midflight.MidflightError], *source: Path) -> Outcome:
        return await self._try(title, self.number, lambda: midflight.aswap(self.rules, *source), wanted)

    async def _try(
        self,
        title: str,
        number: int,
        swap: Callable[[], Awaitable[midflight.Report]],
        wanted: type[midflight.MidflightError] | None = None,
    ) -> Outcome:
        """Swap, and tell the server which rules may run: both while the swap is on, one of them before and after."""
        self.server.allowed = frozenset({self.number, number})
        outcome = await self.history.attempt(title, swap, wanted)
        if outcome.report is not None and outcome.report.changed:
            self.number, self.earlier = number, self.number
        self.server.allowed = frozenset({self.number})
        return outcome
