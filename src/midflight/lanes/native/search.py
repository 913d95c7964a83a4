"""Where the system's loader would look for the libraries that a hardened one needs, and who could put one there.

The loader opens them by itself, after us: so only what nobody else can write to is let through.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from midflight import _core, _ownership
from midflight._errors import IntegrityError
from midflight.lanes.native.neighbours import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midflight.lanes.native.neighbours import Neighbour


def check(data: bytes, origin: Path, found: Iterable[Neighbour]) -> None:
    """Raise `IntegrityError` where another user could give the library something that it needs.

    ``found``: what lies beside it, and what these need in turn.
    """
    _check_one(data, origin)
    for neighbour in found:
        _check_file(neighbour.file)
        _check_one(neighbour.file.read_bytes(), neighbour.file.parent)


def _check_one(data: bytes, origin: Path) -> None:
    names, paths = _core.needs(data)
    for directory in _directories(paths, origin):
        _check_directory(directory)
        for name in names:
            if "/" not in name:
                _check_file(directory / name)
    for name in names:
        if "/" in name:
            place = Path(name)
            if not place.is_absolute():
                raise _refusal(name, "it would be looked for in the working directory")
            _check_directory(place.parent)
            _check_file(place)


def _directories(paths: Iterable[str], origin: Path) -> Iterator[Path]:
    for entry in ":".join(paths).split(":") if paths else ():
        rest = origin_of(entry)
        if rest is not None:
            yield Path(os.path.normpath(origin / rest))
        elif entry.startswith("/"):
            yield Path(entry)
        else:
            raise _refusal(entry or "an empty part of its run path", "it would be looked for in the working directory")


def _check_directory(directory: Path) -> None:
    """Judge what is there; of what isn't, the directory in which somebody could make it."""
    try:
        _ownership.real_place(directory)
    except FileNotFoundError:
        parent = directory.parent
        if _ownership.anybody_may_add(parent):
            raise _refusal(str(directory), "it isn't there, and everybody could make it") from None
        if parent != directory:
            _check_directory(parent)
    except IntegrityError as error:
        raise _refusal(error.subject, error.what.rpartition(": ")[2]) from None
    except OSError:
        return  # no directory: the loader finds nothing there either
    else:
        if _ownership.anybody_may_add(directory):
            raise _refusal(str(directory), "everybody may put files there")


def _check_file(file: Path) -> None:
    try:
        why = _ownership.stranger(file.stat())
    except OSError:
        return
    if why:
        raise _refusal(str(file), why)


def _refusal(place: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"the library has the loader look for others in {place}, and somebody else could put one there: {why}",
        todo="link it with a run path (-Wl,-rpath) that only you and root can write to",
    )
