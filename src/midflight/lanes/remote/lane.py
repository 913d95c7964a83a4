"""A module that lives elsewhere: its source, its artifact, its lane and its code.

Guarantees:
- The module's functions follow what the other side offers: a swap there is a swap here, which changes nothing else.
- `swap` asks the other side to swap, which may refuse; its version is unloaded there, by the rules of that side.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from midflight import _core
from midflight._errors import (
    InterfaceError,
    MidflightError,
    MissingVariableError,
    SourceError,
    SwapError,
    UnloadedError,
    UnsupportedFunctionError,
)
from midflight._lane import bindings_by_slot, function_keys
from midflight.build.describe import module_name
from midflight.lanes.remote import address as addresses
from midflight.lanes.remote.connection import CONNECT_TIMEOUT, Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._control import Control
    from midflight._lane import ExplicitFunction, Held, Memory, Wanted
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Interface, TypeId, Variable
    from midflight.build.model import Accept
    from midflight.lanes.remote.faces import Faces
    from midflight.lanes.remote.wire import Offered

_log = logging.getLogger("midflight")


class RemoteArtifact:
    """What the other side offers: its bytes stay there.  Has what `midflight.build.Artifact` has.

    It doesn't keep the connection open: versions that are gone are remembered by their artifacts.
    """

    def __init__(self, connection: Connection, offered: Offered) -> None:
        self._connection = weakref.ref(connection)
        self.offered = offered
        self.sha256 = offered.sha256
        self.path = Path(connection.address.text)
        self.origin = Path("/")
        self.cached = True
        self.warnings: tuple[str, ...] = ()

    @property
    def connection(self) -> Connection:
        """The way to where it is."""
        found = self._connection()
        if found is None:
            raise UnloadedError("the connection has been closed", subject=str(self.path), todo="load it again")
        return found

    def read(self) -> bytes:
        """Return no bytes."""
        return b""


class RemoteSource:
    """The address of a module that is offered elsewhere.  Implements `midflight.build.Source`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name
        self.display = connection.address.text
        self._resolved = False
        self._following = threading.local()

    def inputs(self) -> frozenset[Path]:
        """Return no files: what matters is on the other side."""
        return frozenset()

    def missing(self) -> frozenset[Path]:
        """Return no files."""
        return frozenset()

    def changed(self) -> bool:
        """Return False: the other side tells of changes by itself."""
        return False

    library = None

    def resolve(self, accept: Accept | None = None) -> Any:
        """Return what is offered; after the first time, ask the other side to swap before.

        Raises `SourceError` where its bytes are to be looked at: there are none here.
        """
        if accept is not None:
            what = "expect= is about bytes that are loaded here, and this module runs in another program"
            raise SourceError(what, subject=self.display, todo="say expect= there, where it is loaded")
        if self._resolved and not getattr(self._following, "now", False):
            self.connection.ask_for_swap()
        artifact = RemoteArtifact(self.connection, self.connection.offered())
        self._resolved = True
        return artifact

    def resolve_unasked(self) -> Any:
        """Return what is offered now."""
        return RemoteArtifact(self.connection, self.connection.offered())

    def follow(self, control: Control) -> None:
        """From now on, let the module be what the other side offers, whenever that changes."""
        follower = _Follower(self, weakref.ref(control))
        self.connection.on_change = follower.note
        follower.note()

    def take_over(self, control: Control) -> None:
        """Make what the other side offers current in the module."""
        from midflight import _transaction  # noqa: PLC0415 - it imports the lanes
        from midflight._stages import Request  # noqa: PLC0415

        self._following.now = True
        try:
            _transaction.run([Request(control, self, "any")])
        finally:
            self._following.now = False


class _Follower:
    """Takes a swap of the other side over, in a thread of its own, which ends when there is nothing more to do."""

    def __init__(self, source: RemoteSource, control: weakref.ref[Control]) -> None:
        self._source = weakref.ref(source)
        self._control = control
        self._mutex = threading.Lock()
        self._noted = False
        self._running = False

    def note(self) -> None:
        """Note that something may have changed."""
        with self._mutex:
            self._noted = True
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="midflight-remote-follow", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._noted:
                    self._running = False
                    return
                self._noted = False
            self._follow()

    def _follow(self) -> None:
        source, control = self._source(), self._control()
        if source is None or control is None or control.source is not source or control.current is None:
            return
        try:
            source.take_over(control)
        except UnloadedError:
            return
        except MidflightError as error:
            _log.warning("what %s offers now can't be taken over: %s", source.display, error)
        except Exception:  # noqa: BLE001 - a thread of its own has nobody to tell
            _log.exception("what %s offers now can't be taken over", source.display)


