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
    with no_collection():
        for _ in range(rounds):
            for name, measure in measurements.items():
                found[name].append(measure())
    return dict(found)


def loop(function: Callable[[Any, Any], Any], first: object, second: object) -> Callable[[int], int]:
    """Return what calls ``function(first, second)`` so many times and tells the nanoseconds."""

    def run(count: int) -> int:
        start = perf_counter_ns()
        for _ in repeat(None, count):
            function(first, second)
        return perf_counter_ns() - start

    return run


def calls(loops: Mapping[str, Callable[[int], int]], *, rounds: int, count: int) -> dict[str, float]:
    """Return the nanoseconds of one turn of each loop, without what an empty loop costs.

    Each round takes the best of five short loops; the median of the rounds counts.
    """

    def measure(run: Callable[[int], int]) -> Callable[[], float]:
        return lambda: min(run(count) for _ in repeat(None, 5)) / count

    found = take_turns({name: measure(run) for name, run in {**loops, "": _empty}.items()}, rounds)
    medians = {name: statistics.median(times) for name, times in found.items()}
    overhead = medians.pop("")
    return {name: median - overhead for name, median in medians.items()}


def _empty(count: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        pass
    return perf_counter_ns() - start


@contextmanager
def no_collection() -> Iterator[None]:
    """Leave the garbage collector out."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
