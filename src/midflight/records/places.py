"""Where records are kept: a directory for each program, which is nobody else's."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from pathlib import Path

_NAME = 24


def program() -> str:
    """Say which program this is: the same text at each of its starts."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f"-m {spec.name}"
    file = getattr(main, "__file__", None)
    if isinstance(file, str):
        return os.path.realpath(file)
    words = sys.orig_argv
    if "-c" in words[1:-1]:
        return f"-c {words[words.index('-c') + 1]}"
    return "interactive"


def base() -> Path:
    """Return where all programs of the user have their records."""
    return platformdirs.user_state_path("midflight") / "crashes"


def directory(of: str) -> Path:
    """Return a program's directory, made if it wasn't there.  Raises OSError if it can't be used."""
    path = base() / hashlib.sha256(of.encode("utf-8", "surrogateescape")).hexdigest()[:_NAME]
    base().parent.mkdir(parents=True, exist_ok=True)
    for one in (base(), path):
        one.mkdir(mode=0o700, exist_ok=True)
        found = one.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            message = f"{one} isn't a directory that only its owner may use"
            raise PermissionError(message)
    return path


def open_private(path: Path, flags: int) -> int:
    """Open a file of ours.  Raises OSError for anything else that lies there."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        message = f"{path} isn't a file that only its owner may use"
        raise PermissionError(message)
    return descriptor