def source(
    text: str,
    *,
    given: Any = None,
    name: str | None = None,
    token: str | bytes | None = None,
    timeout: float | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> RemoteSource:
    """Return the source that an address is.  Raises `SourceError`; nothing is connected yet.

    ``given``: the source that `load` was given; it isn't read, but names the module where ``name`` doesn't.
    """
    where = addresses.parse(text)
    connection = Connection(where, token=token, timeout=timeout, connect_timeout=connect_timeout)
    connection.module = name or _suggested(given) or where.name
    return RemoteSource(connection, connection.module)


def _suggested(given: Any) -> str:
    """Return the name that a source suggests, or the first of several; "" where there is none."""
    first = next(iter(given), "") if isinstance(given, (list, tuple)) else given
    return module_name(Path(first)) if isinstance(first, (str, os.PathLike)) and first else ""


class RemoteLane:
    """Versions that run on the other side of a socket."""

    name = "remote"

    def read_interface(self, artifact: Any, _data: bytes, declared: Any) -> Interface:
        """Return what the other side says that it offers."""
        if declared is not None:
            what = "interface= can't be said for a module that is offered elsewhere"
            raise InterfaceError(what, todo="say it where the module is offered")
        interface: Interface = _offered(artifact).interface
        return interface

    def prepare(self, wanted: Wanted) -> RemoteCode:
        """Bind the functions; nothing happens on the other side."""
        artifact: Any = wanted.artifact
        offered = _offered(artifact)
        connection: Connection = artifact.connection
        if connection.offered().sha256 != offered.sha256:
            what = "the other side doesn't offer that version any more"
            raise SwapError(what, subject=wanted.source, todo="roll back where the module is offered")
        return RemoteCode(connection, offered, connection.faces(offered), wanted)


def _offered(artifact: Any) -> Offered:
    if not isinstance(artifact, RemoteArtifact):
        raise SwapError("this is no module that is offered elsewhere", todo="give the address as lane=")
    return artifact.offered


class _Live(NamedTuple):
    """What a version needs while it is loaded."""

    connection: Connection
    faces: Faces


class RemoteCode:
    """One version on the other side, as far as this side knows it."""

    def __init__(self, connection: Connection, offered: Offered, faces: Faces, wanted: Wanted) -> None:
        self.ctypes: CTypes = faces.terms.types
        self.path = f"version {offered.version} at {connection.address.text}"
        self.warnings: tuple[str, ...] = ()
        self.version = offered.version
        self.failing: Callable[[], object] | None = None
        self.access = RemoteVariables(weakref.ref(self))
        self._live: _Live | None = _Live(connection, faces)
        made: dict[str, Any] = {}
        for function in wanted.interface.functions:
            face = faces.get(function.qualified)
            if face is not None:
                binding = face.bound(partial(self._call, function.qualified))
                made.update(dict.fromkeys(function_keys(function), binding))
        self.table = _core.Table(wanted.label, bindings_by_slot(wanted.slots, made))
        for key, explicit in wanted.explicit.items():
            self.add_explicit(wanted.slots[key], explicit)

    @property
    def live(self) -> _Live:
        """The connection and the functions.  Raises `UnloadedError` once it is retired."""
        if self._live is None:
            raise UnloadedError("this version has been unloaded", subject=self.path)
        return self._live

    def _call(self, qualified: str, *values: Any, **keywords: Any) -> Any:
        connection, faces = self.live
        face = faces.get(qualified)
        assert face is not None  # noqa: S101 - only such functions are bound
        return connection.call(face, face.in_order(values, keywords), self.only())

    def only(self) -> int:
        """Return the version that must answer: this one, where it is pinned and the other side has gone on; else 0."""
        if not self.table.pins or self.live.connection.offered().version == self.version:
            return 0
        return self.version

    # ---- variables

    def variable(self, address: int, size: int) -> Memory:  # noqa: ARG002 - the Protocol's parameters
        """Raise: it is in another process."""
        _refuse_address()

    def to_native(self, name: str, type_id: TypeId, value: object) -> Any:
        """Convert a number for a variable, by the rules for arguments."""
        return self.live.faces.terms.binder.to_native(name, type_id, value)

    def from_native(self, type_id: TypeId, value: int) -> Any:
        """Convert an integer that a variable holds, by the rules for results."""
        return self.live.faces.terms.binder.from_native(self.table, type_id, value)

    def add_explicit(self, slot: int, wanted: ExplicitFunction) -> None:
        """Fill a slot with a function that says why it can't be called."""
        why = "a signature of one's own can't be given to a function that is offered elsewhere"
        self.table.put(slot, _core.Binding(wanted.symbol_of, 0, [], ("void", "void", None, ""), unusable=why))

    def retire(self) -> Held | None:
        """Let it go, and the connection with the last one; the other side unloads by its own rules."""
        self._live = None
        return None


class RemoteVariables:
    """The variables of one version: numbers, enums and texts, and copies of structs and arrays."""

    def __init__(self, code: weakref.ref[RemoteCode]) -> None:
        self._code = code

    def names(self) -> list[str]:
        """Return the names of all variables that have a place in memory."""
        interface = self._held().live.faces.terms.interface
        return [one.name for one in interface.variables if one.address is not None]

    def read(self, name: str) -> Any:
        """Return a variable's value: structs and arrays as copies."""
        code = self._held()
        connection, faces = code.live
        return connection.read(faces.terms, self._variable(code, name), code.only())

    def write(self, name: str, value: Any) -> None:
        """Set a variable."""
        code = self._held()
        connection, faces = code.live
        connection.write(faces.terms, self._variable(code, name), value, code.only())

    def _held(self) -> RemoteCode:
        code = self._code()
        if code is None:
            todo = "take them from the module again: midflight.variables(module)"
            raise UnloadedError("this version has been unloaded", todo=todo)
        return code

    def _variable(self, code: RemoteCode, name: str) -> Variable:
        terms = code.live.faces.terms
        found = next((one for one in terms.interface.variables if one.name == name), None)
        if found is None:
            what = f"version {code.version} has no variable {name!r}"
            todo = "list(midflight.variables(module)) are those that it has"
            raise MissingVariableError(what, subject=terms.module, todo=todo)
        return found


def _refuse_address() -> NoReturn:
    what = "a variable of another process has no address here"
    raise UnsupportedFunctionError(what, todo="read and write it by midflight.variables(module)")
