"""What 10,000 swaps leave behind in the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Peers

_SWAPS, _FIRST = 10_000, 100


def run(peers: Peers) -> Iterator[Result]:
    """Swap 10,000 times in a process of its own, and look at it before and after."""
    command = (sys.executable, "-m", "benchmarks.memory", *map(str, peers.versions()))
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    before, after = json.loads(done.stdout)
    growth = {name: after[name] - before[name] for name in before}
    resident = growth.pop("resident KiB")
    targets = (
        Target("KiB", resident, 1023),
        *(Target(f"more {name}", more, 0) for name, more in growth.items()),
    )
    yield Result(
        f"{_SWAPS} swaps: growth of resident memory after the first {_FIRST}", resident, "KiB", targets=targets
    )


def _look() -> dict[str, int]:
    """Return what this process holds."""
    own = Path("/proc/self")
    return {
        "resident KiB": int((own / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        "mappings": len((own / "maps").read_text("utf-8").splitlines()),
        "threads": len(list((own / "task").iterdir())),
        "descriptors": len(list((own / "fd").iterdir())),
    }


def _swap(first: str, second: str) -> None:
    import midflight  # noqa: PLC0415 - this process's own, with nothing else loaded

    module = midflight.load(first, probe=False)
    found = []
    for number in range(1, _SWAPS + 1):
        report = midflight.swap(module, second if number % 2 else first)
        if report.old.status != "unloaded":
            message = f"after swap {number} the old version is {report.old!r}"
            raise SystemExit(message)
        if number in {_FIRST, _SWAPS}:
            found.append(_look())
    print(json.dumps(found))


if __name__ == "__main__":
    _swap(*sys.argv[1:])
