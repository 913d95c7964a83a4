"""The content-addressed store: built and copied libraries, named by the SHA-256 of their bytes.

Guarantees:
- An entry is written whole or not at all (a temporary file, then an atomic rename), by any number of threads and
  processes at once.
- Bytes that are read from it are checked against their name, so that a damaged entry is never taken for a good one.
- What somebody else may have put there is never used, nor written through (`midflight._ownership`).
- Pruning never removes an entry that a live process holds (`hold`): a held entry has a second hard link in that
  process's directory under ``live/``, whose descriptor stays locked for as long as the process lives; nor, for some
  weeks, one that a program may want again (`keep`).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from midflight import _ownership
from midflight._cache import cache_directory, cache_subdirectory
from midflight._errors import BadLibraryError, IntegrityError
from midflight._fork import Lock
from midflight.build import files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

DEFAULT_LIMIT = 1 << 30
LIMIT_VARIABLE = "MIDFLIGHT_CACHE_SIZE"

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_PRUNE_EVERY_SECONDS = 3600.0
_TOUCH_EVERY_SECONDS = 10.0
_ABANDONED_SECONDS = 86400.0
_KEPT_SECONDS = 60 * 86400.0
_NAME = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger("midflight")


class Stored(NamedTuple):
    """An entry of the store."""

    sha256: str
    path: Path


class _Signature(NamedTuple):
    """What the file system says about a file's content.  The change time can't be set back by anybody.

    An entry that was given to another user, or became writable to one, has another change time too.
    """

    inode: int
    size: int
    mtime: int
    ctime: int


def put(data: bytes) -> Stored:
    """Store ``data`` and return its name and place.  Bytes that are there already are not written again."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = find(sha256)
    if path is not None:
        return Stored(sha256, path)
    path = _place(sha256)
    _write(path, data)
    _budget.spend(len(data), path)
    return Stored(sha256, path)


def adopt(file: Path) -> Stored:
    """Store a file from a build's own directory in the cache by giving it its place, without a copy."""
    file.chmod(0o400)
    data = file.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    path = find(sha256)
    if path is None:
        path = _place(sha256)
        file.replace(path)
        _budget.spend(len(data), path)
    return Stored(sha256, path)


def find(sha256: str) -> Path | None:
    """Return the entry's path if it is there and whole, else None."""
    path = path_of(sha256)
    try:
        found = path.lstat()
        signature = _signature(found)
        if _verified.get(sha256) != signature:
            if hashlib.sha256(_read(path)).hexdigest() != sha256:
                return None
            _verified[sha256] = signature
        _touch(path, found)
    except OSError:
        return None
    except IntegrityError as error:
        _log.warning("%s", error)
        return None  # whoever stores the bytes now puts a file of ours in its place
    return path


def read(sha256: str, path: Path | None = None) -> bytes:
    """Return the bytes of the entry (at ``path``, if its cache is no longer the current one).

    Raises `BadLibraryError` if they are gone or aren't what was stored, `IntegrityError` if the file isn't ours.
    """
    path = path or path_of(sha256)
    try:
        data = _read(path)
    except OSError as error:
        what = f"the stored copy can't be read ({error.strerror})"
        raise BadLibraryError(what, subject=str(path), todo="load or swap from the source again") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        what = "the stored copy was changed: its bytes don't match their SHA-256"
        raise BadLibraryError(what, subject=str(path), todo="load or swap from the source again")
    return data


def path_of(sha256: str) -> Path:
    """Return where an entry is, or would be."""
    if _NAME.fullmatch(sha256) is None:
        message = f"not a SHA-256: {sha256!r}"
        raise ValueError(message)
    return cache_directory() / "artifacts" / sha256[:2] / f"{sha256}.so"


def _place(sha256: str) -> Path:
    """Return where to put an entry: a name in a directory of ours, with nothing there that a rename can't replace."""
    path = cache_subdirectory("artifacts", sha256[:2]) / f"{sha256}.so"
    if not path.is_symlink() and path.is_dir():
        what = "there is a directory in the place of a stored library"
        raise IntegrityError(what, subject=str(path), todo="find out who made it, then remove it")
    return path


_verified: dict[str, _Signature] = {}


def _signature(found: os.stat_result) -> _Signature:
    return _Signature(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path) -> bytes:
    descriptor = _ownership.open_own(path)
    try:
        return files.read_open(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            # Read-only: whoever opens a stored library in an editor or a linker must not change it under its name.
            os.fchmod(file.fileno(), 0o400)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _touch(path: Path, found: os.stat_result) -> None:
    """Note that an entry is in use.  Not every time: it changes the signature, and the bytes would be hashed again."""
    if time.time() - found.st_mtime > _TOUCH_EVERY_SECONDS:
        with contextlib.suppress(OSError):
            os.utime(path)


# ---- entries in use -------------------------------------------------------------------------------------------------


class _Live:
    """The entries that this process holds.

    A forked child makes a directory of its own for what it takes; what it inherited stays protected too, because it
    also inherited the parent's locked descriptor.
    """

    def __init__(self) -> None:
        # Reentrant: a garbage collection inside `hold` may run a finalizer that calls `release`.
        self._lock = Lock()
        self._counts: dict[str, int] = {}
        self._directory: Path | None = None
        self._descriptor = -1
        self._owner = 0

    def hold(self, sha256: str, path: Path) -> int:
        with self._lock:
            directory = self._own_directory()
            self._counts[sha256] = self._counts.get(sha256, 0) + 1
            if self._counts[sha256] == 1:
                # Without hard links in this file system the entry is only as safe as its last use is recent.
                with contextlib.suppress(OSError):
                    os.link(path, directory / sha256)
            return self._owner

    def release(self, sha256: str, owner: int) -> None:
        with self._lock:
            if owner != os.getpid() or self._directory is None or owner != self._owner:
                return
            left = self._counts.pop(sha256, 1) - 1
            if left > 0:
                self._counts[sha256] = left
                return
            with contextlib.suppress(OSError):
                (self._directory / sha256).unlink(missing_ok=True)

    def _own_directory(self) -> Path:
        if self._directory is None or self._owner != os.getpid() or not self._directory.is_dir():
            self._directory = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=cache_subdirectory("live")))
            self._owner = os.getpid()
            self._counts = {}
            self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            atexit.register(self._leave, self._directory, self._owner)
        return self._directory

    def _leave(self, directory: Path, owner: int) -> None:
        if owner == os.getpid():
            shutil.rmtree(directory, ignore_errors=True)


