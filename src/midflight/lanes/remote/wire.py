"""What travels over a socket: frames of a length and a message in msgpack, decoded by type.

Guarantees:
- Nothing that comes in is trusted: a frame that is too long, can't be decoded or isn't of the expected type is a
  `ProtocolError`, and no frame makes this side run, import or unpickle anything.
- Memory for a frame is taken as its bytes arrive, never on the word of its length alone.
- The greeting and the client's answer to it stay readable across versions of the protocol: later ones only append.
"""

from __future__ import annotations

import hashlib
import hmac
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec

from midflight import _offer
from midflight._errors import ConnectionLostError, ProtocolError, SourceError
from midflight.artifact.interface import Interface  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

PROTOCOL: Final = 1
MAGIC: Final = "midflight"
LARGEST: Final = _offer.LARGEST
LARGEST_STRANGER: Final = 4096
"""The longest frame of somebody who hasn't proven anything yet."""
HANDSHAKE_TIME: Final = 10.0
NONCE_SIZE: Final = 32
STALLED: Final = 30.0
"""Seconds for which a side may take nothing of what it is sent, before it is given up."""

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 20
_T = TypeVar("_T")

# ---- values ---------------------------------------------------------------------------------------------------------


class Data(msgspec.Struct, tag="d", array_like=True, frozen=True):
    """The memory that an argument points to; ``back``: what it is after the call is sent back."""

    data: bytes
    back: bool


class Handle(msgspec.Struct, tag="h", array_like=True, frozen=True):
    """A pointer of the server's: a number in the connection's table.  ``spelled``: its type as C writes it."""

    number: int
    spelled: str = ""


class Token(msgspec.Struct, tag="t", array_like=True, frozen=True):
    """A Python callable of the client's."""

    number: int


class Same(msgspec.Struct, tag="s", array_like=True, frozen=True):
    """The same memory as another argument's."""

    index: int


class Plain(msgspec.Struct, tag="p", array_like=True, frozen=True):
    """A value of a type that only another language knows: numbers, texts, lists and maps of them."""

    value: Any


Value: TypeAlias = bool | int | float | bytes | Data | Handle | Token | Same | Plain | None
"""A number as a number, text and structs as their bytes."""


class Trouble(msgspec.Struct, array_like=True, frozen=True):
    """An exception.  ``kind``: the name of its class; ``extra``: what the class has besides the four parts."""

    kind: str
    what: str
    subject: str = ""
    unchanged: str = ""
    todo: str = ""
    stage: str = ""
    extra: dict[str, str] = {}
    lines: tuple[str, ...] = ()


# ---- messages -------------------------------------------------------------------------------------------------------


class Greeting(msgspec.Struct, tag="greeting", array_like=True, frozen=True):
    """The server's first words."""

    magic: str
    protocol: int
    midflight: str
    nonce: bytes
    token: bool


class Hello(msgspec.Struct, tag="hello", array_like=True, frozen=True):
    """The client's answer."""

    magic: str
    protocol: int
    midflight: str
    nonce: bytes
    proof: bytes


class Offered(msgspec.Struct, tag="offered", array_like=True, frozen=True):
    """What the server offers now.  ``layout``: a number for all that matters to how functions are called."""

    module: str
    version: int
    sha256: str
    layout: int
    interface: Interface


class Welcome(msgspec.Struct, tag="welcome", array_like=True, frozen=True):
    """The client is let in."""

    proof: bytes
    offered: Offered
    largest: int


class Refused(msgspec.Struct, tag="refused", array_like=True, frozen=True):
    """The client isn't let in, or is sent away."""

    trouble: Trouble


class Call(msgspec.Struct, tag="call", array_like=True, frozen=True):
    """Call a function.

    ``layout``: by which the arguments were made.  ``inside``: the number of the callback that this call is made from.
    ``version``: which version must run it; 0: whichever is current.
    """

    serial: int
    layout: int
    function: str
    arguments: tuple[Value, ...]
    inside: int = 0
    version: int = 0


class Read(msgspec.Struct, tag="read", array_like=True, frozen=True):
    """Read a variable."""

    serial: int
    layout: int
    name: str
    version: int = 0


class Write(msgspec.Struct, tag="write", array_like=True, frozen=True):
    """Write a variable."""

    serial: int
    layout: int
    name: str
    value: Value
    version: int = 0


class Text(msgspec.Struct, tag="text", array_like=True, frozen=True):
    """Read the text that a pointer points to."""

    serial: int
    handle: int


class Swap(msgspec.Struct, tag="swap", array_like=True, frozen=True):
    """Swap the module."""

    serial: int


class Answer(msgspec.Struct, tag="answer", array_like=True, frozen=True):
    """What a callback returned, or raised: ``raised`` is a number by which the client knows the exception."""

    number: int
    value: Value
    memory: tuple[bytes | None, ...] = ()
    trouble: Trouble | None = None
    raised: int = -1


class Release(msgspec.Struct, tag="release", array_like=True, frozen=True):
    """Pointers that the client has let go."""

    handles: tuple[int, ...]


class Done(msgspec.Struct, tag="done", array_like=True, frozen=True):
    """The end of a call: its result, and for each argument what its memory is now, where that was asked for."""

    serial: int
    value: Value
    memory: tuple[bytes | None, ...] = ()


class Failed(msgspec.Struct, tag="failed", array_like=True, frozen=True):
    """The end of a call that raised.  ``raised``: the number of the exception that a callback raised in it."""

    serial: int
    trouble: Trouble
    raised: int = -1
    memory: tuple[bytes | None, ...] = ()


