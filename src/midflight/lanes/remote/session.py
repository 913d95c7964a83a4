"""One connection from its handshake to its loss.

Guarantees:
- Any thread may make calls at the same time; each waits for its own answer only.
- When the connection is lost, every call in flight gets a `ConnectionLostError`; none is sent a second time.
- A callback is run by the thread whose call it belongs to; one that belongs to no call of this side's, by a thread of
  its own.
- Letting a pointer go only puts a note into a queue: it may happen in the middle of a garbage collection.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from midflight._errors import CallTimeoutError, ConnectionLostError, MidflightError, ProtocolError, TokenError
from midflight._unix import is_ours
from midflight.artifact.type_table import has_cycle, parts_of
from midflight.lanes.remote import troubles, wire
from midflight.lanes.remote.pointers import RemotePointer
from midflight.lanes.remote.wire import Answer, Callback, Done, Failed, Handle, Offered, Refused, Stale

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from midflight.artifact.interface import Interface
    from midflight.lanes.remote.address import Address
    from midflight.lanes.remote.callables import Registered

_log = logging.getLogger("midflight")
_TOGETHER = 1000
_local = threading.local()


class NotSentError(Exception):
    """The connection was lost before anything of a call was sent: it can be made over the next one."""


class StaleError(Exception):
    """The other side offers another layout now; the call was not carried out."""


class _Waiter:
    """A call in flight."""

    __slots__ = ("arrived", "raised")

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[Done | Failed | Stale | Callback | MidflightError] = queue.SimpleQueue()
        self.raised: list[BaseException] = []


class Handled(NamedTuple):
    """The end of a call: its value and memory, or what it raised."""

    value: wire.Value
    memory: tuple[bytes | None, ...]
    error: BaseException | None


class Session:
    """A connection that the other side has let us into."""

    def __init__(self, address: Address, sock: socket.socket, welcome: wire.Welcome) -> None:
        self.address = address
        self.offered = welcome.offered
        self.lost: MidflightError | None = None
        self._sock = sock
        self._largest = welcome.largest
        self._sending = threading.Lock()
        self._serials = itertools.count(1)
        self._waiting: dict[int, _Waiter] = {}
        self._dropped: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._courier: threading.Thread | None = None
        self._mutex = threading.Lock()

    # ---- calls

    def exchange(
        self, make: Callable[[int], msgspec.Struct], find: Callable[[int], Registered | None], timeout: float | None
    ) -> Handled:
        """Send what ``make`` makes of a serial number, and wait for its end; callbacks are run meanwhile."""
        serial = next(self._serials)
        waiter = _Waiter()
        data = wire.frame(make(serial), self._largest)
        self._waiting[serial] = waiter
        try:
            if self.lost is not None:
                raise NotSentError
            self._send(data)
            return self._wait(waiter, find, timeout)
        finally:
            self._waiting.pop(serial, None)

    def _wait(self, waiter: _Waiter, find: Callable[[int], Registered | None], timeout: float | None) -> Handled:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                message = waiter.arrived.get(timeout=left)
            except queue.Empty:
                what = f"a call took longer than the {timeout:g} s that it was given"
                todo = "the other side goes on with it; give more time, or mend what is slow there"
                raise CallTimeoutError(what, subject=self.address.text, todo=todo) from None
            match message:
                case Done():
                    return Handled(message.value, message.memory, None)
                case Failed():
                    return Handled(None, message.memory, self._error(message, waiter))
                case Stale():
                    raise StaleError
                case Callback():
                    self._send(self._run(message, find(message.token), waiter.raised))
                case error:
                    raise error

    def _error(self, failed: Failed, waiter: _Waiter) -> BaseException:
        if 0 <= failed.raised < len(waiter.raised):
            return waiter.raised[failed.raised]
        return troubles.unpack(failed.trouble, self.address.text)

    def _run(self, callback: Callback, registered: Registered | None, raised: list[BaseException]) -> bytes:
        """Run a callback in this thread; return what is to be sent of what came of it."""
        inside = _inside()
        inside.append((self, callback.number))
        try:
            if registered is None:
                raise ProtocolError("a callback was called that was never passed")
            value, memory = registered(self, callback.arguments)
            return wire.frame(Answer(callback.number, value, memory), self._largest)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised by the call that it belongs to
            raised.append(error)
            return wire.frame(Answer(callback.number, None, (), troubles.pack(error), len(raised) - 1))
        finally:
            inside.pop()

    def inside(self) -> int:
        """Return the number of the callback of this connection that this thread is in; 0: in none."""
        stack = _inside()
        return stack[-1][1] if stack and stack[-1][0] is self else 0

    def _send(self, data: bytes) -> None:
        try:
            wire.send(self._sock, self._sending, data)
        except OSError as error:
            self.lose(f"the connection is lost ({error})")
            raise self._error_for_calls() from None
        except BaseException:
            # Part of the message may be on its way: nothing can follow it.
            self.lose("sending was interrupted")
            raise

    # ---- pointers

    def pointer(self, handle: Handle) -> RemotePointer:
        """Return the object for a pointer that came over this connection."""
        return RemotePointer(self, handle.number, handle.spelled)

    def let_go(self, number: int) -> None:
        """Note that a pointer isn't needed any more."""
        if self.lost is None:
            self._dropped.put(number)

    def text(self, number: int) -> str:
        """Return the text that a pointer points to."""
        try:
            done = self.exchange(lambda serial: wire.Text(serial, number), lambda _token: None, wire.STALLED)
        except NotSentError:
            raise self._error_for_calls() from None
        if done.error is not None:
            raise done.error
        if not isinstance(done.value, bytes):
            raise ProtocolError("the other side sent something else than a text")
        return done.value.decode("utf-8", "surrogateescape")

    def carry(self) -> None:
        """Tell the other side of pointers that were let go, until the connection is lost.  Runs in its own thread."""
        while (number := self._dropped.get()) is not None:
            numbers = [number]
            with contextlib.suppress(queue.Empty):
                while len(numbers) < _TOGETHER:
                    more = self._dropped.get_nowait()
                    if more is None:
                        return
                    numbers.append(more)
            try:
                self._send(wire.frame(wire.Release(tuple(numbers))))
            except ConnectionLostError:
                return

    # ---- receiving

    def listen(self, announced: Callable[[Session], None], find: Callable[[int], Registered | None]) -> None:
        """Receive messages until the connection is lost.  Runs in the connection's own thread."""
        courier = threading.Thread(target=self.carry, name="midflight-remote-release", daemon=True)
        courier.start()
        why = "the other side closed the connection"
        try:
            while (body := wire.receive(self._sock, wire.LARGEST)) is not None:
                self._take(wire.decode(wire.from_server.decode, body), announced, find)
        except MidflightError as error:
            why = error.what
        except Exception as error:  # noqa: BLE001 - the thread must tell those who wait
            _log.exception("the connection to %s failed", self.address.text)
            why = f"{type(error).__name__}: {error}"
        self.lose(why)

    def _take(
        self, message: wire.FromServer, announced: Callable[[Session], None], find: Callable[[int], Registered | None]
    ) -> None:
        match message:
            case Offered():
                check(message.interface)
                self.offered = message
                announced(self)
            case Refused(trouble):
                raise troubles.unpack(trouble, self.address.text)
            case Callback(serial=0):
                run = threading.Thread(target=self._run_alone, args=(message, find(message.token)), daemon=True)
                run.start()
            case Callback():
                waiter = self._waiting.get(message.serial)
                if waiter is None:
                    gone = CallTimeoutError(
                        "the call that it belongs to was given up", todo="give such calls more time"
                    )
                    self._send(wire.frame(Answer(message.number, None, (), troubles.pack(gone))))
                else:
                    waiter.arrived.put(message)
            case Done() | Failed() | Stale():
                waiter = self._waiting.get(message.serial)
                if waiter is not None:  # else the call was given up
                    waiter.arrived.put(message)

    def _run_alone(self, callback: Callback, registered: Registered | None) -> None:
        """Run a callback that belongs to no call of this side's: nobody but the log hears of its exception."""
        raised: list[BaseException] = []
        data = self._run(callback, registered, raised)
        for error in raised:
            _log.error("a callback that %s called on its own failed", self.address.text, exc_info=error)
        with contextlib.suppress(ConnectionLostError):
            self._send(data)

    # ---- the end

    def lose(self, why: str) -> None:
        """End the connection: whoever waits is told."""
        with self._mutex:
            if self.lost is not None:
                return
            self.lost = ConnectionLostError(why, subject=self.address.text)
        for waiter in list(self._waiting.values()):
            waiter.arrived.put(self._error_for_calls())
        self._dropped.put(None)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let the socket go.  Only the thread that listens may do so, or nobody listens."""
        self._sock.close()

    def _error_for_calls(self) -> ConnectionLostError:
        why = self.lost.what if self.lost is not None else "the connection is lost"
        unchanged = "whether the call was carried out can't be said; it isn't repeated"
        return ConnectionLostError(why, subject=self.address.text, unchanged=unchanged)


def _inside() -> list[tuple[Session, int]]:
    stack: list[tuple[Session, int]] | None = getattr(_local, "inside", None)
    if stack is None:
        stack = _local.inside = []
    return stack


# ---- the handshake --------------------------------------------------------------------------------------------------


def open_session(address: Address, token: bytes | None, timeout: float) -> Session:
    """Connect and shake hands.

    Raises `ConnectionLostError` where trying again may help, and `ProtocolError` or `TokenError` where it doesn't.
    """
    deadline = time.monotonic() + timeout
    sock = address.socket()
    try:
        sock.settimeout(max(timeout, 0.001))
        sock.connect(address.target)
        sock.settimeout(None)
        _check_peer(address, sock)
        wire.give_up_stalled(sock)
        welcome = _shake_hands(address, sock, token, deadline)
        return Session(address, sock, welcome)
    except OSError as error:
        sock.close()
        if isinstance(error, MidflightError):
            error.subject = error.subject or address.text
            raise
        raise ConnectionLostError(f"nobody answers there ({error})", subject=address.text) from None
    except MidflightError as error:
        sock.close()
        error.subject = error.subject or address.text
        raise
    except BaseException:
        sock.close()
        raise


def _check_peer(address: Address, sock: socket.socket) -> None:
    """Refuse a Unix socket that some other user listens at: it may be in a directory that everybody can write to."""
    from midflight.lanes.remote.address import tune  # noqa: PLC0415 - beside its only use

    tune(sock)
    if address.path and os.geteuid() != 0 and not is_ours(sock):
        what = "another user listens there"
        raise TokenError(what, subject=address.text, todo="use a socket in a directory of your own")


def _shake_hands(address: Address, sock: socket.socket, token: bytes | None, deadline: float) -> wire.Welcome:
    greeting = _heard(sock, wire.greetings, wire.LARGEST_STRANGER, deadline)
    if isinstance(greeting, Refused):
        raise troubles.unpack(greeting.trouble, address.text)
    _check_greeting(greeting, token)
    nonce = os.urandom(wire.NONCE_SIZE)
    proof = wire.proof(token, "client", nonce, greeting.nonce)
    sock.sendall(wire.frame(wire.Hello(wire.MAGIC, wire.PROTOCOL, version(), nonce, proof)))
    welcome = _heard(sock, wire.welcomes, wire.LARGEST, deadline)
    if isinstance(welcome, Refused):
        raise troubles.unpack(welcome.trouble, address.text)
    if not wire.proven(token, "server", greeting.nonce, nonce, welcome.proof):
        raise TokenError("the other side doesn't know the token", todo="give the same token on both sides")
    accepted: wire.Welcome = welcome
    check(accepted.offered.interface)
    return accepted


def _check_greeting(greeting: wire.Greeting, token: bytes | None) -> None:
    if greeting.magic != wire.MAGIC:
        raise ProtocolError("it isn't midflight that speaks there", todo="check the address")
    if greeting.protocol != wire.PROTOCOL:
        raise ProtocolError(
            mismatch(greeting.protocol, greeting.midflight), todo="run the same midflight on both sides"
        )
    if greeting.token and token is None:
        raise TokenError("the other side asks for a token", todo="give token=")
    if not greeting.token and token is not None:
        what = "the other side has no token, so it can't prove that it is the right one"
        raise TokenError(what, todo="offer the module with the same token=, or give none here")


def mismatch(protocol: int, theirs: str) -> str:
    """Explain that the two sides speak different versions."""
    return (
        f"the other side speaks version {protocol} of the protocol (midflight {theirs}), this side version"
        f" {wire.PROTOCOL} (midflight {version()})"
    )


def _heard(sock: socket.socket, decoder: Any, largest: int, deadline: float) -> Any:
    body = wire.receive(sock, largest, deadline)
    if body is None:
        raise ConnectionLostError("the other side closed the connection before it said anything")
    return wire.decode(decoder.decode, body)


def version() -> str:
    """Return midflight's version."""
    import midflight  # noqa: PLC0415 - it imports this package

    return midflight.__version__


def check(interface: Interface) -> None:
    """Raise `ProtocolError` for an interface whose types lead nowhere, or into themselves."""
    count = len(interface.types)
    used = [function.result for function in interface.functions]
    used += [param.type for function in interface.functions for param in function.params]
    used += [variable.type for variable in interface.variables]
    for found in interface.types:
        used += parts_of(found)
    if count == 0 or not all(0 <= number < count for number in used) or has_cycle(interface.types):
        raise ProtocolError("the interface that the other side sent isn't sound")
