"""The time from saving a C file to the first call of the new code, beside the compiler's own."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import midflight
from benchmarks import timing
from benchmarks.probe import until_ready
from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Peers

_ROUNDS = 11
_TEXT = "int version(void) { return %d; }\nint add(int a, int b) { return a + b; }\n"


def run(_peers: Peers) -> Iterator[Result]:
    """Save a file again and again, and compile its like in between."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        saver = _Saver(directory / "small.c")
        found = timing.take_turns(
            {"live": saver.run, "compiler": lambda: _compile(directory / "alone", saver.number)}, _ROUNDS
        )
        saver.stop()
    live, compiler = (statistics.median(times) for times in found.values())
    targets = (Target("ms more than the compiler", live - compiler, 60),)
    yield Result("from saving a small C file to its first call", live, "ms", {"the compiler alone": compiler}, targets)


class _Saver:
    """A module that is watched."""

    def __init__(self, path: Path) -> None:
        self.number = 1
        self._path = path
        path.write_text(_TEXT % self.number, "utf-8")
        self._module = midflight.load(path)
        self._swapped = threading.Event()
        self._unsubscribe = midflight.subscribe(self._on_event)
        self._watcher = midflight.watch(self._module)
        self._watcher.wait_ready()

    def run(self) -> float:
        """Save a new version; return the milliseconds until it was called."""
        self.number += 1
        until_ready()  # people save seconds apart
        self._swapped.clear()
        start = perf_counter()
        self._path.write_text(_TEXT % self.number, "utf-8")
        if not self._swapped.wait(30) or self._module.version() != self.number:
            message = f"{self._path} was saved, but version {self.number} didn't come"
            raise SystemExit(message)
        return (perf_counter() - start) * 1e3

    def stop(self) -> None:
        """End the watching."""
        self._watcher.stop()
        self._unsubscribe()
        midflight.unload(self._module)

    def _on_event(self, event: object) -> None:
        if isinstance(event, midflight.Swapped):
            self._swapped.set()


def _compile(directory: Path, number: int) -> float:
    directory.mkdir(exist_ok=True)
    source = directory / f"small-{number}.c"
    source.write_text(_TEXT % number, "utf-8")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    start = perf_counter()
    subprocess.run((*compiler, "-g", "-O2", "-fPIC", "-shared", "-o", f"{source}.so", source), check=True)
    return (perf_counter() - start) * 1e3
