"""What this process has in memory, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def still_mapped(paths: Iterable[str]) -> set[str]:
    """Return those of the files that this process has mapped."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    mapped = {fields[5].removesuffix(" (deleted)") for line in lines if len(fields := line.split(maxsplit=5)) > 5}  # noqa: PLR2004
    return mapped.intersection(paths)
