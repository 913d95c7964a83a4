"""The end of the demo: what was counted, as tables, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import midflight
from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from histogram import Histogram
    from history import History
    from server import GameServer
    from wildlife import Wildlife

CALM = "calm"
STORM = "storm"
_MODULES = 2
"""The rules and the wildlife."""


@dataclass
class Result:
    """All that is known when the game is over."""

    server: GameServer
    rules: History
    wildlife: Wildlife
    bots: dict[str, Any]
    still_mapped: int
    memory_before: int
    memory_after: int
    seconds: float

    @property
    def histories(self) -> tuple[History, History]:
        """What was done with each module."""
        return self.rules, self.wildlife.history

    @property
    def done(self) -> list[midflight.Report]:
        """The swaps that were done."""
        return [report for history in self.histories for report in history.done]

    @property
    def refused(self) -> list[midflight.MidflightError]:
        """The swaps that were refused."""
        return [error for history in self.histories for error in history.refused]

    @property
    def versions(self) -> list[midflight.Version]:
        """All that were ever loaded."""
        return [version for history in self.histories for version in history.versions]

    @property
    def lost(self) -> int:
        """Requests that got no answer, or an error."""
        return int(self.bots["sent"] - self.bots["answered"]) + self.server.failed

    @property
    def dropped(self) -> int:
        """Connections that ended without a farewell, as either side saw it."""
        return max(self.server.dropped, int(self.bots["dropped"]))

    @property
    def mixed_up(self) -> int:
        """Answers that don't fit the rules by which they say they were made, or that other rules should have made."""
        return int(self.bots["wrong"]) + self.server.stale + self.server.mixed_ticks

    def failures(self) -> Iterator[str]:
        """Tell what went wrong, one line each; nothing if all is well."""
        if self.lost:
            yield f"calls lost: {self.lost}"
        if self.dropped:
            yield f"clients dropped: {self.dropped}"
        if self.mixed_up:
            yield f"answers mixed up: {self.mixed_up}, {self.server.stale} of them of rules that weren't current"
        yield from self.bots["complaints"]
        yield from self.wildlife.faults
        if self.still_mapped > _MODULES:
            yield f"versions still mapped: {self.still_mapped} instead of {_MODULES}"
        for history in self.histories:
            yield from _not_as_planned(history)


def _not_as_planned(history: History) -> Iterator[str]:
    for outcome in history.outcomes:
        if not outcome.as_planned:
            yield f"{outcome.title}: {_first_line(outcome.error) if outcome.error else 'was not refused'}"
    for version in history.versions[:-1]:
        if version.status != "unloaded":
            yield f"{version!r} should be unloaded"


def show(console: Console, result: Result) -> bool:
    """Print the scoreboard; say whether all went well."""
    console.print(_counts(result))
    console.print(_latencies(result))
    failures = list(result.failures())
    for failure in failures:
        console.print(Text(f"✘ {failure}", style="red"))
    if not failures:
        calls, swaps = result.server.calls, len(result.done)
        verdict = f"✔ {swaps} swaps under {calls:,} calls: none lost, none mixed up, nobody dropped."
        console.print(Text(verdict, style="bold green"))
    return not failures


