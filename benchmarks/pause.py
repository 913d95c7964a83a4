"""How long single calls take while another thread swaps, beside how long they take in peace."""

from __future__ import annotations

import itertools
import statistics
import sys
import threading
from array import array
from contextlib import contextmanager
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from benchmarks.peers import Peers

_ROUNDS, _CALLS = 9, 1_000_000
_SWAPS_A_SECOND = 100
# A thread that calls without pause gives up the GIL only when another has waited for it for that long.  With the
# default, 5 ms, the swapping thread may not get to 100 swaps a second; a short interval is harder on the callers.
_SWITCH_INTERVAL = 0.0002


def run(peers: Peers) -> Iterator[Result]:
    """Measure calls that hold the GIL and calls that release it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        for hold_gil in (True, False):
            yield _measure(peers.versions(), hold_gil=hold_gil)
    finally:
        sys.setswitchinterval(interval)


def _measure(libraries: tuple[Path, Path], *, hold_gil: bool) -> Result:
    module = midflight.load(libraries[0], hold_gil=hold_gil, probe=False)
    swapper = _Swapper(module, libraries)
    longest: list[int] = []

    def in_peace() -> float:
        return _percentile(_times(module.add))

    def swapping() -> float:
        with swapper.at_work():
            times = _times(module.add)
        longest.append(max(map(int.__sub__, times[1:], times)))
        return _percentile(times)

    found = timing.take_turns({"swapping": swapping, "in peace": in_peace}, _ROUNDS)
    midflight.unload(module)
    ours, peace = (statistics.median(times) for times in found.values())
    parts = {
        "swaps a second": swapper.rate,
        "longest call while swapping, µs": statistics.median(longest) / 1e3,
        "longest swap, ms": swapper.longest * 1e3,
    }
    targets = (
        Target("times without swapping", ours / peace, 2),
        Target("swaps a second", swapper.rate, 0.9 * _SWAPS_A_SECOND, "at least"),
    )
    how = "holding" if hold_gil else "releasing"
    return Result(f"p99.9 of calls {how} the GIL while swapping", ours, "ns", {"in peace": peace}, targets, parts)


def _times(add: Callable[[int, int], int]) -> array[int]:
    """Return when each call ended, in nanoseconds."""
    times = array("q", bytes(8 * _CALLS))
    for i in range(_CALLS):
        add(2, 3)
        times[i] = perf_counter_ns()
    return times


def _percentile(times: array[int]) -> int:
    """Return p99.9 of the nanoseconds from one call's end to the next one's."""
    return sorted(map(int.__sub__, times[1:], times))[int(0.999 * _CALLS) - 1]


class _Swapper:
    """A thread that swaps 100 times a second."""

    def __init__(self, module: ModuleType, libraries: tuple[Path, Path]) -> None:
        self.longest = 0.0
        self._module = module
        self._next = itertools.cycle(reversed(libraries))
        self._stop = threading.Event()
        self._swaps = 0
        self._seconds = 0.0

    @property
    def rate(self) -> float:
        """How many swaps a second there were."""
        return self._swaps / self._seconds

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Swap meanwhile."""
        self._stop.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        start = due = perf_counter()
        while not self._stop.is_set():
            began = perf_counter()
            midflight.swap(self._module, next(self._next))
            self.longest = max(self.longest, perf_counter() - began)
            self._swaps += 1
            due += 1 / _SWAPS_A_SECOND
            self._stop.wait(max(0.0, due - perf_counter()))
        self._seconds += perf_counter() - start
