"""The way to one address, for as long as anything of the module needs it: connects, and connects again.

Guarantees:
- One thread per connection receives, and reconnects after a loss, with pauses that double up to a limit and are
  jittered, so that many clients don't come back at once.
- A call that is made while there is no connection waits at most ``connect_timeout`` for one, then raises.  A call that
  was sent is never sent again, except where the other side says that it did not carry it out.
- The thread holds nothing of the module: when the module is gone, the connection is closed.
- In the child of a fork the connection is the parent's; the child opens its own when it first needs one.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from midflight import _timeouts
from midflight._errors import (
    CallTimeoutError,
    ConnectionLostError,
    InterfaceError,
    MidflightError,
    MissingFunction,
    MissingVariableError,
    ProtocolError,
)
from midflight.lanes.remote import wire
from midflight.lanes.remote.faces import Face, Faces, Packing, Terms
from midflight.lanes.remote.session import NotSentError, Session, StaleError, open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.artifact.interface import Variable
    from midflight.lanes.remote.address import Address
    from midflight.lanes.remote.callables import Registered
    from midflight.lanes.remote.wire import Offered

_log = logging.getLogger("midflight")
CONNECT_TIMEOUT = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 5.0
_MOST_CHANGES = 100


class _State:
    """What the connection and its thread share."""

    def __init__(self, address: Address, token: bytes | None, connect_timeout: float) -> None:
        self.address = address
        self.token = token
        self.connect_timeout = connect_timeout
        self.changed = threading.Condition()
        self.session: Session | None = None
        self.error: MidflightError | None = None  # why there is no session
        self.final = False  # trying again doesn't help
        self.closed = False
        self.thread: threading.Thread | None = None
        self.wake = threading.Event()

    def close(self) -> None:
        """End the thread.  May be called from a garbage collection: takes no lock."""
        self.closed = True
        self.wake.set()
        session = self.session
        if session is not None:
            session.lose("the module isn't used any more")


class Connection:
    """The way to one address."""

    def __init__(
        self,
        address: Address,
        *,
        token: str | bytes | None = None,
        timeout: float | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.module = ""
        self.on_change: Callable[[], object] | None = None
        self._faces: weakref.WeakValueDictionary[int, Faces] = weakref.WeakValueDictionary()
        self._callables: weakref.WeakValueDictionary[int, Registered] = weakref.WeakValueDictionary()
        self._mutex = threading.Lock()
        self._token = wire.token_bytes(token)
        self._connect_timeout = connect_timeout
        self._begin()
        _connections.add(self)

    def _begin(self) -> None:
        self._state = _State(self.address, self._token, self._connect_timeout)
        self._finalizer = weakref.finalize(self, self._state.close)
        self._finalizer.atexit = False

    # ---- the session

    def session(self) -> Session:
        """Return the connection that is open, or wait for one.

        Raises `ConnectionLostError` when there is none in time, `ProtocolError` or `TokenError` at once.
        """
        session = self._state.session
        if session is not None and session.lost is None:
            return session
        return self._awaited()

    def _awaited(self) -> Session:
        state = self._state
        deadline = time.monotonic() + state.connect_timeout
        with state.changed:
            if state.closed:
                what, todo = "the connection has been closed", "load it again"
                raise ConnectionLostError(what, subject=self.address.text, todo=todo)
            self._start()
            while state.session is None or state.session.lost is not None:
                if state.final and state.error is not None:
                    state.final = False  # the next call tries again
                    state.thread = None
                    raise state.error
                left = deadline - time.monotonic()
                if left <= 0 or not state.changed.wait(left):
                    raise self._unreachable()
            return state.session

    def _start(self) -> None:
        state = self._state
        if state.thread is None or not state.thread.is_alive():
            state.final = False
            own = weakref.ref(self)
            name = f"midflight-remote-{self.address.name}"
            state.thread = threading.Thread(target=_run, args=(state, own), name=name, daemon=True)
            state.thread.start()

    def _unreachable(self) -> ConnectionLostError:
        error = self._state.error
        why = f": {error.what}" if error is not None else ""
        what = f"there is no connection after {self._connect_timeout:g} s{why}"
        todo = f"see to it that the module is offered there: midflight offer SOURCE --at {self.address.text}"
        return ConnectionLostError(what, subject=self.address.text, unchanged="nothing was sent", todo=todo)

    def renew(self) -> None:
        """In the child of a fork: the connection is the parent's."""
        old = self._state.session
        self._finalizer.detach()
        self._mutex = threading.Lock()
        self._begin()
        if old is not None:
            old.lost = ConnectionLostError("it belongs to the parent process", subject=self.address.text)
            old.close()

    # ---- faces

    def offered(self) -> Offered:
        """Return what the other side offers now."""
        return self.session().offered

    def faces(self, offered: Offered) -> Faces:
        """Return how the functions of an interface are called.  Raises `InterfaceError` for one that makes no sense."""
        with self._mutex:
            found = self._faces.get(offered.layout)
            if found is None:
                try:
                    terms = Terms(self, self.module or offered.module, offered.interface, offered.layout)
                    found = Faces(terms)
                except MidflightError:
                    raise
                except Exception as error:  # the interface is the other side's
                    what = f"the interface that the other side sent can't be used ({type(error).__name__}: {error})"
                    todo = "see that both sides run the same version of midflight"
                    raise InterfaceError(what, subject=self.address.text, todo=todo) from error
                self._faces[offered.layout] = found
            return found

    def remember(self, registered: Registered) -> None:
        """Let a callable be found when the other side calls it."""
        self._callables[registered.number] = registered

    def callable(self, token: int) -> Registered | None:
        """Find a callable."""
        return self._callables.get(token)

    # ---- calls

    def call(self, face: Face, values: tuple[Any, ...], version: int = 0) -> Any:
        """Call a function on the other side, in the version that is current there, or in exactly this one."""
        for _ in range(_MOST_CHANGES):
            try:
                return self._call(face, values, version)
            except NotSentError:
                continue
            except StaleError:
                face = self._again(face)
        raise self._unsteady(face.name)

    def _call(self, face: Face, values: tuple[Any, ...], version: int) -> Any:
        session = self.session()
        packing = Packing(session)
        arguments = face.encode(values, packing)

        def make(serial: int) -> wire.Call:
            return wire.Call(serial, face.terms.layout, face.function.qualified, arguments, session.inside(), version)

        handled = session.exchange(make, self.callable, self.seconds())
        if handled.error is None or handled.memory:
            packing.copy_back(handled.memory)
        if handled.error is not None:
            _name(handled.error, face.name)
            raise handled.error
        return face.decode(handled.value, session)

    def _again(self, face: Face) -> Face:
        """Return the function in what the other side offers now."""
        offered = self.offered()
        found = self.faces(offered).get(face.function.qualified)
        if found is None:
            what = f"version {offered.version} on the other side has no such function"
            raise MissingFunction(what, subject=face.name, todo="dir(module) lists those that it has")
        return found

    def _unsteady(self, subject: str) -> ProtocolError:
        what = f"what the other side offers has changed {_MOST_CHANGES} times during this call"
        return ProtocolError(what, subject=subject, todo="call again when its swaps have come to an end")

    def seconds(self) -> float | None:
        """Return how long a call may take that is made now."""
        own = _timeouts.current()
        return self.timeout if own is None else own

    # ---- variables

    def read(self, terms: Terms, variable: Variable, version: int = 0) -> Any:
        """Read a variable on the other side."""
        for _ in range(_MOST_CHANGES):
            try:
                session = self.session()
                make = partial(_read, terms.layout, variable.name, version)
                handled = session.exchange(make, self.callable, self.seconds())
            except NotSentError:
                continue
            except StaleError:
                terms, variable = self._variable(variable.name)
                continue
            if handled.error is not None:
                raise handled.error
            return terms.variable_value(variable, handled.value, session)
        raise self._unsteady(variable.name)

    def write(self, terms: Terms, variable: Variable, value: Any, version: int = 0) -> None:
        """Write a variable on the other side."""
        for _ in range(_MOST_CHANGES):
            make = partial(_write, terms.layout, variable.name, terms.variable_bytes(variable, value), version)
            try:
                handled = self.session().exchange(make, self.callable, self.seconds())
            except NotSentError:
                continue
            except StaleError:
                terms, variable = self._variable(variable.name)
                continue
            if handled.error is not None:
                raise handled.error
            return
        raise self._unsteady(variable.name)

    def _variable(self, name: str) -> tuple[Terms, Variable]:
        offered = self.offered()
        found = next((one for one in offered.interface.variables if one.name == name), None)
        if found is None:
            what = f"version {offered.version} on the other side has no variable {name!r}"
            todo = "list(midflight.variables(module)) are those that it has"
            raise MissingVariableError(what, subject=self.address.text, todo=todo)
        return self.faces(offered).terms, found

    # ---- swaps

    def ask_for_swap(self) -> None:
        """Let the other side swap.  Raises what that raises, or `SwapError` if it isn't allowed."""
        while True:
            try:
                handled = self.session().exchange(wire.Swap, self.callable, None)
            except NotSentError:
                continue
            if handled.error is not None:
                raise handled.error
            return

    def announced(self) -> None:
        """Take notice of what the other side offers now.  Called by the thread that receives."""
        change = self.on_change
        if change is not None:
            change()

    def close(self) -> None:
        """Close it for good; calls in flight are told that the connection is lost."""
        self._finalizer()
        with self._state.changed:
            self._state.changed.notify_all()