class Stale(msgspec.Struct, tag="stale", array_like=True, frozen=True):
    """A call that was not carried out, because it was made for another layout than what was last announced."""

    serial: int


class Callback(msgspec.Struct, tag="callback", array_like=True, frozen=True):
    """Call a callable of the client's.  ``serial``: the call in which it is called; 0: in none of this client's."""

    number: int
    serial: int
    token: int
    arguments: tuple[Value, ...]


FromClient: TypeAlias = Call | Read | Write | Text | Swap | Answer | Release
FromServer: TypeAlias = Offered | Refused | Done | Failed | Stale | Callback

greetings = msgspec.msgpack.Decoder(Greeting | Refused)
hellos = msgspec.msgpack.Decoder(Hello)
welcomes = msgspec.msgpack.Decoder(Welcome | Refused)
from_client: msgspec.msgpack.Decoder[FromClient] = msgspec.msgpack.Decoder(FromClient)
from_server: msgspec.msgpack.Decoder[FromServer] = msgspec.msgpack.Decoder(FromServer)
_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct, largest: int = LARGEST) -> bytes:
    """Return a message as it travels.  Raises `ProtocolError` for one that is too long."""
    body = _encoder.encode(message)
    if len(body) > largest:
        what = f"a message of {len(body)} bytes is too long; the other side takes {largest}"
        raise ProtocolError(what, todo="pass less at once, or raise largest= where the module is offered")
    return _LENGTH.pack(len(body)) + body


def decode(decoder: Callable[[bytes], _T], body: bytes) -> _T:
    """Decode a frame's body.  Raises `ProtocolError`."""
    try:
        return decoder(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a message can't be understood ({error})", todo="check what listens there") from None


# ---- sockets --------------------------------------------------------------------------------------------------------


def receive(sock: socket.socket, largest: int, deadline: float | None = None) -> bytes | None:
    """Receive a frame's body; None where the other side has closed the connection between two frames.

    Raises `ProtocolError` for a length that isn't allowed, `ConnectionLostError` for the rest.
    """
    head = _exactly(sock, _LENGTH.size, deadline)
    if not head:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > largest:
        what = f"a frame of {length} bytes was announced, and at most {largest} are allowed"
        raise ProtocolError(what, todo="check that it is midflight that speaks there")
    body = _exactly(sock, length, deadline)
    if length and not body:
        raise _cut_off()
    return bytes(body)


def _exactly(sock: socket.socket, count: int, deadline: float | None) -> bytes | bytearray:
    """Receive ``count`` bytes, or none where there is nothing more."""
    if count == 0:
        return b""
    received = _some(sock, count, deadline)
    if len(received) in {0, count}:
        return received
    collected = bytearray(received)
    while len(collected) < count:
        more = _some(sock, count - len(collected), deadline)
        if not more:
            raise _cut_off()
        collected += more
    return collected


def _some(sock: socket.socket, count: int, deadline: float | None) -> bytes:
    try:
        if deadline is not None:
            waiting = select.poll()
            waiting.register(sock, select.POLLIN)
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ConnectionLostError("the other side didn't answer in time")
        return sock.recv(min(count, _CHUNK))
    except (OSError, ValueError) as error:
        if isinstance(error, ConnectionLostError):
            raise
        raise ConnectionLostError(f"the connection is lost ({error})") from None


def _cut_off() -> ConnectionLostError:
    return ConnectionLostError("the connection was closed in the middle of a message")


def send(sock: socket.socket, lock: threading.Lock, data: bytes) -> None:
    """Send a frame as a whole.  Raises OSError; the connection can't be used any more then."""
    with lock:
        sock.sendall(data)


def give_up_stalled(sock: socket.socket) -> None:
    """Let sending fail where the other side takes nothing for a long time."""
    whole = int(STALLED)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, 0))


# ---- proofs and layouts ---------------------------------------------------------------------------------------------


def proof(token: bytes | None, role: str, own: bytes, other: bytes) -> bytes:
    """Prove that one knows the token: for this role and these two nonces only.  Without a token: nothing."""
    if token is None:
        return b""
    return hmac.digest(
        token, b"\0".join((MAGIC.encode(), str(PROTOCOL).encode(), role.encode())) + own + other, "sha256"
    )


def proven(token: bytes | None, role: str, own: bytes, other: bytes, given: bytes) -> bool:
    """Whether the other side knows the token."""
    return token is None or hmac.compare_digest(proof(token, role, own, other), given)


def token_bytes(token: str | bytes | None) -> bytes | None:
    """Return a token as bytes.  Raises `SourceError` for an empty one: a variable that wasn't set, most likely."""
    if token is not None and not token:
        raise SourceError("the token is empty", todo="give a secret, or None for no token at all")
    return token.encode() if isinstance(token, str) else token


class _Shape(msgspec.Struct, array_like=True):
    types: tuple[Any, ...]
    functions: tuple[Any, ...]
    variables: tuple[Any, ...]


def layout(interface: Interface) -> int:
    """Return a number for how an interface's functions are called and its variables are read."""
    functions = tuple((one.name, one.qualified, one.params, one.result, one.variadic) for one in interface.functions)
    variables = tuple((one.name, one.type, one.const, one.exported) for one in interface.variables)
    data = _encoder.encode(_Shape(interface.types, functions, variables))
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
