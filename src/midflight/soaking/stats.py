"""What was counted of a version's calls, to read and to compare.

Times are in seconds, and begin when a call finds its version: they include converting arguments, and waiting for a
worker that is busy, but not for the GIL afterwards, which other threads are to blame for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from midflight._samples import slots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midflight._control import Control, Generation
    from midflight._core import BucketFacts, CallFacts, Observer

_NANO = 1e-9


class UnderWay(NamedTuple):
    """A call that hasn't ended: its function, its thread's number, and for how many seconds."""

    function: str
    thread: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SoakStats:
    """The figures of one version, or of one of its functions.

    ``calls``: those that have ended and had reached the version's code; ``errors``: those of them that failed by its
    doing (a C++ exception, a panic, a Go error, a crash, a timeout), and not by a callback's or a caller's;
    ``crashes``: those of these that crashed; ``under_way``: calls that haven't ended.  ``functions``: the same by
    function, for those that were called; of a function itself it is empty.
    """

    calls: int = 0
    errors: int = 0
    crashes: int = 0
    under_way: tuple[UnderWay, ...] = ()
    functions: Mapping[str, SoakStats] = field(default_factory=dict)
    _total: int = 0
    _longest: int = 0
    _buckets: tuple[BucketFacts, ...] = ()

    @property
    def error_rate(self) -> float:
        """The share of calls that failed; 0 if there were none."""
        return self.errors / self.calls if self.calls else 0.0

    @property
    def mean(self) -> float:
        """The mean time of a call; nan if there were none."""
        return self._total * _NANO / self.calls if self.calls else math.nan

    @property
    def longest(self) -> float:
        """The longest time of a call, ended or under way; 0 if there were none."""
        return max([self._longest * _NANO, *(call.seconds for call in self.under_way)])

    @property
    def median(self) -> float:
        """The time that half of the calls didn't exceed; nan if there were none."""
        return self.percentile(0.5)

    @property
    def p99(self) -> float:
        """The time that 99 % of the calls didn't exceed; nan if there were none."""
        return self.percentile(0.99)

    def percentile(self, share: float) -> float:
        """Return the time that a share of the calls didn't exceed, at most a sixteenth too great; nan for no calls."""
        return self.at_rank(math.ceil(share * self.calls))[1]

    def at_rank(self, rank: int) -> tuple[float, float]:
        """Return between which times the n-th fastest call lies; (nan, nan) if there are none."""
        for low, high, count in self._buckets:
            rank -= count
            if rank <= 0:
                return low * _NANO, min(high, self._longest) * _NANO
        return math.nan, math.nan

    def __str__(self) -> str:
        if not self.calls:
            return "no calls"
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        return f"{calls}, {self.errors:,} failed, median {seconds(self.median)}, p99 {seconds(self.p99)}"


def read(control: Control, generation: Generation, observer: Observer) -> SoakStats:
    """Return what an observer of a version has counted so far."""
    facts, under_way = observer.figures(), observer.under_way()
    by_function: dict[str, SoakStats] = {}
    for name, slots in slots_of(control, generation).items():
        mine = tuple(UnderWay(name, thread, spent) for slot, thread, spent in under_way if slot in slots)
        rows = [facts[slot] for slot in slots if slot in facts]
        if mine or any(row[0] for row in rows):
            by_function[name] = _sum(rows, mine)
    every = tuple(call for one in by_function.values() for call in one.under_way)
    return _sum(facts.values(), every, by_function)


def _sum(
    rows: Iterable[CallFacts], under_way: tuple[UnderWay, ...], functions: Mapping[str, SoakStats] | None = None
) -> SoakStats:
    calls = errors = crashes = total = longest = 0
    buckets: dict[tuple[int, int], int] = {}
    for row in rows:
        calls, errors, crashes, total = calls + row[0], errors + row[1], crashes + row[2], total + row[4]
        longest = max(longest, row[5])
        for low, high, count in row[6]:
            buckets[low, high] = buckets.get((low, high), 0) + count
    ordered = tuple((low, high, count) for (low, high), count in sorted(buckets.items()))
    return SoakStats(calls, errors, crashes, under_way, functions or {}, total, longest, ordered)


def seconds(value: float) -> str:
    """Write a time as people do."""
    if math.isnan(value):
        return "unknown"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"
