"""The cost of one call, beside those who offer nothing but calls."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target
from midflight import _observing
from midflight._control import control_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.peers import Peers

_COUNT, _ROUNDS = 5_000, 41


def run(peers: Peers) -> Iterator[Result]:
    """Measure calls of ``add(int, int)`` and of ``total(double *, long)``."""
    held = midflight.load(peers.functions, hold_gil=True)
    released = midflight.load(peers.functions)
    yield _holding(peers, held.add)
    yield _releasing(peers, released.add)
    yield _guarded(peers, held.add, released.add)
    yield _observed(peers, held.add)
    yield from _array(peers, held.total, released.total)


def _observed(peers: Peers, plain: Callable[[int, int], int]) -> Result:
    """Measure calls during a soak, and with record=0.01: what they cost more, and that nobody else pays for it."""
    watched, recorded = (midflight.load(peers.functions, hold_gil=True, record=share) for share in (1e-12, 0.01))
    before = midflight.load(peers.functions, hold_gil=True, record=0.01)
    control = control_of(before)
    _observing.end(control.need_current())  # as after a soak
    found = timing.calls(
        {
            "observed": timing.loop(watched.add, 2, 3),
            "recorded": timing.loop(recorded.add, 2, 3),
            "plain": timing.loop(plain, 2, 3),
            "after": timing.loop(before.add, 2, 3),
        },
        rounds=_ROUNDS,
        count=_COUNT,
    )
    targets = (
        Target("ns over a plain call", found["observed"] - found["plain"], 100),
        Target("ns over a plain call when it is over", found["after"] - found["plain"], 2),
    )
    peers_of_ours = {"nobody observes": found["plain"], "an observer has come and gone": found["after"]}
    parts = {"with record=0.01": found["recorded"]}
    return Result("add(int, int), observed (soak=)", found["observed"], "ns", peers_of_ours, targets, parts)


def _medians(loops: Mapping[str, Callable[[int], int]]) -> tuple[float, dict[str, float]]:
    times = timing.calls(loops, rounds=_ROUNDS, count=_COUNT)
    return times.pop("midflight"), times


def _add(functions: Mapping[str, Callable[[Any, Any], Any]]) -> tuple[float, dict[str, float]]:
    return _medians({name: timing.loop(function, 2, 3) for name, function in functions.items()})


def _holding(peers: Peers, add: Callable[[int, int], int]) -> Result:
    ours, others = _add(
        {
            "midflight": add,
            "nanobind": peers.nanobind.add,
            "pybind11": peers.pybind11.add,
            "ctypes": peers.ctypes().add,
        }
    )
    targets = (
        Target("times nanobind", ours / others["nanobind"], 1.25),
        Target("times as fast as ctypes", others["ctypes"] / ours, 9, "at least"),
    )
    return Result("add(int, int), holding the GIL", ours, "ns", others, targets)


def _releasing(peers: Peers, add: Callable[[int, int], int]) -> Result:
    ours, others = _add(
        {
            "midflight": add,
            "nanobind, gil_scoped_release": peers.nanobind.add_released,
            "pybind11, gil_scoped_release": peers.pybind11.add_released,
            "cffi, API mode": peers.cffi.lib.add,
            "ctypes": peers.ctypes().add,
        }
    )
    targets = (
        Target("times as fast as ctypes", others["ctypes"] / ours, 5, "at least"),
        Target("times cffi", ours / others["cffi, API mode"], 1),
    )
    return Result("add(int, int), releasing the GIL", ours, "ns", others, targets)


def _guarded(peers: Peers, held: Callable[[int, int], int], released: Callable[[int, int], int]) -> Result:
    """Measure what on_crash="raise" adds, in turns with calls that don't have it."""
    holding = midflight.load(peers.functions, hold_gil=True, on_crash="raise").add
    releasing = midflight.load(peers.functions, on_crash="raise").add
    ours, others = _add({"midflight": holding, "unguarded": held, "releasing": releasing, "its unguarded": released})
    targets = (
        Target("ns more than unguarded", ours - others["unguarded"], 5),
        Target("ns more, releasing", others["releasing"] - others["its unguarded"], 5),
    )
    return Result('add(int, int), on_crash="raise", holding the GIL', ours, "ns", others, targets)


def _array(peers: Peers, held: Callable[[Any, int], float], released: Callable[[Any, int], float]) -> Iterator[Result]:
    import numpy as np  # noqa: PLC0415 - it loads many libraries, which are not to be there for other measurements

    array = np.array([1.0, 2.0, 3.0])
    others = {
        "nanobind, ndarray": timing.loop(peers.nanobind.total, array, 3),
        "cffi, from_buffer": _cffi_loop(peers, array),
    }
    for name, total in (("holding", held), ("releasing", released)):
        ours, found = _medians({"midflight": timing.loop(total, array, 3), **others})
        targets = (
            Target("times nanobind", ours / found["nanobind, ndarray"], 1.5),
            Target("times cffi", ours / found["cffi, from_buffer"], 1),
        )
        yield Result(f"f(double *, long) on 3 numbers, {name} the GIL", ours, "ns", found, targets)


def _cffi_loop(peers: Peers, array: Any) -> Callable[[int], int]:
    """Return the loop of `timing.loop`, but with cffi's conversion written out: a function for it would cost extra."""
    total, from_buffer = peers.cffi.lib.total, peers.cffi.ffi.from_buffer

    def run(count: int) -> int:
        start = perf_counter_ns()
        for _ in repeat(None, count):
            total(from_buffer("double[]", array), 3)
        return perf_counter_ns() - start

    return run