def _read(layout: int, name: str, version: int, serial: int) -> wire.Read:
    return wire.Read(serial, layout, name, version)


def _write(layout: int, name: str, value: wire.Value, version: int, serial: int) -> wire.Write:
    return wire.Write(serial, layout, name, value, version)


def _name(error: BaseException, name: str) -> None:
    """Let an error of midflight's be about the module's function as this side calls it."""
    if isinstance(error, CallTimeoutError) and not error.subject:
        error.subject = name


# ---- the thread -----------------------------------------------------------------------------------------------------


def _run(state: _State, own: weakref.ref[Connection]) -> None:
    pause = _FIRST_PAUSE
    while not state.closed:
        try:
            session = open_session(state.address, state.token, state.connect_timeout)
        except MidflightError as error:
            final = not isinstance(error, ConnectionLostError)
            with state.changed:
                state.error, state.final = error, final
                state.changed.notify_all()
            if final:
                return
            # Between a half and the whole: clients that lost the same server come back at different times.
            state.wake.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        pause = _FIRST_PAUSE
        with state.changed:
            state.session, state.error = session, None
            state.changed.notify_all()
        if state.closed:
            session.lose("the module isn't used any more")
        _announce(own, session)
        session.listen(lambda session: _announce(own, session), lambda token: _find(own, token))
        with state.changed:
            state.session, state.error = None, session.lost
            state.changed.notify_all()
        session.close()


def _announce(own: weakref.ref[Connection], _session: Session) -> None:
    connection = own()
    if connection is not None:
        connection.announced()


def _find(own: weakref.ref[Connection], token: int) -> Registered | None:
    connection = own()
    return connection.callable(token) if connection is not None else None


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    for connection in list(_connections):
        connection.renew()


os.register_at_fork(after_in_child=_after_fork)
