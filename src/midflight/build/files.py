"""Reading files that other programs may be writing at the same moment, and telling their contents apart.

Guarantees:
- Nothing here blocks: pipes, sockets and devices are refused before they are read.
- `read_stable` returns bytes that were in the file at one moment, as far as the file system can tell.
- A `Snapshot` never claims that a compiler saw a content that it may not have seen.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from midflight._errors import SourceError, SourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Not blocking, in case a pipe takes a file's place between the check and the opening.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PERMISSIONS = "check its permissions, and those of the directories that it is in"
_READ_ATTEMPTS = 20
_PAUSE_SECONDS = 0.005

ABSENT: Final = ""
"""The digest of a file that isn't there."""

UNSURE: Final = "?"
"""The digest of a file that changed while a compiler may have read it: equal to no content."""

UNREADABLE: Final = "!"
"""The digest of what is there, but can't be read as a file."""

_SYSTEM_DIRECTORIES = tuple(
    f"{top}/{name}/" for top in ("", "/usr", "/usr/local") for name in ("include", "lib", "lib32", "lib64", "libexec")
)


def is_system(path: Path | str) -> bool:
    """Tell whether a file belongs to the system or a toolchain, and so isn't watched."""
    text = str(path)
    return text.startswith(_SYSTEM_DIRECTORIES) or "/ziglang/lib/" in text


def read_stable(path: Path, *, display: str = "") -> bytes:
    """Return the file's whole content, read again if it was changed or replaced meanwhile.

    Raises `SourceNotFoundError` or `SourceError`.
    """
    subject = display or str(path)
    for _ in range(_READ_ATTEMPTS):
        data = _read_once(path, subject)
        if data is not None:
            return data
        time.sleep(_PAUSE_SECONDS)
    raise SourceError("the file is being written all the time", subject=subject, todo="try again when it is complete")


def check_regular(path: Path, *, display: str = "") -> os.stat_result:
    """Return the file's status.  Raises `SourceNotFoundError` or `SourceError` if it can't be read as a file."""
    subject = display or str(path)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(path, subject) from error
    except (OSError, ValueError) as error:
        raise SourceError(f"the file can't be read ({error})", subject=subject, todo=_PERMISSIONS) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise SourceError(f"this is {kind}, not a file", subject=subject, todo="give the path of a source or library")
    return found


def _not_found(path: Path, subject: str) -> SourceNotFoundError:
    if path.is_symlink():
        return SourceNotFoundError("the symbolic link leads nowhere", subject=subject, todo="check where it points to")
    address = subject.startswith(("unix:", "tcp:"))
    todo = f"for what another process offers, give lane={subject!r}" if address else "check the path"
    return SourceNotFoundError("there is no such file", subject=subject, todo=todo)


def _read_once(path: Path, subject: str) -> bytes | None:
    check_regular(path, display=subject)
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return None  # it is being replaced; the next round's check tells if it stays away
    except OSError as error:
        raise SourceError(f"the file can't be read ({error.strerror})", subject=subject, todo=_PERMISSIONS) from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return None
        data = read_open(descriptor, before.st_size)
        after, named = os.fstat(descriptor), path.stat()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    same = _moment(before) == _moment(after) == _moment(named) and len(data) == after.st_size
    return data if same else None


def read_open(descriptor: int, size: int) -> bytes:
    """Return the next ``size`` bytes of an open file, or what there is.

    Each system call gives up the GIL, and a file object makes a dozen of them for one file.
    """
    parts = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _moment(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_head(path: Path, size: int, *, display: str = "") -> bytes:
    """Return the first bytes of a regular file.  Raises `SourceNotFoundError` or `SourceError`."""
    check_regular(path, display=display)
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        what = f"the file can't be read ({error.strerror})"
        raise SourceError(what, subject=display or str(path), todo=_PERMISSIONS) from error
    with os.fdopen(descriptor, "rb") as file:
        return file.read(size)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest(path: Path) -> str:
    """Return a digest of the file's content, `ABSENT` if it isn't there, `UNREADABLE` if it is no file."""
    try:
        return sha256(read_stable(path))
    except SourceNotFoundError:
        return ABSENT
    except SourceError:
        return UNREADABLE


def signature(path: Path) -> str:
    """Return what the file system says about a system file; good enough where only a package manager writes."""
    try:
        return "stat:" + ":".join(map(str, _moment(path.stat())))
    except OSError:
        return ABSENT


def current(path: Path) -> str:
    """Return the file's `signature` if it belongs to the system, else its `digest`."""
    return signature(path) if is_system(path) else digest(path)


def differs(seen: Mapping[Path, str]) -> bool:
    """Tell whether any of the files no longer has the content that was seen."""
    return any(was == UNSURE or current(path) != was for path, was in seen.items())


class Snapshot:
    """The contents of files as a compiler saw them that is started after `start`.

    A file that was read before the compiler started and has the same content afterwards was surely seen with it.  So
    was one whose change time is older than the start (nobody can set change times back).
    """

    def __init__(self, known: Mapping[Path, str]) -> None:
        self.before = dict(known)
        self._start = 0

    def start(self, directory: Path) -> None:
        """Take the time from the file system's clock, which is coarser than the processor's."""
        marker = directory / "started"
        marker.touch()
        self._start = marker.stat().st_ctime_ns

    def seen(self, path: Path) -> str:
        """Return the digest that the compiler surely saw, or `UNSURE`."""
        now = current(path)
        if path in self.before:
            return now if now == self.before[path] else UNSURE
        try:
            return now if path.stat().st_ctime_ns < self._start else UNSURE
        except OSError:
            return now

    def seen_all(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return `seen` of each path."""
        return {path: self.seen(path) for path in paths}
