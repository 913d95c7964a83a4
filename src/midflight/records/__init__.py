"""Records of crashes: what a program remembers of a version that ended it, until it starts again.

Guarantees:
- A record is of one program, one module (its name and source) and one artifact.  Programs, modules and processes
  that run side by side don't disturb each other.
- Whatever is wrong with the place where records are kept, a module is loaded all the same; then nothing is remembered.
- What is read there is checked, and bounded; nothing of it is run.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from midflight.build import store
from midflight.build.model import stored_artifact
from midflight.records.run import run

if TYPE_CHECKING:
    from midflight.build import Artifact, Source
    from midflight.records.history import Crash

__all__ = ["IN_A_ROW", "Instead", "identity_of", "instead", "line_of"]

IN_A_ROW = 2
"""So many crashes one after the other, and a version isn't loaded again on its own."""

_log = logging.getLogger("midflight")


class Instead:
    """An artifact that is loaded because of how another one has ended the program."""

    def __init__(self, artifact: Artifact, crashed: str) -> None:
        self.artifact = artifact
        self.crashed = crashed


def identity_of(name: str, source: Source) -> str:
    """Say which module it is, the same at every start.  To be asked before its source is resolved."""
    return "\n".join([name, *sorted(map(str, source.inputs()))])


def line_of(identity: str, artifact: Artifact, number: int) -> int:
    """Note that a version is about to be loaded here; return its number for the core, 0 if nothing is recorded.

    ``identity``: "" for what is only tried, in a probe: how that ends is no crash of a program's.
    """
    return run.line(identity, artifact, number) if identity else 0


def instead(name: str, identity: str, artifact: Artifact) -> Instead | None:
    """Return what to load instead of an artifact that has crashed the program again and again; None: load it."""
    past = run.past(identity)
    if past is None or past.times(artifact.sha256) < IN_A_ROW:
        return None
    told = _told(run.last_crash(identity, artifact.sha256))
    for sha256 in reversed(past.versions):
        if sha256 != artifact.sha256 and past.times(sha256) < IN_A_ROW and store.find(sha256) is not None:
            _log.warning(
                "%s: artifact %s has crashed this program %d times in a row%s; %s, the one before, is loaded instead;"
                " swap the module to load it all the same",
                *(name, artifact.sha256[:12], past.times(artifact.sha256), told, sha256[:12]),
            )
            return Instead(stored_artifact(sha256, origin=artifact.origin, cached=True), artifact.sha256)
    _log.warning(
        "%s: artifact %s has crashed this program %d times in a row%s; it is loaded again: there is none before it",
        *(name, artifact.sha256[:12], past.times(artifact.sha256), told),
    )
    return None


def _told(crash: Crash | None) -> str:
    if crash is None:
        return ""
    where = f" in {crash.backtrace[0]}" if crash.backtrace else ""
    return f" ({crash.said}{where})"
