"""One version of a Go package, in its process."""

from __future__ import annotations

import time
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from midflight import _core
from midflight._errors import (
    ArgumentTypeError,
    BadLibraryError,
    MidflightError,
    UnloadedError,
    UnsupportedFunctionError,
)
from midflight._lane import Held, bindings_by_slot, function_keys
from midflight.lanes.go import wire
from midflight.lanes.go.access import Access, Namespace
from midflight.lanes.go.calls import (
    Callbacks,
    Caller,
    assign_struct,
    misfit_error,
    raise_failure,
    signature,
)
from midflight.lanes.go.cancelling import Cancels
from midflight.lanes.go.checks import MisfitError
from midflight.lanes.go.classes import Classes, GoStruct
from midflight.lanes.go.gate import Gate, Moved
from midflight.lanes.go.objects import GoObject, Session
from midflight.lanes.go.state import Saver
from midflight.lanes.go.values import Objects, Types

if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import Signature

    from midflight._core import Binding, Link
    from midflight._lane import ExplicitFunction, Wanted
    from midflight.artifact.interface import TypeId
    from midflight.lanes import LaneOptions
    from midflight.lanes.go.model import API, Func, Type
    from midflight.lanes.worker.process import Process

_MESSAGE = 2


class Info:
    """What help() and completion show of a function; made when it is first asked for."""

    def __init__(self, func: Func, types: Types) -> None:
        self._func = func
        self._types = types

    @cached_property
    def doc(self) -> str:
        """The docstring."""
        func = self._func
        fails = "Raises `GoError` where Go returns an error." if func.error else ""
        return "\n\n".join(part for part in (func.doc, fails, func.place and f"Defined in {func.place}.") if part)

    @cached_property
    def signature(self) -> Signature:
        """The signature."""
        return signature(self._func, self._types)


