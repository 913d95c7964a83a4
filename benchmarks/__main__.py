"""Runs every benchmark, prints a table and writes build/bench.json.

A missed target is marked, and is no failure of the program: the machine may be busy.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

BUILD = Path(__file__).resolve().parent.parent / "build"
_NAMES = (
    "swaps",
    "memory",
    "calls",
    "pause",
    "save_to_live",
    "workers",
    "go",
    "state",
    "carry",
    "services",
    "probe",
    "hardened",
    "doctor",
)


def main(chosen: list[str]) -> None:
    """Run the benchmarks that are named, or all."""
    unknown = set(chosen) - set(_NAMES)
    if unknown:
        message = f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(_NAMES)}"
        raise SystemExit(message)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MIDFLIGHT_CACHE_DIR"] = cache
        _run(tuple(name for name in _NAMES if not chosen or name in chosen))


def _run(names: tuple[str, ...]) -> None:
    # Imported here, because midflight is to be loaded with this run's own cache.
    from benchmarks import (  # noqa: PLC0415
        calls,
        carry,
        doctor,
        go,
        hardened,
        memory,
        pause,
        peers,
        probe,
        results,
        save_to_live,
        services,
        state,
        swaps,
        workers,
    )

    modules = {
        "swaps": swaps,
        "memory": memory,
        "calls": calls,
        "pause": pause,
        "save_to_live": save_to_live,
        "workers": workers,
        "go": go,
        "state": state,
        "carry": carry,
        "services": services,
        "probe": probe,
        "hardened": hardened,
        "doctor": doctor,
    }
    console = Console(stderr=True)
    with console.status("building the peers"):
        built = peers.build(BUILD / "bench-peers")
    found = []
    for name in names:
        with console.status(f"measuring: {name}"):
            found.extend(modules[name].run(built))
    results.show(found)
    results.write(found, BUILD / "bench.json")


if __name__ == "__main__":
    main(sys.argv[1:])
