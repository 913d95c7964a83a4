"""Whose a file or directory is: nothing is mapped, run or believed that another user may have put there.

Guarantees:
- What is judged is what gets used: a file is judged by its open descriptor, a directory by every name on the way to it.
- Nothing here follows a symbolic link at a path's last name, and nothing blocks (a pipe may have been planted).
- Root and this process's own user are trusted, nobody else.
- Any function may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from pathlib import Path

from midflight._errors import IntegrityError

_MOST_LINKS = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ALL_USERS = "0 0 4294967295"


def stranger(found: os.stat_result) -> str:
    """Say why a file or directory may be somebody else's work; "" if it can't."""
    if not _is_trusted(found.st_uid):
        return f"it belongs to another user (number {found.st_uid})"
    if found.st_mode & _OTHERS_WRITE and not stat.S_ISLNK(found.st_mode):
        return "others may write to it"
    return ""


def real_place(path: Path) -> Path:
    """Return an absolute directory path without symbolic links, which nobody else can make lead elsewhere.

    Raises `IntegrityError` where another user could rename, replace or redirect any part of it, and OSError where there
    is no such directory.
    """
    here, names, links = "/", list(reversed(path.absolute().parts[1:])), 0
    while names:
        name = names.pop()
        if name == os.pardir:
            here = os.path.dirname(here)  # noqa: PTH120 - one string, part by part
            continue
        following = os.path.join(here, name)  # noqa: PTH118 - the same
        found = os.lstat(following)
        _check_step(found, following)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            target = os.readlink(following)  # noqa: PTH115 - the same
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            if target.startswith("/"):
                here = "/"
            names += [part for part in reversed(target.split("/")) if part not in {"", os.curdir}]
        elif not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), following)
        else:
            here = following
    return Path(here)


def check_file(path: Path) -> None:
    """Refuse a file that another user has made, may change, or could exchange; links are followed as he could set them.

    Raises as `real_place` does.
    """
    for _ in range(_MOST_LINKS):
        path = real_place(path.parent) / path.name
        found = path.lstat()
        _check_step(found, str(path))
        if not stat.S_ISLNK(found.st_mode):
            return
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _check_step(found: os.stat_result, path: str) -> None:
    """Refuse a name on the way that others can exchange.  Where all may write, the sticky bit keeps owners apart."""
    if not _is_trusted(found.st_uid):
        raise _refusal(path, f"it belongs to another user (number {found.st_uid})")
    is_shared_directory = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if stat.S_ISLNK(found.st_mode) or is_shared_directory:
        return
    # Many systems give each user a group of his own, and let it write.
    own_group = found.st_gid in {0, os.getegid()}
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not own_group):
        raise _refusal(path, "others may write to it")


def anybody_may_add(directory: Path) -> bool:
    """Tell whether others can make files in a directory, as in /tmp, where they can't touch those that are there."""
    try:
        return bool(directory.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def own_directory(path: Path) -> Path:
    """Return a directory of ours, made (0700) if it wasn't there.  Raises `IntegrityError` for a planted one."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        why = _not_own(path)
        if why:
            raise _refusal(str(path), why) from None
    return path


def is_own_directory(path: Path) -> bool:
    """Tell whether this is a directory that only we can have filled."""
    try:
        return not _not_own(path)
    except OSError:
        return False


def _not_own(path: Path) -> str:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link"
    return stranger(found) if stat.S_ISDIR(found.st_mode) else "it is no directory"


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file of ours and return its descriptor.  Raises OSError, and `IntegrityError` for a planted one."""
    try:
        descriptor = os.open(path, flags | _OPEN, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refusal(str(path), "it is a symbolic link") from None
        if error.errno in {errno.EISDIR, errno.ENXIO}:
            raise _refusal(str(path), "it is no regular file") from None
        raise
    found = os.fstat(descriptor)
    why = stranger(found) if stat.S_ISREG(found.st_mode) else "it is no regular file"
    if why:
        os.close(descriptor)
        raise _refusal(str(path), why)
    return descriptor


def read_own(path: Path) -> bytes:
    """Return the contents of a file of ours; raises as `open_own` does."""
    with os.fdopen(open_own(path), "rb") as file:
        return file.read()


def is_own_file(path: Path) -> bool:
    """Tell whether this is a regular file that only we can have made."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and not stranger(found)


def _refusal(path: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"it isn't used, because somebody else may have put it here: {why}",
        subject=path,
        todo="find out who made it, then remove it",
    )


def _is_trusted(user: int) -> bool:
    return user in {0, os.geteuid()} or user == _nobody()


@lru_cache(maxsize=1)
def _nobody() -> int:
    """Return the number that stands for root where users are renumbered (a container without root), else -1."""
    try:
        known = " ".join(Path("/proc/self/uid_map").read_text("ascii").split())
        return -1 if known == _ALL_USERS else int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
    except (OSError, ValueError):
        return -1