def _counts(result: Result) -> Table:
    table = Table(box=box.ROUNDED, title="Scoreboard", title_style="bold", show_header=False, width=80)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    bots, server = result.bots, result.server
    by_rules = ", ".join(f"{count:,} by rules {rules}" for rules, count in sorted(bots["by_rules"].items()))
    table.add_row("calls made", f"{server.calls:,}  [dim]({by_rules}, {server.ticks * 3:,} by the clock)[/]")
    table.add_row("calls lost", _zero(result.lost))
    table.add_row("answers mixed up", _zero(result.mixed_up))
    table.add_row("clients dropped", _zero(result.dropped))
    table.add_section()
    table.add_row("swaps done", f"{len(result.done)}  [dim]{_spent(result.done)}[/]")
    table.add_row("swaps refused", f"{len(result.refused)}  [dim](each with the old version still running)[/]")
    for reason, count in _reasons(result.refused).items():
        table.add_row("", Text.assemble((f"{count:>4} x ", "bold"), reason))
    table.add_row("pause", f"{_pause(result.rules)} in the rules, which have no data of their own")
    table.add_section()
    _add_wildlife(table, result.wildlife)
    table.add_section()
    versions = result.versions
    unloaded = sum(version.status == "unloaded" for version in versions)
    table.add_row("versions", f"{len(versions)} loaded, {unloaded} unloaded, {result.still_mapped} still mapped")
    table.add_row("memory", f"{_mebibytes(result.memory_before)} before, {_mebibytes(result.memory_after)} after")
    table.add_row("time", f"{result.seconds:.1f} s in all")
    return table


def _add_wildlife(table: Table, wildlife: Wildlife) -> None:
    swaps, ticks = wildlife.history.done, wildlife.ticks.total()
    table.add_row("creatures", f"{wildlife.creatures:,}, moved to another layout by {len(swaps)} swaps")
    table.add_row("their pause", f"{_pause(wildlife.history)}, for callers to wait while the data move")
    table.add_row("their ticks", f"{ticks:,} made; {wildlife.checks} checks of every creature")
    table.add_row("creatures wrong", _zero(len(wildlife.faults)))


def _pause(history: History) -> str:
    longest = max((report.pause for report in history.done), default=0.0)
    return "none" if longest == 0 else f"{longest * 1e3:.1f} ms at most"


def told_state(report: midflight.Report) -> str:
    """Say what became of the library's own data, if it has any, and for how long callers had to wait."""
    if not report.state:
        return ""
    carried = sum(row.what == "carried" for row in report.state)
    others = [str(row) for row in report.state if row.what != "carried"]
    return "; ".join([f", a pause of {report.pause * 1e3:.1f} ms: {carried} variables carried", *others])


def _latencies(result: Result) -> Table:
    table = Table(box=box.ROUNDED, width=80)
    table.add_column("latency", header_style="cyan", no_wrap=True)
    for heading in ("p50", "p99", "p99.9", "samples"):
        table.add_column(heading, justify="right", header_style="cyan", no_wrap=True)
    phases = ((CALM, "without swapping"), (STORM, "while swapping"))
    for title, found in (("a reply", result.bots["latencies"]), ("a call", result.server.latencies)):
        for phase, label in phases:
            if phase in found:
                table.add_row(f"{title}, {label}", *_percentiles(found[phase]), f"{len(found[phase]):,}")
        table.add_section()
    return table


def _percentiles(found: Histogram) -> Iterator[str]:
    for share in (0.5, 0.99, 0.999):
        seconds = found.percentile(share)
        yield f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"  # noqa: PLR2004


def _spent(reports: list[midflight.Report]) -> str:
    seconds = sorted(report.seconds for report in reports)
    if not seconds:
        return ""
    median, longest = seconds[len(seconds) // 2] * 1e3, seconds[-1] * 1e3
    return f"(the median one took {median:.1f} ms, the longest, with a build, {longest:.0f} ms)"


def _reasons(errors: list[midflight.MidflightError]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for error in errors:
        reason = explain(error)
        reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def explain(error: midflight.MidflightError) -> str:
    """Return the reason for a refusal as one line: of a failed build the compiler's first error."""
    if isinstance(error, midflight.BuildError):
        for found in error.diagnostics:
            if found.severity == "error":
                return f"{found.file.rpartition('/')[2]}:{found.line}: {found.message}"
    if isinstance(error, midflight.IncompatibleError) and error.changes:
        return "; ".join(error.changes)
    return error.what


def _first_line(error: midflight.MidflightError | None) -> str:
    return str(error).partition("\n")[0]


def _zero(count: int) -> Text:
    return Text(f"{count:,}", style="bold green" if count == 0 else "bold red")


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
