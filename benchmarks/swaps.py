"""The time of a swap between two ready libraries, beside what the system itself needs for a reload."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Peers

_ROUNDS, _COUNT = 21, 50
_CODE_STAGES = ("load", "switch", "retire")


class _Swapping:
    """Swaps a module between two libraries."""

    def __init__(self, peers: Peers) -> None:
        first, second = peers.versions()
        self.module = midflight.load(first)
        self.stages: defaultdict[str, list[float]] = defaultdict(list)
        self._next = itertools.cycle((second, first))
        self.run()
        self.run()
        self.stages.clear()

    def run(self) -> float:
        """Return the median of the microseconds that swaps took."""
        totals = []
        for _ in range(_COUNT):
            library = next(self._next)
            start = perf_counter_ns()
            report = midflight.swap(self.module, library)
            totals.append((perf_counter_ns() - start) / 1e3)
            self.stages["code"].append(sum(report.stages[stage] for stage in _CODE_STAGES) * 1e6)
            for stage, seconds in report.stages.items():
                self.stages[stage].append(seconds * 1e6)
        return statistics.median(totals)


def run(peers: Peers) -> Iterator[Result]:
    """Measure swaps and plain reloads in turns."""
    swapping = _Swapping(peers)
    copy = _beside(Path(midflight.versions(swapping.module)[-1].path), peers.versions()[0])
    try:
        found = timing.take_turns(
            {
                "swap": swapping.run,
                "in this process": lambda: _reload_here(peers, copy),
                "in a program of its own": lambda: _reload_there(peers, copy),
            },
            _ROUNDS,
        )
    finally:
        shutil.rmtree(copy.parent)
    total, *plain = (statistics.median(times) for times in found.values())
    stages = {stage: statistics.median(times) for stage, times in swapping.stages.items()}
    code = stages.pop("code")
    yield Result("swap of two ready libraries", total, "µs", targets=(Target("µs in all", total, 2000),), parts=stages)
    yield Result(
        "of it load + switch + retire",
        code,
        "µs",
        dict(zip(("dlopen + dlsym + dlclose, same process", "the same, a C program"), plain, strict=True)),
        (Target("times the plain reload in this process", code / plain[0], 3),),
    )


def _beside(private: Path, library: Path) -> Path:
    """Copy a library to the file system on which midflight's private copies lie."""
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=private.parent.parent if private.is_file() else None))
    return Path(shutil.copy(library, directory))


def _reload_here(peers: Peers, library: Path) -> float:
    found = (ctypes.c_long * _COUNT)()
    reload = ctypes.PyDLL(str(peers.directory / "libreload.so")).reload
    if reload(os.fsencode(library), b"add", found, ctypes.c_long(_COUNT)) != 0:
        message = f"{library} can't be opened"
        raise SystemExit(message)
    return statistics.median(found) / 1e3


def _reload_there(peers: Peers, library: Path) -> float:
    program = str(peers.directory / "reload_program")
    done = subprocess.run((program, str(library), "add", str(_COUNT)), check=True, capture_output=True, text=True)
    return statistics.median(map(int, done.stdout.split())) / 1e3
