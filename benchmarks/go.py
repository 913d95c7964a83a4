"""Go packages: calls, and what it takes to have a change live."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target
from benchmarks.workers import p50, swaps
from midflight.build.compiler import find_compiler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Peers

_CALLS, _ROUNDS, _EDITS = 20_000, 11, 9

_SOURCE = """
package {package}

import "fmt"

func Add(a, b int32) int32 {{ return a + b }}
func Edition() int {{ return {number} }}
func Show() {{ fmt.Println(Edition()) }}
"""
_MAIN = "package main\n\nfunc main() { Show() }\n"


def run(_peers: Peers) -> Iterator[Result]:
    """Measure calls, an edit, and swaps of ready hosts."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "rules.go")
        _write(source, "rules", 1)
        module = midflight.load(source, probe=False)
        found = timing.take_turns({"add": lambda: p50(lambda: module.Add(2, 3), _CALLS)}, _ROUNDS)
        add = statistics.median(found["add"])
        yield Result("Go: Add(int32, int32), p50", add, "µs", targets=(Target("µs", add, 5),))
        yield _edit(source, module, Path(directory, "plain"))

        def swap(number: int) -> midflight.Report:
            _write(source, "rules", number % 2)
            return midflight.swap(module)

        swap(1)
        swap(0)
        yield from swaps(module, swap, "a Go package", 5)


def _write(source: Path, package: str, number: int) -> None:
    source.write_text(_SOURCE.format(package=package, number=number))


def _edit(source: Path, module: object, plain: Path) -> Result:
    """From a change of the source to the first call of it, beside `go build` of a program with the same code."""
    plain.mkdir()
    (plain / "go.mod").write_text("module plain\n\ngo 1.22\n")
    (plain / "main.go").write_text(_MAIN)
    command = (*find_compiler("go").command, "build", "-trimpath", "-o", "plain", ".")
    numbers = iter(range(1000, 10_000))

    def ours() -> float:
        number = next(numbers)
        _write(source, "rules", number)
        start = time.perf_counter()
        midflight.swap(module)  # type: ignore[arg-type]
        if module.Edition() != number:  # type: ignore[attr-defined]
            message = "the old version answers"
            raise SystemExit(message)
        return (time.perf_counter() - start) * 1e3

    def theirs() -> float:
        _write(plain / "rules.go", "main", next(numbers))
        start = time.perf_counter()
        subprocess.run(command, cwd=plain, check=True, env={**os.environ, "CGO_ENABLED": "0"})
        return (time.perf_counter() - start) * 1e3

    ours(), theirs()
    found = timing.take_turns({"ours": ours, "go build": theirs}, _EDITS)
    live, build = statistics.median(found["ours"]), statistics.median(found["go build"])
    targets = (Target("ms more than go build", live - build, 30),)
    return Result("Go: from an edit to the first call of it", live, "ms", {"go build": build}, targets)
