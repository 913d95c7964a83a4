"""Where a version's private copy lies, and what the loader says when it refuses it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._directory import plain_stem, private
from midflight._errors import ConstructorError, LoadError, MissingLibraryError, UnresolvedSymbolError
from midflight.lanes.native import neighbours

if TYPE_CHECKING:
    from midflight._lane import Wanted
    from midflight.lanes.native.neighbours import Neighbour

_STATIC_TLS = "static TLS block"
_STATIC_TLS_ADVICE = (
    "compile it without -ftls-model=initial-exec, or start Python with more room for it:"
    " GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536 (midflight doctor says how much it has)"
)
_UNDEFINED = re.compile(r"undefined symbol: (?P<name>[^\s,]+)")
_MISSING = re.compile(r"(?P<name>[^\s:]+): cannot open shared object file")
_counter = itertools.count(1)


class Place:
    """Where a private copy is put: a file of its own, or memory (``path`` is None).

    A hardened one is put into memory; where others lie beside it, ``path`` is to be a link to that.
    """

    def __init__(self, wanted: Wanted, found: list[Neighbour]) -> None:
        self._stem = plain_stem(f"{wanted.module}.{wanted.label}")
        self._found = found
        self._sealed = wanted.hardened
        self.memory_name = f"midflight:{self._stem}-{next(_counter)}"
        self._take()

    def _take(self) -> None:
        self._owner = os.getpid()
        self._directory = private.new_directory(self._stem) if self._found else None
        if self._directory is not None:
            self.path: str | None = f"{neighbours.lay_out(self._directory, self._found)}/{self._stem}.so"
        else:
            self.path = None if self._sealed else private.new_path(self._stem)

    def remove(self) -> None:
        """Remove what is around the copy; the copy itself belongs to the image.  A fork's child has no part in it."""
        if self._directory is not None and self._owner == os.getpid():
            shutil.rmtree(self._directory, ignore_errors=True)

    def clear(self) -> None:
        """Remove the copy, which another process has made."""
        if self.path is not None and self._owner == os.getpid():
            with contextlib.suppress(OSError):
                Path(self.path).unlink()

    def fall_back(self) -> None:
        """After the file couldn't be made: take another path if the directory was removed, else memory."""
        wants_file = self._directory is None and not self._sealed
        self.path = private.renewed_path(self._stem) if wants_file else None

    def renew(self) -> None:
        """Make room for another copy instead; a fork's child gets a place of its own."""
        if self._owner == os.getpid():
            self.clear()
        else:
            self._take()

    def remove_all(self) -> None:
        """Remove everything."""
        self.clear()
        self.remove()


def explain(error: LoadError, path: str | None, source: str) -> LoadError:
    """Turn the loader's words into the error for their kind, naming the user's file, not our copy."""
    if isinstance(error, ConstructorError):
        error.subject = source
        error.todo = (
            error.todo
            or "mend the constructor of the static object or the function marked as constructor that raised it"
        )
        return error
    copy = r"/proc/self[/.]*/fd/\d+" if path is None else re.escape(path)
    words = re.sub(copy, lambda _copy: Path(source).name, error.what)
    undefined, missing = _UNDEFINED.search(words), _MISSING.search(words)
    if undefined is not None:
        todo = f"link the library with what defines {undefined['name']} (flags=), or define it"
        return UnresolvedSymbolError(f"the loader says: {words}", symbol=undefined["name"], subject=source, todo=todo)
    if missing is not None:
        todo = f"install {missing['name']}, or add its directory to LD_LIBRARY_PATH or to the library's run path"
        return MissingLibraryError(f"the loader says: {words}", subject=source, todo=todo)
    todo = _STATIC_TLS_ADVICE if _STATIC_TLS in words else "see what midflight doctor says of it"
    return LoadError(f"the loader says: {words}", subject=source, todo=todo)
