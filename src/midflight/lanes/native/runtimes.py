"""The C++ runtime, loaded before the first library that needs it, and kept.

Guarantee: the runtime isn't bound to what a library of the user's exports, so that it holds no version.

A library built by a newer compiler, or one that replaces ``operator new``, exports functions that libstdc++ has too.
Loaded together, libstdc++ is bound to the library's.  As it is never unloaded itself (its own STB_GNU_UNIQUE symbols
pin it), neither would the library be.  Loaded alone, it is bound to itself, as in a program that had it before.
"""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

from midflight import _core
from midflight.inspection.hosting import CXX_RUNTIMES

_log = logging.getLogger("midflight")
_kept: dict[str, ctypes.CDLL] = {}


def keep(data: bytes, origin: Path) -> None:
    """Load the runtime that a library needs.  ``origin``: the directory that the library lies in."""
    names, paths = _core.needs(data)
    for name in names:
        if name in CXX_RUNTIMES:
            _keep(_own(name, paths, origin) or name)


def _keep(file: str) -> None:
    if file in _kept:
        return
    try:
        _kept[file] = ctypes.CDLL(file)
    except OSError as error:
        _log.debug("%s can't be loaded beforehand: %s", file, error)  # the library's own load says more


def _own(name: str, paths: list[str], origin: Path) -> str | None:
    """Return the file in the library's run path, which may be another than the system's."""
    for entry in ":".join(paths).split(":"):
        directory = entry.replace("${ORIGIN}", str(origin)).replace("$ORIGIN", str(origin))
        if directory.startswith("/") and (file := Path(directory, name)).is_file():
            return str(file)
    return None
