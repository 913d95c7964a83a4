"""Where the system's loader looks for a library: in its order, as ld.so(8) has it."""

from __future__ import annotations

import os
import re
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from midflight._errors import BadLibraryError
from midflight.artifact import dynamic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from midflight.artifact.dynamic import Dynamic

ORIGIN = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})(?:/(?P<rest>.*))?")
_TOKENS = re.compile(r"\$(?:ORIGIN|\{ORIGIN\}|LIB|\{LIB\})")
_CACHE = Path("/etc/ld.so.cache")
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER, _CACHE_ENTRY = 48, struct.Struct("<iIIIQ")
_LIB = ("lib/x86_64-linux-gnu", "lib64", "lib")
_DEFAULT = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_LARGEST_CACHE = 64 << 20


class Found(NamedTuple):
    """A library's file, and by what it was found."""

    path: Path
    how: str
    library: Dynamic


class Searcher(NamedTuple):
    """A library that needs others: where it lies, and the run paths of those that it is needed by."""

    origin: Path
    library: Dynamic
    inherited: tuple[str, ...] = ()

    def paths(self) -> tuple[str, ...]:
        """Return its DT_RPATH and its ancestors', where it hasn't got a DT_RUNPATH; these are the rules."""
        own = () if self.library.runpath else tuple(_expanded(self.library.rpath, self.origin))
        return (*own, *self.inherited)


def find(name: str, by: Searcher, machine: int, wanted: Collection[bytes]) -> Found | None:
    """Return the file that the loader would take for a name; it is asked which of the ``wanted`` symbols it has."""
    for how, path in _candidates(name, by):
        try:
            library = dynamic.read_file(path, wanted)
        except (OSError, ValueError, BadLibraryError):
            continue  # the loader passes over what it can't read, and over other machines' libraries
        if library.machine == machine:
            return Found(path, how, library)
    return None


def _candidates(name: str, by: Searcher) -> Iterator[tuple[str, Path]]:
    if "/" in name:
        yield "a path of its own", Path(name)
        return
    if not by.library.runpath:
        yield from (("DT_RPATH", Path(entry, name)) for entry in by.paths())
    library_path = os.environ.get("LD_LIBRARY_PATH", "")
    if library_path:
        yield from (("LD_LIBRARY_PATH", Path(entry or ".", name)) for entry in re.split("[:;]", library_path))
    yield from (("DT_RUNPATH", Path(entry, name)) for entry in _expanded(by.library.runpath, by.origin))
    yield from (("the system's cache", Path(entry)) for entry in cached().get(name, ()))
    yield from (("the system's directories", Path(entry, name)) for entry in _DEFAULT)
    yield from (("loaded already", Path(entry)) for entry in _loaded().get(name, ()))


def _expanded(entries: Iterable[str], origin: Path) -> Iterator[str]:
    for entry in entries:
        for lib in _LIB if "LIB" in entry else ("",):
            yield _TOKENS.sub(lambda found, lib=lib: lib if "LIB" in found[0] else str(origin), entry) or "."  # type: ignore[misc]


def _loaded() -> dict[str, list[str]]:
    """Return the files that this process has mapped, by their names."""
    found: dict[str, list[str]] = {}
    for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
        path = line[line.find("/") :] if "/" in line else ""
        if ".so" in path and path not in found.setdefault(path.rpartition("/")[2], []):
            found[path.rpartition("/")[2]].append(path)
    return found


@cache
def _read_cache(_moment: int) -> dict[str, list[str]]:
    data = _CACHE.read_bytes()[:_LARGEST_CACHE]
    start = data.find(_CACHE_MAGIC)
    found: dict[str, list[str]] = {}
    if start < 0 or len(data) < start + _CACHE_HEADER:
        return found
    count = struct.unpack_from("<I", data, start + len(_CACHE_MAGIC))[0]
    first = start + _CACHE_HEADER
    for _, name, path, _, _ in _CACHE_ENTRY.iter_unpack(data[first : first + count * _CACHE_ENTRY.size]):
        found.setdefault(_text(data, start + name), []).append(_text(data, start + path))
    return found


def cached() -> dict[str, list[str]]:
    """Return what ldconfig has noted: names of libraries, and their files."""
    try:
        return _read_cache(_CACHE.stat().st_mtime_ns)
    except (OSError, struct.error):
        return {}


def _text(data: bytes, at: int) -> str:
    return os.fsdecode(data[at : data.find(b"\0", at)])
