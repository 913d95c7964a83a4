"""One client of an offered module.

Guarantees:
- Nothing of the module is touched before the handshake is over; what the client sends later is decoded by type, limited
  in size and in number, and judged by the rules for calls.
- Calls run side by side in the offer's pool; a call made from inside a callback runs in the thread that waits for that
  callback, as it would in one process.
- When the connection ends, its pointers are let go and its callbacks raise; calls under way end by themselves.
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
from typing import TYPE_CHECKING, Any

from midflight._errors import (
    ArgumentTypeError,
    MidflightError,
    MissingVariableError,
    ProtocolError,
    SwapError,
    TokenError,
)
from midflight._variables import Variables
from midflight.artifact.interface import Pointer, Void
from midflight.lanes.remote import troubles, wire
from midflight.lanes.remote.session import mismatch, version
from midflight.lanes.remote.wire import Answer, Call, Callback, Done, Failed, Handle, Read, Release, Swap, Text, Write
from midflight.offering.handles import Handles
from midflight.offering.proxies import CallbackRaisedError, Proxy, gone
from midflight.offering.served import Incoming, Served, callback_arguments, leaving

if TYPE_CHECKING:
    import msgspec

    from midflight._control import Generation
    from midflight.artifact.interface import Signature, Variable
    from midflight.offering.offer import Offer

_log = logging.getLogger("midflight")
_MOST_CALLS = 1024
_MOST_CALLABLES = 1 << 16
_PATIENCE = 0.1
_local = threading.local()


class Peer:
    """One connection."""

    def __init__(self, offer: Offer, sock: socket.socket, name: str) -> None:
        self.name = name
        self.handles = Handles()
        self.closed = False
        self._offer = offer
        self._sock = sock
        self._sending = threading.Lock()
        self._mutex = threading.Lock()
        self._announcing = threading.Lock()
        self._announced = 0
        self._calls = 0
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._callbacks: dict[int, queue.SimpleQueue[Answer | Call | None]] = {}
        self._proxies: dict[tuple[int, int, Signature], Proxy] = {}

    # ---- receiving

    def run(self) -> None:
        """Serve the client until it goes.  Runs in the connection's own thread."""
        try:
            wire.give_up_stalled(self._sock)
            if self._let_in():
                self._listen()
        except MidflightError as error:
            _log.debug("%s: %s", self.name, error)
        except OSError as error:
            _log.debug("%s: %s", self.name, error)
        except Exception:  # noqa: BLE001 - the others go on
            _log.exception("serving %s failed", self.name)
        finally:
            self.close()
            self._sock.close()
            self._offer.left(self)

    def _let_in(self) -> bool:
        """Shake hands; return whether the client may call."""
        deadline = time.monotonic() + wire.HANDSHAKE_TIME
        token, nonce = self._offer.token, os.urandom(wire.NONCE_SIZE)
        greeting = wire.Greeting(wire.MAGIC, wire.PROTOCOL, version(), nonce, token is not None)
        self._sock.sendall(wire.frame(greeting))
        body = wire.receive(self._sock, wire.LARGEST_STRANGER, deadline)
        if body is None:
            return False
        hello = wire.decode(wire.hellos.decode, body)
        refusal = self._judge(hello, nonce)
        if refusal is not None:
            _log.info("%s was refused: %s", self.name, refusal)
            self._sock.sendall(wire.frame(wire.Refused(troubles.pack(refusal))))
            return False
        offered = self._offer.offered()
        self._announced = offered.version
        proof = wire.proof(token, "server", nonce, hello.nonce)
        self._sock.sendall(wire.frame(wire.Welcome(proof, offered, self._offer.largest)))
        self._offer.entered(self)
        return True

    def _judge(self, hello: wire.Hello, nonce: bytes) -> MidflightError | None:
        if hello.magic != wire.MAGIC:
            return ProtocolError("it isn't midflight that speaks there", todo="check the address")
        if hello.protocol != wire.PROTOCOL:
            return ProtocolError(mismatch(hello.protocol, hello.midflight), todo="run the same midflight on both sides")
        if not wire.proven(self._offer.token, "client", hello.nonce, nonce, hello.proof):
            return TokenError("the token isn't the right one", todo="give the same token= on both sides")
        return None

    def _listen(self) -> None:
        while (body := wire.receive(self._sock, self._offer.largest)) is not None:
            self._take(wire.decode(wire.from_client.decode, body), len(body))

    def _take(self, message: wire.FromClient, size: int) -> None:
        match message:
            case Answer():
                self._pass_on(message.number, message)
            case Release(numbers):
                self.handles.release(numbers)
            case Call(inside=inside) if inside and self._pass_on(inside, message):
                return
            case _:
                self._queue(message, size)

    def _pass_on(self, number: int, message: Answer | Call) -> bool:
        """Give a message to the thread that waits for a callback; return whether there is one."""
        waiting = self._callbacks.get(number)
        if waiting is None:
            return False
        waiting.put(message)
        return True

    def _queue(self, message: Call | Read | Write | Text | Swap, size: int) -> None:
        with self._mutex:
            over = self._calls >= _MOST_CALLS or self._bytes + size > 2 * self._offer.largest
            if not over:
                self._calls += 1
                self._bytes += size
        if over:
            error = ProtocolError(f"more than {_MOST_CALLS} calls at once, or too much data in them")
            self.send(Failed(message.serial, troubles.pack(error)))
            return
        self._offer.pool.submit(lambda: self._serve_counted(message, size))

    def _serve_counted(self, message: Call | Read | Write | Text | Swap, size: int) -> None:
        try:
            self._serve(message)
        finally:
            with self._mutex:
                self._calls -= 1
                self._bytes -= size

    # ---- serving

    def _serve(self, message: Call | Read | Write | Text | Swap) -> None:
        """Do what a message asks for, and answer."""
        if self.closed:
            return
        stack = _serving()
        stack.append((self, message.serial))
        try:
            answer = self._answer(message)
        except CallbackRaisedError as error:
            own = error.peer is self and error.serial == message.serial
            answer = Failed(message.serial, error.trouble, error.raised if own else -1)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller is told
            answer = Failed(message.serial, troubles.pack(error))
        finally:
            stack.pop()
        self.send(answer, serial=message.serial)

    def _answer(self, message: Call | Read | Write | Text | Swap) -> Done | Failed | wire.Stale:
        match message:
            case Swap():
                if not self._offer.allow_swap:
                    what = "the module is offered without leave to swap it from elsewhere"
                    raise SwapError(what, todo="swap it where it is offered, or offer it with allow_swap=True")
                self._offer.swap()
                self.announce()
                return Done(message.serial, None)
            case Text():
                text = self.handles.pointer(message.handle).string()
                return Done(message.serial, text.encode("utf-8", "surrogateescape"))
        generation = self._offer.hold(message.version)
        try:
            served = self._offer.served(generation)
            if served.layout != message.layout:
                self.announce()
                return wire.Stale(message.serial)
            match message:
                case Call():
                    return self._call(message, served, generation)
                case Read():
                    variable = self._variable(served, message.name)
                    value = Variables(self._offer.control, generation)[message.name]
                    return Done(message.serial, leaving(served, self, variable.type, value))
                case Write():
                    return self._write(message, served, generation)
        finally:
            generation.table.unpin()

    def _call(self, message: Call, served: Served, generation: Generation) -> Done | Failed:
        function = served.function(message.function)
        incoming = Incoming(served, self, function, generation)
        arguments = incoming.read(message.arguments)
        try:
            value = served.call(generation, function, arguments)
        except CallbackRaisedError as error:
            own = error.peer is self and error.serial == message.serial
            return Failed(message.serial, error.trouble, error.raised if own else -1, incoming.memory())
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            return Failed(message.serial, troubles.pack(error), -1, incoming.memory())
        return Done(message.serial, leaving(served, self, function.result, value), incoming.memory())

    def _variable(self, served: Served, name: str) -> Variable:
        found = next((one for one in served.interface.variables if one.name == name), None)
        if found is None:
            what, todo = f"version {served.number} has no variable {name!r}", "read one that the module has now"
            raise MissingVariableError(what, todo=todo)
        return found

    def _write(self, message: Write, served: Served, generation: Generation) -> Done:
        variable = self._variable(served, message.name)
        value: Any = message.value
        if isinstance(value, bytes):
            served.refuse_addresses(value, variable.type, variable.name)
        elif isinstance(value, wire.Plain):
            value = value.value
        elif not isinstance(value, (bool, int, float)):
            raise ArgumentTypeError(f"a variable can't be written with a {type(value).__name__}", subject=variable.name)
        Variables(self._offer.control, generation)[message.name] = value
        return Done(message.serial, None)

    # ---- callbacks

    def callable(self, token: int, served: Served, generation: Generation, signature: Signature) -> Proxy:
        """Return what native code's calls are to reach for a callable of the client's."""
        key = (token, served.number, signature)
        with self._mutex:
            found = self._proxies.get(key)
            if found is None:
                if len(self._proxies) >= _MOST_CALLABLES:
                    what = f"{_MOST_CALLABLES} different callables were passed over this connection"
                    raise ArgumentTypeError(what, todo="pass the same one again instead of making new ones")
                found = self._proxies[key] = Proxy(self, token, served, generation, signature)
            return found

    def call_back(
        self, token: int, served: Served, generation: Generation, signature: Signature, values: tuple[Any, ...]
    ) -> Any:
        """Call a callable of the client's and wait for its answer."""
        if self.closed:
            raise gone()
        arguments, copy_back = callback_arguments(served, self, generation, signature, values)
        stack = _serving()
        serial = stack[-1][1] if stack and stack[-1][0] is self else 0
        number = next(self._numbers)
        waiting: queue.SimpleQueue[Answer | Call | None] = queue.SimpleQueue()
        self._callbacks[number] = waiting
        try:
            self.send(Callback(number, serial, token, arguments))
            with self._offer.pool.waiting():
                answer = self._answered(waiting)
        finally:
            self._callbacks.pop(number, None)
        if answer.trouble is not None:
            raise CallbackRaisedError(self, serial, answer, answer.trouble)
        copy_back(answer.memory)
        return self._returned(answer.value, served, signature)

    def _answered(self, waiting: queue.SimpleQueue[Answer | Call | None]) -> Answer:
        """Wait for a callback's answer; calls that are made from inside it run here."""
        if self.closed:
            raise gone()
        while True:
            message = waiting.get()
            match message:
                case None:
                    raise gone()
                case Answer():
                    return message
                case nested:
                    self._serve(nested)

    def _returned(self, value: wire.Value, served: Served, signature: Signature) -> Any:
        match served.interface.strip(signature.result), value:
            case Void(), _:
                return None
            case Pointer(), None:
                return None
            case Pointer(), Handle():
                return self.handles.pointer(value.number, served.number)
            case Pointer(), _:
                raise ProtocolError("a callback returned something else than a pointer of this connection")
            case _, (bool() | int() | float()):
                return value
        raise ProtocolError(f"a callback returned a {type(value).__name__}")

    # ---- sending

    def announce(self) -> None:
        """Tell the client what is offered now, if it hasn't been told."""
        with self._announcing:
            offered = self._offer.offered()
            if offered.version != self._announced:
                self._announced = offered.version
                self.send(offered)

    def send(self, message: msgspec.Struct, *, serial: int = 0) -> None:
        """Send a message; a connection that doesn't take it is closed.  A call's answer that is too long fails."""
        try:
            data = wire.frame(message)
        except (ProtocolError, TypeError, OverflowError) as error:
            if not serial:
                raise
            data = wire.frame(Failed(serial, troubles.pack(error)))
        try:
            self._send(data)
        except OSError as error:
            _log.debug("%s: %s", self.name, error)
            self.close()

    def _send(self, data: bytes) -> None:
        """Send a frame.  A client that doesn't read must not hold up a thread of the pool."""
        if not self._sending.acquire(timeout=_PATIENCE):
            with self._offer.pool.waiting():
                self._sending.acquire()
        try:
            sent = 0
            with contextlib.suppress(BlockingIOError):
                sent = self._sock.send(data, socket.MSG_DONTWAIT)
            if sent < len(data):
                with self._offer.pool.waiting():
                    self._sock.sendall(memoryview(data)[sent:])
        finally:
            self._sending.release()

    # ---- the end

    def close(self) -> None:
        """End the connection: nobody waits for the client any more, and its pointers are let go."""
        with self._mutex:
            if self.closed:
                return
            self.closed = True
            self._proxies.clear()
        for waiting in list(self._callbacks.values()):
            waiting.put(None)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self.handles.clear()

    def disown(self) -> None:
        """In the child of a fork: let go of the parent's socket without a word to the client."""
        self._sock.close()


def _serving() -> list[tuple[Peer, int]]:
    stack: list[tuple[Peer, int]] | None = getattr(_local, "serving", None)
    if stack is None:
        stack = _local.serving = []
    return stack
