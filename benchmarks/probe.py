"""What a probe adds to a swap, with a process that is ready and without one."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import midflight
from benchmarks.results import Result, Target
from midflight.probing.memory import used_by
from midflight.probing.pool import pool
from midflight.probing.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from benchmarks.peers import Peers

_ROUNDS, _PROGRAMS = 15, 7
_MARK = 0x5EED5EED
_TEXT = f"""
static const volatile int mark = {_MARK};
int version(void) {{ return mark; }}
int add(int a, int b) {{ return a + b; }}
int midflight_check_add(void) {{ return add(2, 2) != 4; }}
"""


def run(_peers: Peers) -> Iterator[Result]:
    """Probe versions that were never probed, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        versions = _versions(Path(name))
        module = midflight.load(next(versions), probe=True)

        @midflight.check(module)
        def doubles(candidate: ModuleType) -> None:
            assert candidate.add(2, 2) == 4  # noqa: S101 - that is how checks are written

        until_ready()
        midflight.swap(module, next(versions))  # what is imported for the first probe is there from now on
        warm = statistics.median(_probe(module, next(versions)) for _ in range(_ROUNDS))
        cold = statistics.median(_probe(module, next(versions), ready=False) for _ in range(3))
        first = next(versions)
        midflight.swap(module, first)
        midflight.swap(module, next(versions))
        known = midflight.swap(module, first).stages["probe"] * 1e3
        midflight.unload(module)
    yield Result(
        "probe of a small library, with two checks",
        warm,
        "ms",
        {},
        (Target("ms added to a swap", warm, 20),),
        {"without a process that is ready": cold, "of bytes that have passed before": known},
    )
    yield _first_load()
    yield _process()


_LOAD = """
import sys, time
import midflight
start = time.perf_counter()
midflight.load(sys.argv[1])
print(time.perf_counter() - start)
"""


def _first_load() -> Result:
    """Measure first loads in programs of their own: of new bytes, of known ones, and with the probe turned off."""
    found: dict[str, list[float]] = {"new": [], "known": [], "off": [], "source": [], "source, off": []}
    with tempfile.TemporaryDirectory() as name:
        versions = _versions(Path(name))
        for number in range(_PROGRAMS):
            library, source = next(versions), Path(name) / f"source{number}.c"
            _load(library, probe=False)  # its interface is read, as it is when the others load it
            found["new"].append(_load(library))
            found["known"].append(_load(library))
            found["off"].append(_load(library, probe=False))
            source.write_text(f"{_TEXT}int built{number};\n", "utf-8")
            found["source"].append(_load(source))
            source.write_text(f"{_TEXT}int again{number};\n", "utf-8")
            found["source, off"].append(_load(source, probe=False))
    took = {name: statistics.median(times) for name, times in found.items()}
    parts = {
        "of bytes that have passed before": took["known"] - took["off"],
        "of a source that is built": took["source"] - took["source, off"],
    }
    return Result(
        "probe of a first version: added to load() of a small library", took["new"] - took["off"], "ms", parts=parts
    )


def _load(source: Path, *, probe: bool = True) -> float:
    """Return the milliseconds that a program's load takes."""
    environment = {**os.environ, "MIDFLIGHT_PROBE": "" if probe else "off"}
    command = [sys.executable, "-c", _LOAD, str(source)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout) * 1e3


def until_ready() -> None:
    """Wait until a process is ready for the next probe, as it is a moment after the last one."""
    pool.warm_up()
    pool.settle()
    process = pool.take()
    process.until_ready()
    pool.put_back(process)


def _probe(module: ModuleType, library: Path, *, ready: bool = True) -> float:
    """Return the milliseconds that a probe has added."""
    if ready:
        until_ready()
    else:
        pool.settle()
        pool.take().end()
    return midflight.swap(module, library).stages["probe"] * 1e3


def _process() -> Result:
    """Measure the process that waits."""
    times, sizes = [], []
    for _ in range(5):
        start = perf_counter()
        process = Process()
        process.until_ready()
        times.append((perf_counter() - start) * 1e3)
        sizes.append(used_by(process.pid) / (1 << 20))
        process.end()
    parts = {"MiB of memory while it waits": statistics.median(sizes)}
    return Result("making a process ready for a probe (in the background)", statistics.median(times), "ms", parts=parts)


def _versions(directory: Path) -> Iterator[Path]:
    """Make libraries that differ in one number."""
    source, output = directory / "small.c", directory / "small.so"
    source.write_text(_TEXT, "utf-8")
    subprocess.run(["cc", "-g", "-O2", "-fPIC", "-shared", "-o", str(output), str(source)], check=True)
    template = output.read_bytes()
    for number in range(1, 1 << 16):
        path = directory / f"small-{number}.so"
        path.write_bytes(template.replace(_MARK.to_bytes(4, "little"), number.to_bytes(4, "little")))
        yield path
