"""Rounds of measurements that take turns, so that what disturbs the machine disturbs every peer alike."""

from __future__ import annotations

import gc
import statistics
from collections import defaultdict
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def take_turns(measurements: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure A, B, C, A, B, C …; return what each found, round by round."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    with _no_collection():
        for _ in range(rounds):
            for name, measure in measurements.items():
                found[name].append(measure())
    return dict(found)


def calls(
    functions: Mapping[str, tuple[Callable[[Any, Any], Any], Any, Any]], *, rounds: int, count: int
) -> dict[str, float]:
    """Return the nanoseconds of one call ``function(first, second)`` of each, without the loop around it.

    Each round takes the best of five short loops; the median of the rounds counts.
    """

    def measure(function: Callable[[Any, Any], Any], first: object, second: object) -> Callable[[], float]:
        return lambda: min(_loop(function, first, second, count) for _ in repeat(None, 5))

    measurements = {name: measure(*call) for name, call in functions.items()}
    measurements[""] = lambda: min(_empty_loop(count) for _ in repeat(None, 5))
    medians = {name: statistics.median(times) for name, times in take_turns(measurements, rounds).items()}
    overhead = medians.pop("")
    return {name: median - overhead for name, median in medians.items()}


def percentile(values: list[int], share: float) -> int:
    """Return the value below which ``share`` (0.999) of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _loop(function: Callable[[Any, Any], Any], first: object, second: object, count: int) -> float:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        function(first, second)
    return (perf_counter_ns() - start) / count


def _empty_loop(count: int) -> float:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        pass
    return (perf_counter_ns() - start) / count


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
