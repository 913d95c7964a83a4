"""The private directory of this process: where the copies lie that get mapped.

Guarantees:
- It is 0700, made by this process, and no name in it is used twice.  Nobody but this user and root can put another in
  its place.
- It is never shared: the child of a fork makes its own, and never removes its parent's files.
- Its path can be given to the loader and found in the memory map as it stands: absolute, free of symbolic links, and of
  characters that mean something to either.
- One that was left behind by a dead process is removed by the next process that makes one.  A live process holds a
  lock on a file inside, which the kernel lets go of however the process ends; a process number says nothing, it is
  used again.
- Any function here may be called from any thread.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import re
import shutil
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from midflight import _ownership
from midflight._errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "midflight-"
_LOCK_NAME = "lock"


_PLAIN_PATH = re.compile(r"/[^$\n]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")
_LONGEST_STEM = 100


def _bases() -> Iterator[Path]:
    """Directories to try, memory-backed ones first: a copy that lives as long as a version needs no disk."""
    for name in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm", tempfile.gettempdir()):  # noqa: S108 - checked
        if name.startswith("/"):
            with contextlib.suppress(OSError, IntegrityError):
                yield _ownership.real_place(Path(name))


def _may_hold_code(base: Path) -> bool:
    try:
        mode = base.stat().st_mode
        return (
            _PLAIN_PATH.fullmatch(str(base)) is not None
            and stat.S_ISDIR(mode)
            and not os.statvfs(base).f_flag & os.ST_NOEXEC
            and os.access(base, os.W_OK | os.X_OK)
            # Where others may write, only the sticky bit keeps them from putting a directory of theirs in our place.
            and (not mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(mode & stat.S_ISVTX))
        )
    except OSError:
        return False


def plain_stem(text: str) -> str:
    """Make a part of a file name from a module's name, which may be any text."""
    return _UNSAFE.sub("_", text)[:_LONGEST_STEM]


class PrivateDirectory:
    """A directory that nobody else touches, made when it is first needed."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._path: Path | None = None
        self._text = ""  # the same path
        self._lock_file = -1
        self._made = False
        self._numbers = itertools.count(1)

    def new_path(self, stem: str) -> str | None:
        """Return a path that was never used before, of a `plain_stem`; None where no directory can be had.

        A str, because every swap comes here, and a Path costs as much as the switch itself.  For the same reason nobody
        looks here whether the directory is still there: who can't make the file asks `renewed_path`.
        """
        with self._mutex:
            if not self._made:
                self._make()
            return self._next(stem)

    def renewed_path(self, stem: str) -> str | None:
        """Return a path as `new_path` does, in a new directory, if somebody has removed the old one; else None."""
        with self._mutex:
            if self._path is None or self._path.is_dir():
                return None
            self._make()
            return self._next(stem)

    def _next(self, stem: str) -> str | None:
        return None if self._path is None else f"{self._text}/{stem}-{next(self._numbers)}.so"

    def new_directory(self, stem: str) -> Path | None:
        """Make a directory that was never used before, or return None as `new_path` does."""
        text = self.new_path(stem)
        while text is not None:
            path = Path(text)
            try:
                path.mkdir(mode=0o700)
            except OSError:
                text = self.renewed_path(stem)
            else:
                return path
        return None

    def forget(self) -> None:
        """In the child of a fork: the directory is the parent's.

        The child goes on holding the lock, so that nobody sweeps away the files of versions that both still have.
        """
        self._mutex = threading.Lock()
        self._path, self._lock_file, self._made = None, -1, False

    def remove(self) -> None:
        """Remove it with all that is in it (mapped files stay mapped)."""
        with self._mutex:
            self._let_go()

    def _let_go(self) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._lock_file)
        self._path, self._lock_file = None, -1

    def _make(self) -> None:
        self._made = True
        self._let_go()
        for base in filter(_may_hold_code, _bases()):
            try:
                path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getuid()}-{os.getpid()}-", dir=base))
            except OSError:
                continue
            try:
                self._lock_file = _locked(path / _LOCK_NAME, create=True)
            except OSError:
                shutil.rmtree(path, ignore_errors=True)
                continue
            self._path, self._text = path, str(path)
            _sweep(base, keep=path)
            return


def _locked(path: Path, *, create: bool) -> int:
    """Open and lock a file; raise OSError where it is locked by another process."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if create else 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(base: Path, keep: Path) -> None:
    """Remove directories of this user whose processes are dead."""
    for path in base.glob(f"{_PREFIX}{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if path == keep or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            descriptor = _locked(path / _LOCK_NAME, create=False)
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)


private = PrivateDirectory()
atexit.register(private.remove)
