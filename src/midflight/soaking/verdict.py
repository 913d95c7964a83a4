"""Whether a new version does worse than the one before it: what the figures say, and what they don't.

Nothing here knows a clock or a running program.  A version is sent back by evidence only:
- Each function is compared with itself, since the mix of calls may change.
- Error rates: the lower end of Wilson's interval must be past the limit, and at least `MIN_ERRORS` calls have failed.
  The limit is absolute where the old version was hardly called.
- Times: the lower end of the interval of a new version's quantile must be past the limit times the upper end of the old
  one's (intervals by order statistics, which suppose nothing about the distribution), by more than what a machine's
  noise makes.  So three slow calls say nothing; and where there are too few calls nothing is compared, which is said.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from midflight.soaking.stats import SoakStats, seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from midflight._trial import Soaking

MIN_ERRORS = 3
"""Calls of a function that must have failed before its error rate is judged."""

DEVIATIONS = 3.0
"""How many standard deviations wide intervals are to each side: 1 of 740 equal versions is outside of one."""

MIN_CALLS = 30
"""Calls of a function, in both versions, before its times are compared."""

HANG_FLOOR, HANG_FACTOR = 5.0, 10.0
"""A call hangs that has been under way for so many seconds (or half of the soak), and so many times as long as the old
version's longest."""


class _Quantile(NamedTuple):
    """``noise``: seconds of difference that say nothing: in this process, and in another.

    The tail of a distribution is a busy machine's; and a call into another process takes some 60 µs more whenever one
    side has had to go to sleep.
    """

    name: str
    share: float
    noise: tuple[float, float]

    @property
    def fewest(self) -> int:
        """How many calls there must be for the interval to have two ends."""
        return max(MIN_CALLS, math.ceil(DEVIATIONS**2 * self.share / (1 - self.share)))


_QUANTILES = (_Quantile("median", 0.5, (1e-6, 2e-4)), _Quantile("p99", 0.99, (1e-4, 5e-3)))

_NOTHING = SoakStats()


def findings(
    old: SoakStats, new: SoakStats, soaking: Soaking, unjudged: Collection[str] = (), *, elsewhere: bool = False
) -> Iterator[str]:
    """Say what a new version does worse, a line each.

    ``unjudged``: functions that the old version has been in since nobody knows when: how long their calls take isn't
    known.  ``elsewhere``: whether one of the versions runs in another process.
    """
    for name, mine in new.functions.items():
        before = old.functions.get(name, _NOTHING)
        if mine.crashes:
            yield f"{name} has crashed"
        yield from _errors(name, before, mine, soaking.max_error_rate)
        yield from _times(name, before, mine, soaking.max_slowdown, elsewhere=elsewhere)
        if name not in unjudged:
            yield from _hangs(name, before, mine, soaking.seconds)


def not_compared(old: SoakStats, new: SoakStats) -> Iterator[str]:
    """Say what the figures are no evidence for, a line each."""
    if not new.calls and not new.under_way:
        yield "the new version wasn't called, so nothing is known of it"
    few = [
        f"{name} ({old.functions.get(name, _NOTHING).calls:,} and {mine.calls:,} calls)"
        for name, mine in new.functions.items()
        if min(mine.calls, old.functions.get(name, _NOTHING).calls) < MIN_CALLS
    ]
    if few:
        yield f"too few calls of the old and the new version to compare times: {', '.join(few)}"


# ---- errors ---------------------------------------------------------------------------------------------------------


def _errors(name: str, old: SoakStats, new: SoakStats, allowed: float) -> Iterator[str]:
    if new.errors >= MIN_ERRORS and wilson(new.errors, new.calls) > old.error_rate + allowed:
        before = f"in the old version {old.errors:,} of {old.calls:,}" if old.calls else "the old one wasn't called"
        yield f"{name} fails: {new.errors:,} of {new.calls:,} calls; {before}"


def wilson(errors: int, calls: int) -> float:
    """Return the lower end of Wilson's interval for a share (E. B. Wilson, 1927)."""
    share, square = errors / calls, DEVIATIONS**2
    spread = DEVIATIONS * math.sqrt(share * (1 - share) / calls + square / (4 * calls**2))
    return (share + square / (2 * calls) - spread) / (1 + square / calls)


# ---- times ----------------------------------------------------------------------------------------------------------


def _times(name: str, old: SoakStats, new: SoakStats, factor: float, *, elsewhere: bool) -> Iterator[str]:
    for quantile in _QUANTILES:
        if min(old.calls, new.calls) < quantile.fewest:
            continue
        limit = factor * _bound(old, quantile.share, DEVIATIONS)
        if _bound(new, quantile.share, -DEVIATIONS) > limit + quantile.noise[elsewhere]:
            found, before = new.percentile(quantile.share), old.percentile(quantile.share)
            calls = f"{new.calls:,} calls, and {old.calls:,} of the old version"
            yield f"{name} is slow: its {quantile.name} is {seconds(found)}, and was {seconds(before)} ({calls})"
            return


def _bound(stats: SoakStats, share: float, deviations: float) -> float:
    """Return one end of a quantile's interval."""
    rank = share * stats.calls + deviations * math.sqrt(stats.calls * share * (1 - share))
    if deviations > 0:
        return stats.at_rank(min(stats.calls, math.ceil(rank)))[1]
    return stats.at_rank(max(1, math.floor(rank)))[0]


# ---- calls that don't come back -------------------------------------------------------------------------------------


def _hangs(name: str, old: SoakStats, new: SoakStats, soak: float) -> Iterator[str]:
    limit = max(min(HANG_FLOOR, soak / 2), HANG_FACTOR * old.longest)
    longest = max((call.seconds for call in new.under_way), default=0.0)
    if longest > limit:
        before = (
            f"the old version's longest took {seconds(old.longest)}" if old.longest else "the old one wasn't called"
        )
        yield f"{name} hangs: a call has been under way for {seconds(longest)}; {before}"