_live = _Live()


def hold(sha256: str, path: Path) -> int:
    """Keep an entry from being pruned until `release` is called with the same name and the returned token."""
    return _live.hold(sha256, path)


def release(sha256: str, token: int) -> None:
    """Give up one `hold`."""
    _live.release(sha256, token)


# ---- entries that programs may want again ----------------------------------------------------------------------------


def keep(owner: str, sha256: str, path: Path) -> None:
    """Keep an entry from being pruned for ``owner``'s sake, also when no process runs: a link in ``kept/``."""
    with contextlib.suppress(FileExistsError):
        os.link(path, cache_subdirectory("kept", owner) / sha256)


def keep_only(owner: str, wanted: Collection[str]) -> None:
    """Let go of all that was kept for an owner's sake, but for these."""
    for path in cache_subdirectory("kept", owner).iterdir():
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _sweep_kept(directory: Path) -> None:
    """Let go of what nobody has used for a long time: its program may not exist any more."""
    oldest = time.time() - _KEPT_SECONDS
    for path in directory.glob("*/*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


# ---- pruning --------------------------------------------------------------------------------------------------------


def limit() -> int:
    """Return the store's size limit in bytes: ``MIDFLIGHT_CACHE_SIZE`` (``500M``, ``2G``), by default 1 GiB."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip().upper().removesuffix("B").removesuffix("I")
    if not text:
        return DEFAULT_LIMIT
    number, unit = (text[:-1], text[-1]) if text[-1] in _UNITS else (text, "")
    if not number.isdecimal():
        _log.warning("%s=%s isn't a size; 1 GiB is used", LIMIT_VARIABLE, text)
        return DEFAULT_LIMIT
    return int(number) * _UNITS[unit]


def prune(size: int | None = None, *, keep: Path | None = None) -> int:
    """Delete the entries used longest ago until the store fits in ``size`` bytes; return how many bytes went.

    Entries that a process holds stay, and so does ``keep``.
    """
    size = limit() if size is None else size
    directory = cache_directory()
    with _exclusive(directory / "prune.lock") as ours:
        if not ours:
            return 0  # another process is at it
        _sweep_live(directory / "live")
        _sweep_kept(directory / "kept")
        _sweep_abandoned(directory)
        return _drop_oldest([entry for entry in _entries(directory) if entry.path != keep], size)


class _Entry(NamedTuple):
    used: float
    size: int
    path: Path


def _entries(directory: Path) -> list[_Entry]:
    found = []
    for folder in (*_folders(directory / "artifacts"), *_folders(directory / "manifests")):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                status = path.lstat()
                if status.st_nlink == 1 and not path.name.startswith("."):
                    found.append(_Entry(status.st_mtime, status.st_size, path))
    return sorted(found)


def _folders(directory: Path) -> list[Path]:
    """Return the folders in one of the cache's directories; planted ones may lead anywhere, and are left alone."""
    if not _ownership.is_own_directory(directory):
        return []
    return [path for path in directory.iterdir() if _ownership.is_own_directory(path)]


def _drop_oldest(entries: list[_Entry], size: int) -> int:
    total = sum(entry.size for entry in entries)
    dropped = 0
    for entry in entries:
        if total - dropped <= size:
            break
        with contextlib.suppress(OSError):
            entry.path.unlink()
            dropped += entry.size
    return dropped


def _sweep_live(directory: Path) -> None:
    """Delete the directories of processes that have ended: nobody holds their lock any more."""
    for path in _folders(directory):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _sweep_abandoned(directory: Path) -> None:
    """Delete what a killed build or write left behind."""
    oldest = time.time() - _ABANDONED_SECONDS
    stores = (*_folders(directory / "artifacts"), *_folders(directory / "manifests"))
    left = [path for folder in stores for path in folder.glob(".new-*")]
    for path in (*_folders(directory / "work"), *left):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_mtime >= oldest:
                continue
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    descriptor = _ownership.open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


class _Budget:
    """Decides when to prune: a sixteenth of the limit was written, or nobody has pruned for an hour."""

    def __init__(self) -> None:
        self._written = 0
        self._asked = False

    def spend(self, size: int, path: Path) -> None:
        self._written += size
        due = self._written * 16 > limit()
        if not self._asked:
            self._asked = True
            due = due or self._stale()
        if due:
            self._written = 0
            with contextlib.suppress(OSError):
                prune(keep=path)
                os.utime(cache_directory() / "prune.lock")

    def _stale(self) -> bool:
        try:
            return time.time() - (cache_directory() / "prune.lock").stat().st_mtime > _PRUNE_EVERY_SECONDS
        except OSError:
            return True


_budget = _Budget()
