"""Bytes in memory that nobody can change any more, behind a descriptor: what a process is given to map or to run.

Guarantee: what the descriptor shows are the bytes that were given, for as long as anybody has it open.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

from midflight._errors import MidflightError

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NOEXEC_SEAL, _EXEC = 8, 16  # MFD_NOEXEC_SEAL, MFD_EXEC: kernels since 6.3 want to know; Python has no names for them


def sealed(name: str, data: bytes, *, program: bool = False) -> int:
    """Return the descriptor of a sealed memfd with these bytes.  ``program``: it is to be run, not only mapped.

    Raises `MidflightError` where the system has no room, or its rules forbid it.
    """
    try:
        descriptor = _create(name, _EXEC if program else _NOEXEC_SEAL)
    except OSError as error:
        raise _refused(name, error) from None
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        # Before, another program of this user's could have written to it, by way of /proc.
        if not _holds(descriptor, data):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    except OSError as error:
        os.close(descriptor)
        raise _refused(name, error) from None
    return descriptor


def _create(name: str, kind: int) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | kind)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)  # an older kernel


def _holds(descriptor: int, data: bytes) -> bool:
    if os.fstat(descriptor).st_size != len(data):
        return False
    if not data:
        return True
    with mmap.mmap(descriptor, len(data), mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
        return view.read() == data


def _refused(name: str, error: OSError) -> MidflightError:
    what = f"no sealed memory can be had: {error.strerror}"
    return MidflightError(what, subject=name, todo="see the limits on memory and vm.memfd_noexec")
