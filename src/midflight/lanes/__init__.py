"""Where a version's code runs: each lane implements `midflight._lane.Lane`; which one serves is decided here.

A lane is chosen for each version, by its bytes and by what was asked for at `load`: a later version of a module may run
elsewhere than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight._errors import SourceError
from midflight.build.go_host import is_go_host
from midflight.inspection.hosting import reason_for_worker
from midflight.lanes.native import NativeLane

if TYPE_CHECKING:
    from midflight._lane import Lane
    from midflight.build import Artifact


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker process may use.  None: as much as the program itself.

    ``memory``: bytes of address space on top of what the worker has when it starts; ``cpu``: seconds of processor time
    in its whole life; ``call``: seconds that one call may take; ``files``: open descriptors.  A worker that exceeds
    ``cpu`` or ``call`` is ended; beyond ``memory`` its allocations fail.
    """

    memory: int | None = None
    cpu: float | None = None
    call: float | None = None
    files: int | None = None


@dataclass(frozen=True, slots=True)
class LaneOptions:
    """What `load` was told about where code is to run."""

    lane: str | None = None
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    sandbox: bool = False
    timeout: float | None = None
    token: str | bytes | None = None
    save_every: float | None = None
    save_calls: int | None = None


_HERE = NativeLane()


def check(options: LaneOptions, *, hardened: bool = False) -> None:
    """Raise `SourceError` for options that mean nothing."""
    if hardened and is_remote(options.lane):
        what = f"hardened=True is about code that is loaded here, and lane={options.lane!r} is another program's"
        raise SourceError(what, todo="say hardened=True there, where it is loaded")
    if options.lane not in {None, "here", "worker"} and not is_remote(options.lane):
        what = f"lane={options.lane!r} is no lane"
        raise SourceError(what, todo="use 'here', 'worker', 'unix:/path/to/socket' or 'tcp:host:port'")
    if options.timeout is not None and not is_remote(options.lane):
        what = f"timeout={options.timeout!r} is for calls over a socket"
        raise SourceError(
            what, todo="give limits=midflight.Limits(call=...) with lane='worker'; calls here can't be ended"
        )
    if options.workers < 1:
        raise SourceError(f"workers={options.workers} is too few", todo="use 1 or more")


def is_remote(lane: str | None) -> bool:
    """Whether a lane's name is the address of a worker that runs elsewhere."""
    return lane is not None and lane.startswith(("unix:", "tcp:"))


def choose(options: LaneOptions, artifact: Artifact, data: bytes) -> tuple[Lane, str]:
    """Return the lane for an artifact, and why it isn't the usual one, else "".  Runs none of its code.

    Raises `BadLibraryError` or `WrongMachineError` for what can't be loaded at all, `LoadError` or `InterfaceError` for
    what mustn't be: a sanitizer's runtime, a Python extension module.
    """
    if is_remote(options.lane):
        from midflight.lanes.remote import RemoteArtifact, RemoteLane  # noqa: PLC0415

        if isinstance(artifact, RemoteArtifact):
            return RemoteLane(), ""
    if is_go_host(data):
        from midflight.lanes.go import GoLane  # noqa: PLC0415

        return GoLane(options), ""
    reason = reason_for_worker(data)
    if options.lane == "here" or (not reason and options.lane is None):
        return _HERE, ""
    # Imported when it is first needed.
    from midflight.lanes.worker import WorkerLane  # noqa: PLC0415

    if options.lane == "worker":
        return WorkerLane(options), ""
    return WorkerLane(options), reason
