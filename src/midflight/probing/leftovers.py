"""What a candidate has started and sent away: a daemon has a session of its own, and isn't in its probe's group.

It carries the probe's mark all the same, in the environment that it was started with.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = b"MIDFLIGHT_PROBING"
"""The environment variable that has the mark."""

_ROUNDS = 8  # one that starts another while it is looked for is found the next time


def end(mark: bytes) -> None:
    """Kill all processes that carry a mark."""
    for _ in range(_ROUNDS):
        found = list(_marked(VARIABLE + b"=" + mark))
        for pidfd in found:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        if not found:
            return


def _marked(entry: bytes) -> Iterator[int]:
    """Open each process that carries a mark.  Another's can't be read, and one that has ended has no environment."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            if entry not in Path(f"/proc/{name}/environ").read_bytes():
                continue
            pidfd = os.pidfd_open(int(name))
            # Read again: the number may have become another's in between.
            if entry in Path(f"/proc/{name}/environ").read_bytes():
                yield pidfd
            else:
                os.close(pidfd)
