"""Ready libraries: read whole, copied into the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._errors import MidflightError
from midflight.build import files, store
from midflight.build.model import Artifact, stored_artifact

if TYPE_CHECKING:
    from midflight.build.model import Accept


class LibrarySource:
    """A library that somebody else built.

    What the bytes are worth is not judged here, only that they were in the file at one moment.
    """

    def __init__(self, name: str, path: Path, display: str) -> None:
        self.name = name
        self.display = display
        self.library: Path | None = path
        self._path = path
        self._seen: str | None = None

    def inputs(self) -> frozenset[Path]:
        """Return the library's path."""
        return frozenset({self._path})

    def resolve(self, accept: Accept | None = None) -> Artifact:
        """Read the library and return it as an artifact."""
        try:
            data = files.read_stable(self._path, display=self.display)
        except MidflightError:
            self._seen = files.digest(self._path)
            raise
        self._seen = files.sha256(data)
        if accept is not None:
            accept(data)
        stored = store.put(data)
        # No compiler runs for a ready library, so it counts as cached.
        return stored_artifact(stored.sha256, origin=Path(os.path.realpath(self._path)).parent, cached=True)

    def changed(self) -> bool:
        """Tell whether the library's bytes differ from those that the last `resolve` read."""
        return self._seen is not None and files.digest(self._path) != self._seen

    def missing(self) -> frozenset[Path]:
        """Return the library's path if it isn't there."""
        return self.inputs() if not self._path.exists() else frozenset()
