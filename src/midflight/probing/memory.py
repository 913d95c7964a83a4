"""How much memory a process, and those that it has started, use: as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

_PAGE = resource.getpagesize()
_DEEPEST = 4
_COUNTS = Path("/proc/vmstat")


def used_by(pid: int) -> int:
    """Return the bytes that a process and its descendants hold in memory now; 0 once it has ended."""
    return _used(pid, _DEEPEST)


def _used(pid: int, depth: int) -> int:
    process = Path(f"/proc/{pid}")
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        total = int((process / "statm").read_text().split()[1]) * _PAGE
        for task in os.listdir(process / "task") if depth else ():  # noqa: PTH208 - names are all that is wanted
            for child in (process / "task" / task / "children").read_text().split():
                total += _used(int(child), depth - 1)
    return total


def peak_of(pid: int) -> int:
    """Return the most bytes that a process has held so far, with what its descendants hold now; 0 once it has ended."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                now = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
                return int(line.split()[1]) * 1024 + max(0, used_by(pid) - now)
    return 0


def killed_for_want() -> int:
    """Return how many processes the kernel has killed for want of memory since it was started; 0 if it doesn't say."""
    with contextlib.suppress(OSError, ValueError):
        for line in _COUNTS.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
