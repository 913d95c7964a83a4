"""Where midflight keeps what it can make again: built libraries, manifests, read interfaces.

What lies there gets loaded into programs, so a directory that somebody else owns or may write to is never used.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

import platformdirs

from midflight._fork import Lock

VARIABLE = "MIDFLIGHT_CACHE_DIR"

_log = logging.getLogger("midflight")
_lock = Lock()
_chosen: dict[str, Path] = {}


def cache_directory() -> Path:
    """Return the cache's directory, made if it wasn't there.

    It is ``MIDFLIGHT_CACHE_DIR``, or the user's cache directory; where that can't be used, a private temporary one
    that is deleted at exit.
    """
    wanted = os.environ.get(VARIABLE) or ""
    with _lock:
        chosen = _chosen.get(wanted)
        if chosen is None or not chosen.is_dir():
            chosen = _chosen[wanted] = _choose(wanted)
        return chosen


def cache_subdirectory(*parts: str) -> Path:
    """Return a directory inside the cache, made if it wasn't there."""
    path = cache_directory().joinpath(*parts)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _choose(wanted: str) -> Path:
    # Absolute, because the program may change its working directory later.
    path = Path(wanted or platformdirs.user_cache_path("midflight")).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(path)
    except OSError as error:
        _log.warning("the cache directory %s can't be used (%s); a temporary one is used instead", path, error)
        return _temporary()
    return path


def _check(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        message = "it is not a directory"
        raise NotADirectoryError(message)
    if found.st_uid != os.geteuid():
        message = "it belongs to another user"
        raise PermissionError(message)
    if found.st_mode & stat.S_IWOTH:
        message = "everybody may write to it"
        raise PermissionError(message)
    # The mode's bits don't tell about read-only mounts and quotas; a file does.
    handle, name = tempfile.mkstemp(prefix=".probe-", dir=path)
    os.close(handle)
    Path(name).unlink()


def _temporary() -> Path:
    path = Path(tempfile.mkdtemp(prefix="midflight-cache-"))
    atexit.register(_remove, path, os.getpid())
    return path


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves its parent's directory alone
        shutil.rmtree(path, ignore_errors=True)
