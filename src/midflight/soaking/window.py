"""The canary: candidates get a share of the calls for a while, before anything is decided.

Guarantees:
- Nobody is held up: calls run in the one version or in the other, each wholly.
- However it ends, afterwards all calls go to the current versions again, and nobody observes.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from midflight import _core, _observing
from midflight._errors import SoakError
from midflight._soak import Soak
from midflight.soaking.comparison import Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._control import Control, Generation
    from midflight._trial import Soaking


class Candidate(NamedTuple):
    """A version that might become its module's current one."""

    control: Control
    old: Generation
    new: Generation
    soaking: Soaking


def run(candidates: Sequence[Candidate], busy: frozenset[Control]) -> list[Soak]:
    """Give each candidate its share for its time; return what came of it.

    Raises `SoakError` as soon as one of them does worse than its module's current version.
    """
    news = threading.Event()
    with ExitStack() as shared:
        comparisons = [_begin(one, news, busy, shared) for one in candidates]
        while not all(one.settled(time.monotonic()) for one in comparisons):
            news.clear()
            for candidate, comparison in zip(candidates, comparisons, strict=True):
                found = comparison.look(time.monotonic())
                if found:
                    raise _refusal(candidate, found)
            now = time.monotonic()
            news.wait(max(0.0, min(one.next_look(now) for one in comparisons) - now))
        return [_passed(one, comparison) for one, comparison in zip(candidates, comparisons, strict=True)]


def _begin(one: Candidate, news: threading.Event, busy: frozenset[Control], shared: ExitStack) -> Comparison:
    for generation in (one.old, one.new):
        _observing.begin(one.control, generation)
        shared.callback(_observing.end, generation)
    comparison = Comparison(one.control, one.old, one.new, one.soaking, time.monotonic(), news.set, busy)
    shared.callback(comparison.end)
    one.control.candidate = one.new
    shared.callback(setattr, one.control, "candidate", None)
    canary = _core.Canary(one.control.cell, one.new.table, one.soaking.canary)
    shared.callback(canary.end)
    return comparison


def _passed(one: Candidate, comparison: Comparison) -> Soak:
    soak = Soak(one.control.name, one.old.version, one.new.version, one.soaking.seconds, comparison.stats)
    soak.end("passed", "")
    return soak


def _refusal(one: Candidate, found: list[str]) -> SoakError:
    share = f"{one.soaking.canary:.3g} of the calls"
    what = f"version {one.new.version.number} did worse with {share}: {'; '.join(found)}"
    todo = "mend it; or swap with other limits (max_error_rate=, max_slowdown=), or without canary="
    return SoakError(what, findings=found, subject=one.control.name, todo=todo)
