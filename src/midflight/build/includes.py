"""Finds, before a compiler runs, the files that C and C++ sources may include.

The compiler's own dependency output is what counts.  This look at the text beforehand serves two ends that it can't:
the contents are known from before the compiler started, so that a save in the midst of a build is noticed; and the
places where a header was looked for in vain are known, so that a header that appears there later is noticed too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._errors import SourceError, SourceNotFoundError
from midflight.build import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_INCLUDE = re.compile(
    rb"^[ \t]*#[ \t]*(?:include|include_next|import|embed)[ \t]*(?:\"([^\"\n]+)\"|<([^>\n]+)>)", re.MULTILINE
)
_HAS_INCLUDE = re.compile(rb"__has_(?:include|embed)(?:_next)?[ \t]*\([ \t]*(?:\"([^\"\n]+)\"|<([^>\n]+)>)")
_MOST_FILES = 5000


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Where headers are looked for: ``quoted`` for ``"…"`` only, ``common`` for both forms."""

    quoted: tuple[Path, ...] = ()
    common: tuple[Path, ...] = ()


@dataclass(slots=True)
class Scan:
    """What was found: the digests of files that are there, and the paths where one was looked for in vain."""

    files: dict[Path, str] = field(default_factory=dict)
    absent: set[Path] = field(default_factory=set)


def search_path(flags: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> SearchPath:
    """Return the search path that ``flags`` and the environment give, without the system's own directories."""
    found: dict[str, list[Path]] = {"-iquote": [], "-I": [], "-isystem": [], "-idirafter": []}
    words = iter(flags)
    for word in words:
        for option, directories in found.items():
            if word == option:
                directories.append(Path(cwd, next(words, "")))
            elif word.startswith(option):
                directories.append(Path(cwd, word.removeprefix(option)))
            else:
                continue
            break
    for name in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"):
        if name in environment:
            found["-I"] += [Path(cwd, part) for part in environment[name].split(os.pathsep)]
    common = (*found["-I"], *found["-isystem"], *found["-idirafter"])
    return SearchPath(tuple(found["-iquote"]), tuple(path for path in common if not files.is_system(f"{path}/")))


def scan(sources: Mapping[Path, bytes], search: SearchPath) -> Scan:
    """Look through ``sources`` and all that they include, as far as it can be told without a preprocessor."""
    result = Scan()
    waiting = list(sources.items())
    for path, data in waiting:
        result.files[path] = files.sha256(data)
    while waiting and len(result.files) < _MOST_FILES:
        path, data = waiting.pop()
        for name, quoted in _names(data):
            found = _find(name, _places(path, search, quoted=quoted), result.absent)
            if found is None or found in result.files or files.is_system(found):
                continue
            try:
                content = files.read_stable(found)
            except (SourceError, SourceNotFoundError):
                continue
            result.files[found] = files.sha256(content)
            waiting.append((found, content))
    return result


def candidates(names: Iterable[str], includers: Iterable[Path], search: SearchPath) -> set[Path]:
    """Return every place where the named headers would be looked for."""
    places = {*(path.parent for path in includers), *search.quoted, *search.common}
    return {Path(os.path.normpath(place / name)) for place in places for name in names}


def _names(data: bytes) -> set[tuple[str, bool]]:
    found = (*_INCLUDE.findall(data), *_HAS_INCLUDE.findall(data))
    return {(os.fsdecode(quoted or angled), bool(quoted)) for quoted, angled in found if b"\0" not in quoted + angled}


def _places(includer: Path, search: SearchPath, *, quoted: bool) -> tuple[Path, ...]:
    return (includer.parent, *search.quoted, *search.common) if quoted else search.common


def _find(name: str, places: Iterable[Path], absent: set[Path]) -> Path | None:
    """Return the first place that has the file; add those before it to ``absent``."""
    for place in places:
        path = Path(os.path.normpath(place / name))
        if path.is_file():
            return path
        absent.add(path)
    return None