class Family:
    """What the versions of one module share: the classes of their types, and which version serves value methods."""

    def __init__(self, module: str) -> None:
        self.classes = Classes(module, self._call_method)
        self.current: weakref.ref[GoCode] = lambda: None  # type: ignore[assignment]

    def _call_method(
        self, value: Any, name: str, func: Func, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Run a method of a value that Python has, in the current version."""
        while True:
            code = self.current()
            if code is None:
                raise UnloadedError("the module has been unloaded", subject=name, todo="load it again")
            try:
                code.table.pin()
            except UnloadedError:
                if self.current() is code:
                    raise
                continue
            try:
                return code.call_value_method(value, name, func, arguments, keywords)
            finally:
                code.table.unpin()


class GoCode(Objects):
    """One version.  It is also what `Types` ask about live objects: those of the worker that runs now."""

    ctypes: Any
    failing_call: Callable[[], object] | None = None

    def __init__(self, wanted: Wanted, api: API, process: Process, family: Family, options: LaneOptions) -> None:
        self.module = wanted.module
        self.number = wanted.label
        self.label = f"version {wanted.label} of {wanted.module}"
        self.api = api
        self.process = process
        self.family = family
        self.path = f"process {process.link.pid}"
        self.warnings: tuple[str, ...] = ()
        self.live: dict[int, None] = {}
        self.predecessor: GoCode | None = None
        self.held_since = self.pause = 0.0
        self.gate = Gate()
        self.stateful = api.stateful
        self.types = Types(api.types, family.classes, self)
        self.ctypes = Namespace(self.types)
        self._session = Session(self, process.link)
        calls: int | None = getattr(options, "save_calls", None)
        seconds: float | None = getattr(options, "save_every", None)
        self.saver = Saver(self, seconds if self.stateful else None, calls)
        self.cancels = Cancels(process.worker)
        process.prepare = self._prepare_fresh
        self.callers: dict[str, Caller] = {}
        self.table = self._bind(wanted)
        self.access = Access(self)
        self.attributes = self.ctypes.classes()

    def _prepare_fresh(self, link: Link) -> None:
        """Make a worker ready that takes the place of one that has died."""
        self.saver.restore(link)
        self.cancels.repeat(link)

    # ---- binding

    def _bind(self, wanted: Wanted) -> _core.Table:
        made: dict[str, Binding] = {}
        for number, func in enumerate(self.api.functions):
            subject = f"{self.module}.{func.name}"
            if not func.why:
                self.callers[func.name] = Caller(self, number, func, self.types, subject)
            made[func.name] = self._binding(func.name, func, self._function(func.name))
        for one, func in self.api.methods():
            qualified = f"{one.name}.{func.name}"
            made[qualified] = self._binding(qualified, func, _method_of(func.name))
        for skipped in self.api.skipped:
            made[skipped.name] = _unusable(skipped.name, skipped.why)
        keys = {key for function in wanted.interface.functions for key in function_keys(function)}
        return _core.Table(
            wanted.label, bindings_by_slot(wanted.slots, {key: made[key] for key in keys if key in made})
        )

    def _binding(self, name: str, func: Func, slow: Callable[..., Any]) -> Binding:
        if func.why:
            return _unusable(name, func.why)
        info = Info(func, self.types)
        return _core.Binding(name, 0, [], ("void", "void", None, ""), slow=slow, raw=True, info=info)

    def _function(self, name: str) -> Callable[..., Any]:
        caller = self.callers.get(name)
        if caller is None or not self.stateful:
            return caller or _nothing

        find = weakref.ref(self)  # not itself: a version that is gone mustn't refer to itself

        def call(*arguments: Any, **keywords: Any) -> Any:
            code = find()
            while code is not None:
                try:
                    code.gate.enter(may_move=True)
                except Moved as moved:
                    code = moved.successor
                    continue
                try:
                    result = code.callers[name](*arguments, **keywords)
                finally:
                    code.gate.leave()
                code.saver.called()
                return result
            raise UnloadedError("this version has been unloaded", subject=name, todo="call the module itself")

        return call

    # ---- messages

    @property
    def session(self) -> Session:
        """The worker that runs now, and its objects."""
        # One that has died unnoticed is replaced by the message itself.
        link = self.process.worker.link or self.process.link
        if self._session.link is not link:
            self._session = Session(self, link)
        return self._session

    def decode(self, data: bytes) -> Any:
        """Read a message from the worker."""
        try:
            return self._session.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            what = f"what its worker says can't be read ({error})"
            raise BadLibraryError(what, subject=self.label, todo="report this") from None

    def message(self, number: int, message: list[Any], subject: str, callbacks: Callbacks | None = None) -> Any:
        """Send a message and return the answer."""
        session = self.session
        if session.dropped:
            session.flush()
        try:
            payload = wire.encode(message)
        except (UnicodeEncodeError, RecursionError, TypeError, ValueError, OverflowError) as error:
            raise ArgumentTypeError(f"an argument can't be sent to Go: {error}", subject=subject) from None
        data = self.process.message(number, payload, callback=callbacks, subject=subject)
        return self.decode(data)

    def ask(self, link: Link, number: int, message: list[Any]) -> Any:
        """Ask one process something that isn't a call of the user's; return the only result."""
        data = link.send(_MESSAGE, number, wire.encode(message))
        return self._only(msgspec.msgpack.decode(data))

    def operate(self, number: int, message: list[Any], subject: str) -> Any:
        """Do something with an object or a variable; return the only result."""
        if not self.stateful:
            return self._only(self.message(number, message, f"{self.module}.{subject}"))
        with self.gate.passing():
            return self._only(self.message(number, message, f"{self.module}.{subject}"))

    def _only(self, answer: Any) -> Any:
        if answer[0] != wire.VALUE:
            raise_failure(answer[0], answer[1:], self.label)
        return answer[1][0]

    def converted(self, types: Types, index: int, value: Any, name: str) -> Any:
        """Convert a value for a variable or a field."""
        try:
            return types.to_go(index)(value)
        except MisfitError as misfit:
            raise misfit_error(misfit, name, self.module) from None

    # ---- live objects

    @property
    def objects(self) -> int:
        """How many live objects hold this version."""
        return len(self.live)

    def give(self, value: Any) -> msgspec.msgpack.Ext | None:
        """Return what stands for a live object of the worker that runs now."""
        return self.session.give(value) if isinstance(value, GoObject) else None

    def callback(self, function: Callable[..., Any], func: Func, types: Types) -> msgspec.msgpack.Ext:
        """Return what stands for a Python function during the call under way."""
        return self._session.callback(function, func, types)

    @cached_property
    def known_objects(self) -> dict[str, tuple[Types, Type]]:
        """The types of live values that the source tells of, by their spelling."""
        found = {}
        for one in self.api.types:
            if one.kind == "object" and one.name:
                text = f"*{one.name}" if one.text.startswith("*") else one.name
                found[text] = (self.types, one)
            elif one.kind != "object" and one.name and one.methods:
                found.setdefault(f"*{one.name}", (self.types, one))
                found.setdefault(one.name, (self.types, one))
        return found

    def call_value_method(
        self, value: Any, name: str, func: Func, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Run a method of a value that Python has."""
        index = self.types.number_of(value)
        one = self.types.list[index] if index is not None else None
        found = next((each for each in one.methods if each.name == name), None) if one is not None else None
        if one is None or found is None:
            what = f"{self.label} has no method {name} of this type"
            raise UnsupportedFunctionError(what, subject=f"{type(value).__name__}.{name}", todo="make the value anew")
        subject = f"{one.name}.{name}"
        if func.why:
            raise UnsupportedFunctionError(func.why, subject=subject, todo="export a method with simpler types")
        caller = self.callers.get(subject)
        if caller is None:
            caller = self.callers[subject] = Caller(self, wire.METHOD, found, self.types, subject)
        try:
            receiver = self.types.typed(value)
        except MisfitError as misfit:
            raise misfit_error(misfit, "the receiver", subject) from None
        with self.gate.passing():
            return caller.run((receiver, name), arguments, keywords, value)

    def take_back_receiver(self, value: Any, values: Any) -> None:
        """Bring what a method changed in its receiver into the object that Python has."""
        index = self.types.number_of(value)
        if isinstance(value, GoStruct) and index is not None:
            assign_struct(self.types, index, value, values)

    # ---- what the lane's protocol asks for

    @property
    def failing(self) -> Callable[[], object] | None:
        """See `midflight._lane.Code`."""
        return self.process.failing

    @failing.setter
    def failing(self, call: Callable[[], object] | None) -> None:
        self.process.failing = call

    def variable(self, address: int, size: int) -> Any:
        """Go's variables have no address here."""
        raise self._no_memory(address, size)

    def to_native(self, name: str, type_id: TypeId, value: object) -> Any:
        """Go's variables are read and written by name."""
        raise self._no_memory(name, type_id, value)

    def from_native(self, type_id: TypeId, value: int) -> Any:
        """Go's variables are read and written by name."""
        raise self._no_memory(type_id, value)

    def add_explicit(self, slot: int, wanted: ExplicitFunction) -> None:
        """A Go function has one signature."""
        raise self._no_memory(slot, wanted)

    def _no_memory(self, *_what: object) -> MidflightError:
        what = "this is Go, whose functions have no signature of C's and whose variables no address"
        return UnsupportedFunctionError(what, subject=self.module, todo="use the functions as they are")

    def switched(self) -> None:
        """This version is the current one now."""
        self.family.current = weakref.ref(self)
        old, self.predecessor = self.predecessor, None
        if old is not None:
            old.gate.open(self)
            self.pause = time.perf_counter() - self.held_since

    def retire(self) -> Held | None:
        """End the process."""
        old, self.predecessor = self.predecessor, None
        if old is not None:
            old.gate.open()
        self.saver.stop()
        self.process.end()
        self._session.let_go()
        self.types.let_go()
        for caller in self.callers.values():
            caller.let_go()
        return None


def _method_of(name: str) -> Callable[..., Any]:
    def call(receiver: Any, *arguments: Any, **keywords: Any) -> Any:
        return getattr(receiver, name)(*arguments, **keywords)

    return call


def _nothing(*_arguments: Any, **_keywords: Any) -> None:
    """Stand in for a function that can't be called."""


def _unusable(name: str, why: str) -> Binding:
    return _core.Binding(name, 0, [], ("void", "void", None, ""), slow=_nothing, unusable=why)
