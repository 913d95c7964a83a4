"""Swaps the rules under the running server, and keeps the record of what was done and what was refused."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import midflight

from workshop import TITLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import ModuleType

    from server import GameServer
    from workshop import Workshop


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt: a report, or the error that refused it.  ``wanted`` is the class of the refusal."""

    title: str
    seconds: float
    report: midflight.Report | None = None
    error: midflight.MidflightError | None = None
    wanted: type[midflight.MidflightError] | None = None

    @property
    def as_planned(self) -> bool:
        """Whether a good version was taken and a bad one refused, for the right reason."""
        if self.wanted is None:
            return self.report is not None and self.report.changed
        return isinstance(self.error, self.wanted)


@dataclass
class Deployment:
    """The rules of one server, and the workshop in which they are edited.

    ``versions`` are all that were ever loaded, ``paths`` the files that were mapped for them.  ``number`` is the number
    of the rules that the server runs now, ``earlier`` of those that a rollback goes back to.
    """

    rules: ModuleType
    server: GameServer
    workshop: Workshop
    number: int
    earlier: int = 0
    versions: list[midflight.Version] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._note(midflight.versions(self.rules)[-1])

    def _note(self, version: midflight.Version) -> None:
        self.versions.append(version)
        self.paths.add(version.path)

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
        began = time.perf_counter()
        try:
            report = await swap()
        except midflight.MidflightError as error:
            outcome = Outcome(title, time.perf_counter() - began, error=error, wanted=wanted)
        else:
            outcome = Outcome(title, time.perf_counter() - began, report=report, wanted=wanted)
            if report.changed:
                self.number, self.earlier = number, self.number
                self._note(report.new)
        self.server.allowed = frozenset({self.number})
        self.outcomes.append(outcome)
        return outcome
