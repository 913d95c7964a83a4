"""What the program and a probing process say to each other, over a socket of their own.

Each message is a length and as many bytes of msgpack.  What comes from the process is hostile, because the library that
it runs can write to any descriptor: sizes are bounded, types are checked, and text is cut and made printable.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from msgspec import Meta

# What msgspec reads the annotations by.
from midflight._samples import Sample, Value  # noqa: TC001
from midflight.artifact.interface import Function, Interface  # noqa: TC001

if TYPE_CHECKING:
    import socket

LONGEST = 64 << 20
"""Bytes of a message to the process: samples may be many."""

LONGEST_ANSWER = 16 << 20
"""Bytes of a message from the process."""

IMAGE_AT, PHASE_AT, NOTE_SIZE = 4096, 4160, 8192
"""The memory that both share: a note of a crash, where the library lies, and what the process is doing."""

_HEAD = struct.Struct("<I")
_PHASE = struct.Struct("<II")
_IMAGE = struct.Struct("=3Q")
_LONG_TEXT, _SHORT_TEXT, _MOST_LINES, _MOST_ANSWERS = 1 << 16, 1 << 12, 64, 1 << 16

_Short: TypeAlias = Annotated[str, Meta(max_length=_SHORT_TEXT)]
_Long: TypeAlias = Annotated[str, Meta(max_length=_LONG_TEXT)]


class Phase(enum.IntEnum):
    """What the process is doing; those of checks and samples come with an index."""

    STARTING = 0
    LOADING = 1
    HOOK = 2
    NATIVE_CHECK = 3
    UNPACKING = 4
    CHECK = 5
    REPLAY = 6
    UNLOADING = 7
    DONE = 8
    UNHEARD = 9  # it couldn't send its answer


def phase(what: Phase, index: int = 0) -> bytes:
    """Return what is written at ``PHASE_AT``."""
    return _PHASE.pack(what, index)


def phase_in(note: bytes) -> tuple[int, int]:
    """Return the phase and its index, unchecked."""
    found: tuple[int, int] = _PHASE.unpack_from(note, PHASE_AT)
    return found


def image_in(note: bytes) -> tuple[int, int, int]:
    """Return base, lowest and highest address of the library, unchecked."""
    found: tuple[int, int, int] = _IMAGE.unpack_from(note, IMAGE_AT)
    return found


class ProtocolBrokenError(Exception):
    """What came isn't what was agreed on."""


# ---- to the process -------------------------------------------------------------------------------------------------


class Need(msgspec.Struct, frozen=True):
    """A function that the library gets from the program.  ``interface``: None: the library's own."""

    symbol: str
    names: tuple[str, ...]
    function: Function
    interface: Interface | None = None


class Check(msgspec.Struct, frozen=True):
    """A check in Python, as `travel` packs it, and the stand-ins that it wants (packed too, or nothing)."""

    name: str
    place: str
    function: bytes
    stand_ins: bytes = b""


class Limits(msgspec.Struct, frozen=True):
    """See `midflight.lanes.Limits`."""

    memory: int | None = None
    cpu: float | None = None
    call: float | None = None
    files: int | None = None


class Settings(msgspec.Struct, frozen=True):
    """The options of the module that matter for how it runs."""

    lane: str | None
    workers: int
    limits: Limits
    sandbox: bool
    lazy: bool
    hardened: bool
    hold_gil: bool | frozenset[str]
    hook_timeout: float


class Job(msgspec.Struct, frozen=True):
    """What to do.  The library's bytes come as a descriptor.  ``stand_ins``: packed, for all checks, or nothing."""

    module: str
    source: str
    sha256: str
    path: str
    origin: str
    interface: Interface
    settings: Settings
    needs: tuple[Need, ...] = ()
    checks: tuple[Check, ...] = ()
    stand_ins: bytes = b""
    samples: tuple[Sample, ...] = ()


class Surroundings(msgspec.Struct, frozen=True):
    """What of the program's surroundings may have changed since the process was started.

    ``directory``: where the process may put files; the program removes it.  "": there is none.
    """

    directory: str
    cwd: str
    path: tuple[str, ...]
    environment: dict[bytes, bytes]


# ---- from the process -----------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The process waits for its job."""


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """What the candidate answered to a sample; see `Sample`.  ``unlike``: why that can't be compared, or ""."""

    result: Value = None
    error: _Short = ""
    written: Annotated[tuple[tuple[int, bytes], ...], Meta(max_length=_MOST_LINES)] = ()
    unlike: _Short = ""


class Passed(msgspec.Struct, frozen=True, tag="passed"):
    """All was done, and nothing failed.  ``replies``: one for each sample."""

    replies: Annotated[tuple[Reply, ...], Meta(max_length=_MOST_ANSWERS)] = ()
    warnings: Annotated[tuple[_Short, ...], Meta(max_length=_MOST_LINES)] = ()


class CheckFailed(msgspec.Struct, frozen=True, tag="check"):
    """A check has failed: ``what`` happened; ``text``: its traceback."""

    what: _Short
    text: _Long = ""


class NotLoaded(msgspec.Struct, frozen=True, tag="load"):
    """The library can't be loaded: an exception of midflight's.  ``type_name``: of its class."""

    type_name: _Short
    what: _Short
    subject: _Short = ""
    todo: _Short = ""
    symbol: _Short = ""


class Crashed(msgspec.Struct, frozen=True, tag="crash"):
    """The candidate's own process has ended, where it has one."""

    what: _Short
    signal: int = 0
    address: int | None = None
    backtrace: Annotated[tuple[_Short, ...], Meta(max_length=_MOST_LINES)] = ()
    text: _Long = ""


Answer: TypeAlias = Ready | Passed | CheckFailed | NotLoaded | Crashed

_answers = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """Return a message as it is sent, without its length."""
    return _encoder.encode(message)


def framed(payload: bytes) -> bytes:
    """Return a message as it is sent."""
    return _HEAD.pack(len(payload)) + payload


def short(text: str) -> str:
    """Cut text to what a message may carry."""
    return text[:_SHORT_TEXT]


def long(text: str) -> str:
    """Cut text to what a message may carry, keeping its end."""
    return text[-_LONG_TEXT:]


def receive(connection: socket.socket, longest: int) -> bytes:
    """Wait for a message and return it.  Raises `EOFError`, `ProtocolBrokenError`."""
    (size,) = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if size > longest:
        raise ProtocolBrokenError
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


class Incoming:
    """Puts an answer together from the pieces in which it comes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> Answer | None:
        """Take a piece; return the answer once it is whole.  Raises `ProtocolBrokenError`."""
        self._data += data
        if len(self._data) < _HEAD.size:
            return None
        (size,) = _HEAD.unpack_from(self._data)
        if size > LONGEST_ANSWER or len(self._data) > _HEAD.size + size:
            raise ProtocolBrokenError
        if len(self._data) < _HEAD.size + size:
            return None
        payload = bytes(self._data[_HEAD.size :])
        self._data.clear()
        try:
            answer: Answer = _answers.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ProtocolBrokenError from None
        return answer


def printable(text: str, *, lines: bool = False) -> str:
    """Return text that can be shown: without what controls a terminal."""
    return "".join(
        one if one.isprintable() or (lines and one in "\n\t") else "\N{REPLACEMENT CHARACTER}" for one in text
    )
