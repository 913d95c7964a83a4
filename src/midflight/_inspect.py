"""What would become of a library in this program, found out by reading it only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from midflight import build
from midflight.build import files
from midflight.build.go_host import is_go_host
from midflight.build.library import LibrarySource
from midflight.inspection.examine import examine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight.artifact.reader import Declared
    from midflight.inspection.model import Inspection


def inspect(
    source: str | os.PathLike[str], *, interface: Declared | None = None, flags: str | Sequence[str] = ()
) -> Inspection:
    """Judge a library without loading it: whether it can be swapped and unloaded, what is in the way, how to mend it.

    ``source``: a library, or a source that is built first, with ``flags``.  ``interface``: as for `load`.  Nothing of
    it is run.  For bytes that are no library, or a damaged one, the verdict is "refused".

    Raises:
        SourceNotFoundError: there is no such file.
        SourceError: it can't be read.
        BuildError: the source doesn't build.
    """
    path = os.fspath(source)
    described = build.describe(path, flags=flags)
    if isinstance(described, LibrarySource):
        return examine(path, files.read_stable(Path(path)), Path(os.path.realpath(path)).parent, interface)
    artifact = described.resolve()
    data = artifact.read()
    if is_go_host(data):
        from midflight.lanes.go.inspection import examine_host  # noqa: PLC0415 - most programs have no Go

        return examine_host(path, data)
    return examine(path, data, artifact.origin, interface)
