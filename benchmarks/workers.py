"""Calls into a worker process, and what starting and ending one costs."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Self

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from types import ModuleType

    from benchmarks.peers import Peers

_CALLS, _PIPE_CALLS, _ROUNDS, _SWAPS, _FIRST = 20_000, 2_000, 11, 1000, 50
_ITEMS = 1_000_000


def run(peers: Peers) -> Iterator[Result]:
    """Measure calls, arrays, swaps, and what is left of them."""
    module = midflight.load(peers.functions, lane="worker")
    yield _add(module)
    yield from _arrays(module)
    yield _idle(module)
    yield from _swaps(*peers.versions())
    yield _offered(peers.functions)


def p50(call: Callable[[], object], count: int) -> float:
    """Return the median of single calls, in microseconds, without what reading the clock costs."""
    times, empty = [], []
    for _ in range(count):
        start = perf_counter_ns()
        call()
        end = perf_counter_ns()
        times.append(end - start)
        empty.append(perf_counter_ns() - end)
    return max(0.0, statistics.median(times) - statistics.median(empty)) / 1e3


def _add(module: ModuleType) -> Result:
    with _Pipe() as pipe:
        found = timing.take_turns(
            {
                "worker": lambda: p50(lambda: module.add(2, 3), _CALLS),
                "pipe": lambda: p50(lambda: pipe.add(2, 3), _PIPE_CALLS),
            },
            _ROUNDS,
        )
    ours, pipes = (statistics.median(found[name]) for name in ("worker", "pipe"))
    targets = (Target("µs", ours, 3), Target("times multiprocessing.Pipe", ours / pipes, 0.1))
    return Result("add(int, int) in a worker, p50", ours, "µs", {"multiprocessing.Pipe": pipes}, targets)


def _offered(functions: Path) -> Result:
    """Call a module that another program offers at a Unix socket."""
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory, "socket")
        command = (sys.executable, "-m", "midflight", "offer", str(functions), "--at", f"unix:{socket}")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            while not socket.exists() and server.poll() is None:
                time.sleep(0.01)
            module = midflight.load(lane=f"unix:{socket}")
            found = [p50(lambda: module.add(2, 3), _PIPE_CALLS) for _ in range(_ROUNDS)]
            midflight.unload(module)
            server.terminate()
    return Result("add(int, int) over a Unix socket, p50", statistics.median(found), "µs")


class _Pipe:
    """A process of multiprocessing's that adds."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=serve_pipe, args=(other,), daemon=True)
        self._process.start()
        return self

    def add(self, first: int, second: int) -> Any:
        self._end.send((first, second))
        return self._end.recv()

    def __exit__(self, *_: object) -> None:
        self._end.send(None)
        self._process.join()


def serve_pipe(end: Connection) -> None:
    """Add what comes through the pipe, until None comes."""
    while (pair := end.recv()) is not None:
        end.send(pair[0] + pair[1])


def _arrays(module: ModuleType) -> Iterator[Result]:
    import numpy as np  # noqa: PLC0415 - it loads many libraries, which are not to be there for other measurements

    array, other = np.ones(_ITEMS), np.ones(_ITEMS)
    shared = midflight.shared_array(_ITEMS)

    def copy() -> None:
        other[:] = array

    calls: dict[str, Callable[[], object]] = {
        "copied": lambda: module.first(array),
        "shared": lambda: module.first(shared),
        "memcpy": copy,
    }
    for call in calls.values():
        call()
    found = timing.take_turns({name: _timed(call) for name, call in calls.items()}, 41)
    times = {name: statistics.median(values) for name, values in found.items()}
    targets = (Target("of memcpy's speed", times["memcpy"] / times["copied"], 0.5, "at least"),)
    yield Result("f(8 MB, copied) in a worker", times["copied"], "µs", {"memcpy": times["memcpy"]}, targets)
    yield Result("f(8 MB, shared_array) in a worker", times["shared"], "µs", {"memcpy": times["memcpy"]})


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    return lambda: p50(call, 5)


def _idle(module: ModuleType) -> Result:
    """Return what a worker that nobody calls uses of the processor in a second."""
    module.add(1, 1)
    process = int(midflight.versions(module)[-1].path.split()[1])
    time.sleep(0.1)
    before = _processor_time(process)
    time.sleep(1)
    spent = (_processor_time(process) - before) * 1e3
    return Result("an idle worker, processor time in a second", spent, "ms", targets=(Target("ms", spent, 0),))


def _processor_time(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _swaps(first: Path, second: Path) -> Iterator[Result]:
    module = midflight.load(first, lane="worker", probe=False)
    yield from swaps(module, lambda number: midflight.swap(module, second if number % 2 else first), "a worker", 2)


def swaps(module: ModuleType, swap: Callable[[int], midflight.Report], what: str, ready: float) -> Iterator[Result]:
    """Swap again and again; ``ready``: milliseconds that the stage "load" may take."""
    loads, looks = [], []
    for number in range(1, _SWAPS + 1):
        report = swap(number)
        loads.append(report.stages["load"] * 1e3)
        if report.old.status != "unloaded":
            message = f"after swap {number} the old version of {module.__name__} is {report.old!r}"
            raise SystemExit(message)
        if number in {_FIRST, _SWAPS}:
            looks.append(_look())
    load = statistics.median(loads)
    yield Result(f"{what}: start, load, ready", load, "ms", targets=(Target("ms", load, ready),))
    growth = {name: looks[1][name] - looks[0][name] for name in looks[0]}
    resident = growth.pop("resident KiB")
    targets = (
        Target("KiB", resident, 1023),
        *(Target(f"more {name}", more, 0) for name, more in growth.items()),
    )
    yield Result(f"{what}: growth of the program in {_SWAPS} swaps", resident, "KiB", targets=targets)


def _look() -> dict[str, int]:
    own = Path("/proc/self")
    children = [list((task / "children").read_text("ascii").split()) for task in (own / "task").iterdir()]
    return {
        "resident KiB": int((own / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        "mappings": len((own / "maps").read_text("utf-8").splitlines()),
        "threads": len(list((own / "task").iterdir())),
        "descriptors": len(list((own / "fd").iterdir())),
        "processes": sum(map(len, children)),
    }
