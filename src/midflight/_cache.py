"""Where midflight keeps what it can make again: built libraries, manifests, read interfaces.

What lies there gets loaded into programs, so a directory that somebody else owns, may write to or can exchange is never
used: see `midflight._ownership`.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs

from midflight import _ownership
from midflight._errors import IntegrityError
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
    """Return a directory inside the cache, made if it wasn't there.  Raises `IntegrityError` for a planted one."""
    path = cache_directory()
    for part in parts:
        path = _ownership.own_directory(path / part)
    return path


def _choose(wanted: str) -> Path:
    # Absolute, because the program may change its working directory later.
    path = Path(wanted or platformdirs.user_cache_path("midflight")).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = _ownership.real_place(path)
        _check(path)
    except (OSError, IntegrityError) as error:
        reason = f"{error.subject}: {error.what}" if isinstance(error, IntegrityError) else error
        _log.warning("the cache directory %s can't be used (%s); a temporary one is used instead", path, reason)
        return _temporary()
    return path


def _check(path: Path) -> None:
    why = _ownership.stranger(path.stat())
    if why:
        raise PermissionError(why)
    # The mode's bits don't tell about read-only mounts and quotas; a file does.
    handle, name = tempfile.mkstemp(prefix=".probe-", dir=path)
    os.close(handle)
    Path(name).unlink()


def _temporary() -> Path:
    """Make a directory in the temporary one.  Raises `IntegrityError` where others could exchange it."""
    path = Path(tempfile.mkdtemp(prefix="midflight-cache-", dir=_ownership.real_place(Path(tempfile.gettempdir()))))
    atexit.register(_remove, path, os.getpid())
    return path


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves its parent's directory alone
        shutil.rmtree(path, ignore_errors=True)
