"""Unix sockets: at paths of any length, and who is at their other end.

The system takes 107 bytes, and directories of tests and containers are long.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 107
_CREDENTIALS = struct.Struct("iII")


def is_ours(other: socket.socket) -> bool:
    """Tell whether the kernel says that this user, or root, is at the other end."""
    credentials = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return user in {0, os.geteuid()}


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """Give a path by which ``bind`` and ``connect`` reach ``path``, for as long as the block lasts.  Raises OSError."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    directory, name = os.path.split(path)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
