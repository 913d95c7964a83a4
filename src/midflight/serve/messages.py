"""What the processes say to each other: supervisor and worker, command and supervisor, supervisor and its successor.

Guarantees: whatever was received is checked against these types before anything is done with it.  Unknown fields are
ignored, because a worker may have been started by another release than the supervisor's.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import msgspec

LONGEST = 60_000
"""A message's greatest length in bytes: well below what a packet socket carries at once."""

_T = TypeVar("_T")


class SocketFile(msgspec.Struct, frozen=True):
    """A socket file that we made: its path, and what tells it from another one put in its place."""

    path: str
    device: int
    inode: int
    made: int


# ---- supervisor and worker ------------------------------------------------------------------------------------------


class Job(msgspec.Struct, frozen=True, tag="job"):
    """What a worker is to do; the first message that it gets."""

    target: str
    kind: str
    directory: str
    listeners: list[int]
    worker: int
    generation: int
    backlog: int
    keep_alive: float
    drain_timeout: float
    kill_timeout: float
    watch: bool
    files: list[SocketFile]


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Accept nothing more, finish what is under way, end."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker serves."""


class Files(msgspec.Struct, frozen=True, tag="files"):
    """Source files that the worker has loaded."""

    paths: list[str]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker couldn't become ready."""

    stage: str
    what: str


FromWorker: TypeAlias = Ready | Files | Failed
ToWorker: TypeAlias = Job | Stop

# ---- command and supervisor -----------------------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a command asks: ``status``, ``restart``, ``upgrade``, ``stop``, or ``settled``: an upgrade's outcome."""

    ask: str


class Refusal(msgspec.Struct, frozen=True):
    """Why a restart was refused; the fields of a `RestartRefusedError`."""

    what: str
    subject: str = ""
    unchanged: str = ""
    todo: str = ""
    stage: str = ""
    words: list[str] = []


class Outcome(msgspec.Struct, frozen=True):
    """How a restart ended."""

    generation: int
    seconds: float
    refusal: Refusal | None = None


class WorkerStatus(msgspec.Struct, frozen=True):
    """One worker; ``state`` is ``starting``, ``serving``, ``draining`` or ``waiting`` (to be started again)."""

    worker: int
    pid: int
    generation: int
    state: str
    seconds: float
    deaths: int
    crash_loop: bool


class Status(msgspec.Struct, frozen=True):
    """What is being served; ``state`` is ``starting``, ``serving``, ``restarting`` or ``stopping``."""

    pid: int
    target: str
    directory: str
    state: str
    generation: int
    addresses: list[str]
    version: str
    interpreter: str
    workers: list[WorkerStatus]
    last: Outcome | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer; ``error`` where the request couldn't be understood."""

    status: Status | None = None
    outcome: Outcome | None = None
    accepted: bool = False
    error: str = ""


# ---- supervisor and its successor -----------------------------------------------------------------------------------


class Listening(msgspec.Struct, frozen=True):
    """A listening socket by its descriptor, and its file where we made one."""

    descriptor: int
    address: str
    file: SocketFile | None = None


class Adopted(msgspec.Struct, frozen=True):
    """A worker that goes on serving, by its descriptors."""

    worker: int
    generation: int
    pid: int
    pidfd: int
    channel: int
    output: int
    since: float
    paths: list[str]


class Handover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a supervisor hands to the interpreter that takes its place."""

    format: int
    generation: int
    listeners: list[Listening]
    control: Listening
    workers: list[Adopted]


FORMAT = 1


def encode(message: object) -> bytes:
    """Return a message's bytes."""
    return msgspec.json.encode(message)


def decode(data: bytes, kind: type[_T]) -> _T:
    """Return the message in ``data``.  Raises `msgspec.DecodeError` (a ValueError) for anything else."""
    return msgspec.json.decode(data, type=kind)
