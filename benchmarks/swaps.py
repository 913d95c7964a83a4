"""The time of a swap between two ready libraries, beside what the system itself needs for a reload."""

from __future__ import annotations

import ctypes
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

_SWAPS = 1500
_CODE_STAGES = ("load", "switch", "retire")
_SYMBOL = "add"


def run(peers: Peers) -> Iterator[Result]:
    """Measure swaps and plain reloads in turns: one of each, so that both find the same caches."""
    first, second = peers.versions()
    module = midflight.load(first, probe=False)
    copy = _beside(Path(midflight.versions(module)[-1].path), first)
    found: defaultdict[str, list[float]] = defaultdict(list)
    try:
        plain, program = _Plain(peers, copy), _program(peers, copy)
        for library in (second, first):
            midflight.swap(module, library)  # from here on both are inspected
        with timing.no_collection():
            for number in range(_SWAPS):
                start = perf_counter_ns()
                report = midflight.swap(module, first if number % 2 else second)
                found["swap"].append((perf_counter_ns() - start) / 1e3)
                for stage, seconds in report.stages.items():
                    found[stage].append(seconds * 1e6)
                found["code"].append(sum(report.stages[stage] for stage in _CODE_STAGES) * 1e6)
                found["plain"].append(plain.reload())
    finally:
        shutil.rmtree(copy.parent)
        midflight.unload(module)
    medians = {name: statistics.median(times) for name, times in found.items()}
    total, code, reload = medians.pop("swap"), medians.pop("code"), medians.pop("plain")
    yield Result("swap of two ready libraries", total, "µs", {}, (Target("µs in all", total, 2000),), medians)
    yield Result(
        "of it load + switch + retire",
        code,
        "µs",
        {"dlopen + dlsym + dlclose": reload, "the same on and on, in a C program": program},
        (Target("times dlopen + dlsym + dlclose", code / reload, 3),),
    )


def _beside(private: Path, library: Path) -> Path:
    """Copy a library to the file system on which midflight's private copies lie."""
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=private.parent.parent if private.is_file() else None))
    return Path(shutil.copy(library, directory))


class _Plain:
    """Reloads by the system's own calls, in this process."""

    def __init__(self, peers: Peers, library: Path) -> None:
        self._function = ctypes.PyDLL(str(peers.directory / "libreload.so")).reload
        self._found = (ctypes.c_long * 1)()
        self._arguments = (os.fsencode(library), _SYMBOL.encode(), self._found, ctypes.c_long(1))

    def reload(self) -> float:
        """Return the microseconds of one reload."""
        if self._function(*self._arguments) != 0:
            message = f"{self._arguments[0]!r} can't be opened"
            raise SystemExit(message)
        return self._found[0] / 1e3


def _program(peers: Peers, library: Path) -> float:
    """Return the microseconds of one reload in a program that does nothing else."""
    command = (str(peers.directory / "reload_program"), str(library), _SYMBOL, str(_SWAPS))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return statistics.median(map(int, done.stdout.split())) / 1e3
