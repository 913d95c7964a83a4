"""The cost of one call, beside those who offer nothing but calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.peers import Peers

_COUNT, _ROUNDS = 5_000, 41

_Calls = dict[str, tuple["Callable[[Any, Any], Any]", Any, Any]]


def run(peers: Peers) -> Iterator[Result]:
    """Measure calls of ``add(int, int)`` and of ``total(double *, long)``."""
    held = midflight.load(peers.functions, hold_gil=True)
    released = midflight.load(peers.functions)
    yield _holding(peers, held.add)
    yield _releasing(peers, released.add)
    yield from _array(peers, held.total, released.total)


def _medians(functions: _Calls) -> tuple[float, dict[str, float]]:
    times = timing.calls(functions, rounds=_ROUNDS, count=_COUNT)
    return times.pop("midflight"), times


def _holding(peers: Peers, add: Callable[[int, int], int]) -> Result:
    functions = {"midflight": add, "nanobind": peers.nanobind.add, "pybind11": peers.pybind11.add}
    ours, others = _medians(
        {name: (function, 2, 3) for name, function in {**functions, "ctypes": peers.ctypes().add}.items()}
    )
    targets = (
        Target("times nanobind", ours / others["nanobind"], 1.25),
        Target("times as fast as ctypes", others["ctypes"] / ours, 9, "at least"),
    )
    return Result("add(int, int), holding the GIL", ours, "ns", others, targets)


def _releasing(peers: Peers, add: Callable[[int, int], int]) -> Result:
    functions = {
        "midflight": add,
        "nanobind, gil_scoped_release": peers.nanobind.add_released,
        "pybind11, gil_scoped_release": peers.pybind11.add_released,
        "cffi, API mode": peers.cffi.lib.add,
        "ctypes": peers.ctypes().add,
    }
    ours, others = _medians({name: (function, 2, 3) for name, function in functions.items()})
    targets = (
        Target("times as fast as ctypes", others["ctypes"] / ours, 5, "at least"),
        Target("times cffi", ours / others["cffi, API mode"], 1),
    )
    return Result("add(int, int), releasing the GIL", ours, "ns", others, targets)


def _array(
    peers: Peers,
    held: Callable[[Any, int], float],
    released: Callable[[Any, int], float],
) -> Iterator[Result]:
    import numpy as np  # noqa: PLC0415 - loads many libraries, which would be in the way of other measurements

    array = np.array([1.0, 2.0, 3.0])
    ffi, lib = peers.cffi.ffi, peers.cffi.lib

    def by_cffi(values: Any, count: int) -> Any:
        return lib.total(ffi.from_buffer("double[]", values), count)

    functions = {"nanobind, ndarray": peers.nanobind.total, "cffi, from_buffer": by_cffi}
    for name, ours in (("holding", held), ("releasing", released)):
        found, others = _medians(
            {peer: (function, array, 3) for peer, function in {"midflight": ours, **functions}.items()}
        )
        targets = (
            Target("times nanobind", found / others["nanobind, ndarray"], 1.5),
            Target("times cffi", found / others["cffi, from_buffer"], 1),
        )
        yield Result(f"f(double *, long) on 3 numbers, {name} the GIL", found, "ns", others, targets)
