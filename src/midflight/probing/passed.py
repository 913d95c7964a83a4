"""Which versions have passed their probe, under a key of all that a verdict depends on: they aren't tried again.

Guarantees:
- This process remembers the last ones; the machine remembers those that no check of the program's has judged, because
  nothing but the library decides then.
- What another user may have put into the cache isn't believed.
- Any function may be called from any thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from midflight import _core, _ownership
from midflight._cache import cache_subdirectory
from midflight._errors import IntegrityError
from midflight._fork import Lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._trial import Probe
    from midflight.lanes.native.neighbours import Neighbour
    from midflight.probing.protocol import Job

_REMEMBERED = 256
_DIRECTORY = "probed"
_INSTALLED = Path("/etc/ld.so.cache")  # made anew whenever the system's libraries change

_passed: OrderedDict[str, tuple[str, ...]] = OrderedDict()
_lock = Lock()  # protects _passed; held for look-ups only
_log = logging.getLogger("midflight")


def key_of(job: Job, near: Sequence[Neighbour], probe: Probe, *, asked: bool) -> str:
    """Return what a verdict depends on: the candidate, the libraries that it finds, what runs it, and who asks."""
    files = [_stamp(one.file) for one in near]
    runs = (sys.version, os.confstr("CS_GNU_LIBC_VERSION"), os.uname().machine, _core.__file__, _stamp(_INSTALLED))
    finds = [os.environ.get(name) for name in ("LD_LIBRARY_PATH", "LD_PRELOAD")]
    return hashlib.sha256(msgspec.msgpack.encode((job, files, probe.memory, runs, finds, asked))).hexdigest()


def _stamp(file: Path) -> tuple[str, int, int]:
    """Return what changes with a file's contents; nothing does so for one that isn't there."""
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), found.st_ino, found.st_mtime_ns


def known(key: str, *, on_disk: bool) -> tuple[str, ...] | None:
    """Return the warnings of a version that has passed, None: it hasn't."""
    with _lock:
        found = _passed.get(key)
    return found if found is not None or not on_disk else _read(key)


def remember(key: str, warnings: tuple[str, ...], *, on_disk: bool) -> None:
    """Note that a version has passed."""
    with _lock:
        _passed[key] = warnings
        while len(_passed) > _REMEMBERED:
            _passed.popitem(last=False)
    if on_disk:
        _write(key, warnings)


def forget() -> None:
    """Empty this process's memory; the disk keeps what it has."""
    with _lock:
        _passed.clear()


def _read(key: str) -> tuple[str, ...] | None:
    try:
        return msgspec.json.decode(_ownership.read_own(cache_subdirectory(_DIRECTORY) / key), type=tuple[str, ...])
    except IntegrityError as error:
        _log.warning("%s", error)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return None


def _write(key: str, warnings: tuple[str, ...]) -> None:
    """Write an entry; a cache that can't be written costs time, not the result."""
    with contextlib.suppress(OSError, IntegrityError):
        directory = cache_subdirectory(_DIRECTORY)
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".", suffix=".new")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(warnings))
            Path(temporary).replace(directory / key)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
