"""What all sources that get built have in common: they remember what was seen, and build again if that changed."""

from __future__ import annotations

import contextlib
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from midflight._errors import BuildError, MidflightError
from midflight.build import diagnostics, files
from midflight.build.model import Artifact, stored_artifact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midflight._errors import Diagnostic
    from midflight.build.manifest import Found
    from midflight.build.model import Accept
    from midflight.build.process import Outcome

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave: ``paths`` (absolute), how to ``display`` them, ``flags``, and the directory back then."""

    paths: tuple[Path, ...]
    display: str
    flags: tuple[str, ...]
    cwd: Path


class Attempt(Protocol):
    """One try at a build.  ``seen`` is complete when `run` is over, whether it succeeded or not."""

    seen: dict[Path, str]

    def run(self) -> Found:
        """Return what was built, or found in the cache."""


class BuiltSource(ABC):
    """A `Source` whose artifact is made by running something.

    Guarantees: `inputs` and `changed` tell of one finished attempt, never of a mixture of two.
    """

    def __init__(self, name: str, given: Given) -> None:
        self.name = name
        self.display = given.display
        self.given = given
        self._seen: Mapping[Path, str] = {}

    @abstractmethod
    def attempt(self, known: Mapping[Path, str]) -> Attempt:
        """Return a new try; ``known`` is what an earlier one saw."""

    def origin(self) -> Path:
        """Return the directory that the artifact counts as lying in."""
        return self.given.paths[0].parent

    def required(self) -> frozenset[Path]:
        """Return the files without which there is nothing to build."""
        return frozenset(self.given.paths)

    def inputs(self) -> frozenset[Path]:
        """Return the absolute paths of all files known to matter."""
        return self.required() | {path for path in self._seen if not files.is_system(path)}

    def changed(self) -> bool:
        """Tell whether an input's content differs from what the last `resolve` saw."""
        return files.differs(self._seen)

    def missing(self) -> frozenset[Path]:
        """Return those of the files it can't do without that aren't there."""
        return frozenset(path for path in self.required() if not path.exists())

    library = None

    def resolve(self, accept: Accept | None = None) -> Artifact:
        """Build what isn't built yet and return the artifact."""
        for last in (False,) * (_ATTEMPTS - 1) + (True,):
            try:
                found = self._try()
            except BuildError:
                # Half-written text may be all that was wrong with it.
                if last or not self._unsure():
                    raise
                continue
            if last or not self._unsure():
                break
        artifact = stored_artifact(found.sha256, origin=self.origin(), cached=found.cached, warnings=found.warnings)
        if accept is not None:
            accept(artifact.read())
        return artifact

    def _try(self) -> Found:
        try:
            attempt = self.attempt(self._seen)
        except MidflightError:
            self._seen = {path: files.digest(path) for path in self.inputs()}
            raise
        try:
            return attempt.run()
        finally:
            self._seen = dict(attempt.seen) or self._seen

    def _unsure(self) -> bool:
        """Tell whether a file was changed while the build may have been reading it."""
        return files.UNSURE in self._seen.values()


def failure(
    outcome: Outcome,
    *,
    subject: str,
    output: str | None = None,
    found: Sequence[Diagnostic] = (),
    hide: Path | None = None,
) -> BuildError:
    """Return the error for a compiler or build command that ended badly.

    ``output`` and ``found`` stand in for what the process said where that isn't meant for people; ``hide`` is a
    temporary directory that nobody needs to read about.
    """
    text = outcome.output if output is None else output
    if hide is not None:
        text = text.replace(f"{hide}/", "")
    found = found or diagnostics.parse(text, outcome.cwd)
    errors = [diagnostic for diagnostic in found if diagnostic.severity == "error"]
    if errors:
        place = f" at {errors[0].file}:{errors[0].line}" if errors[0].file else ""
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        what, todo = f"the build failed{place}: {errors[0].message}{more}", "mend the source"
    else:
        what = f"the build failed: {outcome.command[0]} {outcome.ending()}"
        todo = "see what it wrote" if text.strip() else f"run it by hand: {shlex.join(outcome.command)}"
    return BuildError(what, output=text, command=outcome.command, diagnostics=found, subject=subject, todo=todo)


def read_text(path: Path) -> str:
    """Return the text of a file that a compiler wrote, "" if it wrote none."""
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "surrogateescape")
    return ""
