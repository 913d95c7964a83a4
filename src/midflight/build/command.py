"""Any other language: a build command of the user's, and the library that it leaves behind."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from midflight._errors import BuildError, SourceError, SourceNotFoundError
from midflight._fork import Lock
from midflight.build import diagnostics, files, process, progress, store
from midflight.build.base import failure
from midflight.build.headers import VARIABLE, include
from midflight.build.model import Artifact, stored_artifact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midflight.build.model import Accept


def split_command(build: str | Sequence[str], subject: str) -> tuple[str, ...]:
    """Return a build command as words.  No shell takes part.  Raises `SourceError`."""
    try:
        words = tuple(shlex.split(build) if isinstance(build, str) else build)
    except (ValueError, TypeError) as error:
        what = f"the build command can't be read ({error})"
        raise SourceError(what, subject=subject, todo="give it as one string or as a list of words") from error
    if not words or not all(isinstance(word, str) and word and "\0" not in word for word in words):
        what = "the build command is empty or has parts that aren't words"
        raise SourceError(what, subject=subject, todo='write build="make -C engine libengine.so"')
    return words


class CommandSource:
    """A library made by a build command, which runs at each resolve: whether there is work to do is its part.

    It runs in the directory that was the working directory when the source was described.
    """

    def __init__(
        self, name: str, command: tuple[str, ...], artifact: Path, sources: tuple[Path, ...], cwd: Path
    ) -> None:
        self.name = name
        self.display = shlex.join(command)
        self._command = command
        self.library: Path | None = artifact
        self._artifact = artifact
        self._sources = sources
        self._cwd = cwd
        self._seen: Mapping[Path, str] = {}
        self._lock = Lock()

    def inputs(self) -> frozenset[Path]:
        """Return the artifact and the sources that were named."""
        return frozenset({self._artifact, *self._sources})

    def resolve(self, accept: Accept | None = None) -> Artifact:
        """Run the command, read what it built and return it as an artifact."""
        # Two runs at once would write over each other's output.
        with self._lock:
            return self._resolve(accept)

    def _resolve(self, accept: Accept | None) -> Artifact:
        seen = {path: files.digest(path) for path in self.inputs()}
        try:
            outcome = self._run()
            data = self._read(outcome)
            # What the command wrote itself is no change that would call for another build.
            seen[self._artifact] = files.sha256(data)
        except (BuildError, SourceError):
            seen[self._artifact] = files.digest(self._artifact)
            raise
        finally:
            self._seen = seen
        if accept is not None:
            accept(data)
        stored = store.put(data)
        warnings = diagnostics.warnings(outcome.output, outcome.cwd)
        return stored_artifact(stored.sha256, origin=self._artifact.resolve().parent, cached=False, warnings=warnings)

    def _run(self) -> process.Outcome:
        with progress.building(self.display):
            outcome = process.run(self._command, cwd=self._cwd, env={VARIABLE: include()}, subject=self.display)
            if outcome.status != 0:
                raise failure(outcome, subject=self.display)
        return outcome

    def _read(self, outcome: process.Outcome) -> bytes:
        try:
            return files.read_stable(self._artifact)
        except SourceNotFoundError as error:
            what = f"the build command succeeded, but {self._artifact} isn't there"
            todo = "correct artifact= or the command"
            raise BuildError(
                what, output=outcome.output, command=self._command, subject=self.display, todo=todo
            ) from error

    def changed(self) -> bool:
        """Tell whether a source or the artifact differs from what the last `resolve` saw or made."""
        return files.differs(self._seen)

    def missing(self) -> frozenset[Path]:
        """Return the named sources that aren't there."""
        return frozenset(path for path in self._sources if not path.exists())
