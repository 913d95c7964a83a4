"""The record of what was done with one module, and of what was refused."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import midflight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType


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


class History:
    """``versions`` are all that were ever loaded, ``paths`` the files that were mapped for them."""

    def __init__(self, module: ModuleType) -> None:
        first = midflight.versions(module)[-1]
        self.versions = [first]
        self.paths = {first.path}
        self.outcomes: list[Outcome] = []

    @property
    def done(self) -> list[midflight.Report]:
        """The swaps that were done."""
        reports = (outcome.report for outcome in self.outcomes)
        return [report for report in reports if report is not None and report.changed]

    @property
    def refused(self) -> list[midflight.MidflightError]:
        """The swaps that were refused."""
        return [outcome.error for outcome in self.outcomes if outcome.error is not None]

    async def attempt(
        self,
        title: str,
        swap: Callable[[], Awaitable[midflight.Report]],
        wanted: type[midflight.MidflightError] | None = None,
    ) -> Outcome:
        """Swap, and note what became of it."""
        began = time.perf_counter()
        try:
            report = await swap()
        except midflight.MidflightError as error:
            outcome = Outcome(title, time.perf_counter() - began, error=error, wanted=wanted)
        else:
            outcome = Outcome(title, time.perf_counter() - began, report=report, wanted=wanted)
            if report.changed:
                self.versions.append(report.new)
                self.paths.add(report.new.path)
        self.outcomes.append(outcome)
        return outcome
