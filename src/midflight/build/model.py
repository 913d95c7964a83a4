"""What every kind of source offers, and what comes out of it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from midflight.build import store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Accept: TypeAlias = Callable[[bytes], None]
    """Is shown a library's bytes, and raises if they aren't to be used."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Artifact:
    """The built bytes of one version, in the content-addressed store.

    ``origin``: the directory that ``$ORIGIN`` in the library's search path refers to: a ready library's own directory,
    a C or C++ source's directory, the output directory of other builds.  ``cached``: no compiler ran for it.
    ``warnings``: the compiler's, one string each.  The stored file stays for as long as this object lives.
    """

    sha256: str
    path: Path
    origin: Path
    cached: bool
    warnings: tuple[str, ...] = ()

    def read(self) -> bytes:
        """Return the bytes, checked against ``sha256``.  Raises `BadLibraryError` if they don't match."""
        return store.read(self.sha256, self.path)


def stored_artifact(sha256: str, *, origin: Path, cached: bool, warnings: tuple[str, ...] = ()) -> Artifact:
    """Return an `Artifact` for an entry of the store, which is held for as long as the artifact lives."""
    path = store.path_of(sha256)
    artifact = Artifact(sha256, path, origin, cached, warnings)
    finalizer = weakref.finalize(artifact, store.release, sha256, store.hold(sha256, path))
    finalizer.atexit = False
    return artifact


class Source(Protocol):
    """Something that a version can be made from.

    Guarantees: every method may be called from any thread, also while another thread is in `resolve`.  Relative paths
    are relative to the directory in which the source was described, whatever the working directory is later.
    """

    @property
    def name(self) -> str:
        """The default name of the module: an identifier."""

    @property
    def display(self) -> str:
        """How to show it to people: the paths as they were given."""

    def inputs(self) -> frozenset[Path]:
        """Return the absolute paths of all files known to matter.

        After a resolve, failed or not, headers belong to it; so do files that aren't there, but would be taken if they
        were (a header that an ``#include`` asked for in vain).
        """

    @property
    def library(self) -> Path | None:
        """The library's own path, where it is there to be loaded; None for what is built here."""

    def resolve(self, accept: Accept | None = None) -> Artifact:
        """Build what isn't built yet and return the artifact.

        ``accept`` is shown the bytes of a ready library before anything else is done with them, and those of another
        when it is built; what it raises is passed on.

        Raises `BuildError`, `CompilerNotFoundError`, `SourceNotFoundError` or `SourceError`.
        """

    def changed(self) -> bool:
        """Tell whether an input's content differs from what the last `resolve` saw (False before the first one)."""

    def missing(self) -> frozenset[Path]:
        """Return those of the files it can't do without that aren't there."""
