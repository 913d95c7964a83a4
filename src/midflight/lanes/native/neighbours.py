"""Libraries that a library looks for beside itself: ``$ORIGIN`` in its run path.

The private copy lies elsewhere, so the loader would look in the wrong place.  A directory of the version's own repeats
the places around it with symbolic links: the loader finds the user's files, and knows them by device and inode, so
that they are the same libraries that the rest of the program uses.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import BadLibraryError, MissingLibraryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ORIGIN = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})(?:/(?P<rest>.*))?")
_MOST_UPS = 32


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One library.  ``place``: its path from the directory of the library that it belongs to; ``file``: the user's."""

    place: str
    file: Path
    inode: int


@dataclass(frozen=True, slots=True)
class _Search:
    """One directory of a run path.  ``place``: from the first library's directory; None without ``$ORIGIN``."""

    directory: Path
    place: str | None


def find(data: bytes, origin: Path) -> list[Neighbour]:
    """Return the libraries that this one, and those in turn, look for by ``$ORIGIN``.

    Raises `BadLibraryError` for one that can't be loaded safely: the loader would be given it unchecked.
    """
    found: dict[str, Neighbour] = {}
    _follow(data, origin, "", [], found)
    return list(found.values())


def _follow(data: bytes, origin: Path, place: str, inherited: list[_Search], found: dict[str, Neighbour]) -> None:
    names, paths = _core.needs(data)
    if not paths and not inherited:
        return  # as in most libraries
    searches = [*_searches(paths, origin, place), *inherited]
    for name in names:
        neighbour = _look_up(name, searches)
        if neighbour is None or neighbour.place in found:
            continue
        found[neighbour.place] = neighbour
        _follow(
            _checked(neighbour.file),
            neighbour.file.parent,
            os.path.dirname(neighbour.place),  # noqa: PTH120 - relative, may begin with ..
            searches,
            found,
        )


def origin_of(entry: str) -> str | None:
    """Return what follows ``$ORIGIN`` in an entry of a run path ("." for nothing), None for another entry."""
    match = _ORIGIN.fullmatch(entry)
    return None if match is None else match["rest"] or "."


def _searches(paths: Iterable[str], origin: Path, place: str) -> Iterator[_Search]:
    for entry in ":".join(paths).split(":"):
        rest = origin_of(entry)
        if rest is not None:
            yield _Search(origin / rest, os.path.join(place, rest))  # noqa: PTH118 - relative, may begin with ..
        elif entry.startswith("/"):
            yield _Search(Path(entry), None)


def _look_up(name: str, searches: Iterable[_Search]) -> Neighbour | None:
    if "/" in name:
        return None  # a path of its own: the loader doesn't search
    for search in searches:
        file = search.directory / name
        if file.is_file():
            if search.place is None:
                return None  # the loader finds it there by itself
            return Neighbour(os.path.join(search.place, name), file, file.stat().st_ino)  # noqa: PTH118
    return None


def _checked(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        _core.check(data)
    except OSError as error:
        what = f"a library that this one needs can't be read: {error.strerror}"
        raise MissingLibraryError(what, subject=str(file), todo="mend this library first") from None
    except BadLibraryError as error:
        error.subject, error.todo = str(file), "rebuild this library first: the one that is being loaded needs it"
        raise
    return data


# ---- the places around the private copy -----------------------------------------------------------------------------


def lay_out(root: Path, neighbours: Iterable[Neighbour]) -> Path:
    """Make links to all neighbours below ``root``; return the directory in which the private copy belongs."""
    neighbours = list(neighbours)
    ups = max((_ups(one.place) for one in neighbours), default=0)
    home = root
    for _ in range(min(ups, _MOST_UPS)):
        home = home / "up"
        home.mkdir(mode=0o700)
    for one in neighbours:
        if _ups(one.place) <= _MOST_UPS:
            _link(home, one)
    return home


def _ups(place: str) -> int:
    return os.path.normpath(place).split("/").count("..")


def _link(home: Path, one: Neighbour) -> None:
    *directories, name = one.place.split("/")
    here = home
    for part in directories:
        # The loader walks the path as it is written, also through directories that it leaves again.
        here = here / part
        here.mkdir(mode=0o700, exist_ok=True)
    (here / name).symlink_to(one.file.absolute())


# ---- what the loader took instead -----------------------------------------------------------------------------------


def stale(neighbours: Iterable[Neighbour]) -> list[Path]:
    """Return those of which other bytes are loaded: the loader takes a library that it has under the same name."""
    loaded = set()
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6:  # noqa: PLR2004 - address, rights, offset, device, inode, path
            loaded.add(int(fields[4]))
    # By inode only: on some file systems the map shows another device than stat does.
    return [one.file for one in neighbours if one.inode not in loaded]
