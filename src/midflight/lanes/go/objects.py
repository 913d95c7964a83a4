"""Live Go values as Python objects: their methods run where the value is.

Guarantees:
- An object holds the version that made it: that version's worker stays, and serves the object's methods, until the
  object is gone.
- Go is told of dropped objects with later messages, many at once; never in the middle of a garbage collection.
- An object whose worker has crashed raises `UnloadedError`; it is never taken for another worker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from midflight._errors import GoError, UnloadedError, UnsupportedFunctionError
from midflight.lanes.go import wire
from midflight.lanes.go.calls import GONE, Caller, extension_of_callback, short
from midflight.lanes.go.model import read_description
from midflight.lanes.go.values import Objects, Types

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Link
    from midflight.lanes.go.code import GoCode
    from midflight.lanes.go.model import Func, Type

_RELEASE_AT = 64


class GoObject:
    """The base of live Go values: pointers to structs, what interfaces hold, functions."""

    __slots__ = ("__weakref__", "_go_number", "_go_session")

    _go_session: Session
    _go_number: int

    def __del__(self) -> None:
        session = getattr(self, "_go_session", None)
        if session is not None:
            session.drop(self)

    def __repr__(self) -> str:
        return f"<Go {type(self).__doc__ or type(self).__name__} of {self._go_session.code.label}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GoObject):
            return NotImplemented
        return (self._go_session, self._go_number) == (other._go_session, other._go_number)

    def __hash__(self) -> int:
        return hash((id(self._go_session), self._go_number))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        offered = ", ".join(sorted(one for one in vars(type(self)) if not one.startswith("_"))) or "nothing"
        what = f"{type(self).__name__} has no {name!r}; it has {offered}"
        raise AttributeError(what, name=name, obj=self)

    def __reduce__(self) -> Any:
        what = "a live Go value can't be pickled or copied"
        raise UnsupportedFunctionError(what, subject=type(self).__name__, todo="take its data out first")


class Session(Objects):
    """One worker process and the objects that live in it."""

    def __init__(self, code: GoCode, link: Link) -> None:
        self.code = code
        self.link: Link | None = link  # None after the end
        self.dropped: list[int] = []
        self.decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=self._extension).decode
        self._classes: dict[int, type[GoObject]] = {}

    # ---- from Go

    def _extension(self, code: int, data: memoryview) -> Any:
        match code:
            case wire.HANDLE if len(data) == 12:  # noqa: PLR2004 - two numbers
                return self._object(int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big"))
            case wire.TEXT:
                return bytes(data).decode("utf-8", "surrogateescape")
            case wire.ERROR:
                text, type_name, chain = self.decode(bytes(data))
                return GoError(text, type_name=type_name, chain=tuple(chain))
            case wire.TYPED:
                number, value = self.decode(bytes(data))
                return self.code.types.from_typed(number, value)
        return bytes(data)

    def _object(self, number: int, dynamic: int) -> GoObject:
        # The class is asked for only after the answer has been read: see GoCode.decode.
        made = object.__new__(self._classes.get(dynamic) or self._class(dynamic))
        self.code.table.pin()
        made._go_session, made._go_number = self, number
        self.code.live[id(made)] = None
        return made

    def _class(self, dynamic: int) -> type[GoObject]:
        if self.link is None:
            raise self.lost()
        answer = self.code.ask(self.link, wire.DESCRIBE, [dynamic])
        described = read_description(answer)
        types = Types(described.types, self.code.types.classes, self)
        self._classes[dynamic] = found = self._make(types, described.types[described.root])
        return found

    def _make(self, types: Types, one: Type) -> type[GoObject]:
        known = self.code.known_objects.get(one.text)
        namespace: dict[str, Any] = {"__slots__": (), "__doc__": one.text, "__module__": self.code.module}
        for index, func in enumerate(one.methods):
            # The source's own words have the names of the parameters and the comments.
            other = known[1].methods[index] if known is not None and index < len(known[1].methods) else None
            if other is not None and other.name == func.name and known is not None:
                namespace[func.name] = self._method(known[0], other, one.name)
            else:
                namespace[func.name] = self._method(types, func, one.name)
        for field in one.fields:
            namespace.setdefault(field.name, _field(types, field.name, field.type))
        if one.signature:
            caller = Caller(self.code, wire.CALL, one.signature[0], types, one.text)
            namespace["__call__"] = _calling(caller)
        name = one.name.rpartition(".")[2].split("[")[0] or "GoObject"
        return type(name, (GoObject,), namespace)

    def _method(self, types: Types, func: Func, owner: str) -> Callable[..., Any]:
        subject = f"{owner}.{func.name}"
        if func.why:
            return _unusable(subject, func)
        caller: list[Caller] = []

        def method(self: GoObject, *arguments: Any, **keywords: Any) -> Any:
            if not caller:
                caller.append(Caller(self._go_session.code, wire.METHOD, func, types, subject))
            return caller[0].run((self._go_session.give(self), func.name), arguments, keywords)

        method.__name__, method.__qualname__, method.__doc__ = func.name, subject, func.doc or None
        return method

    # ---- to Go

    def give(self, value: Any) -> msgspec.msgpack.Ext | None:
        """Return what stands for an object of this worker's."""
        if not isinstance(value, GoObject):
            return None
        session = value._go_session  # noqa: SLF001 - our own attribute
        if session is not self:
            raise session.strange(self)
        if session.link is not session.code.process.worker.link:
            raise session.lost()
        return msgspec.msgpack.Ext(wire.HANDLE, value._go_number.to_bytes(8, "big"))  # noqa: SLF001 - the same

    def callback(self, function: Callable[..., Any], func: Func, types: Types) -> msgspec.msgpack.Ext:
        """Return what stands for a Python function during the call under way."""
        return extension_of_callback(function, func, types)

    def lost(self) -> UnloadedError:
        """Return the error for an object whose worker has crashed."""
        what = "this object was lost when its worker process ended"
        return UnloadedError(what, subject=self.code.label, todo="make it again")

    def strange(self, other: Session) -> UnloadedError:
        """Return the error for an object that is passed to where it isn't."""
        if self.code is other.code:
            return self.lost()
        what = f"the object lives in {self.code.label}, and can't be passed to {other.code.label}"
        todo = "call methods of the object, or make it again by the version that is current now"
        return UnloadedError(what, subject=self.code.module, todo=todo)

    # ---- the end

    def let_go(self) -> None:
        """Refer to nothing any more: no object is left."""
        self.link, self.code, self.decode = None, GONE, _nothing
        self._classes.clear()

    def drop(self, value: GoObject) -> None:
        """Note that an object is gone.  Called in the middle of anything: it only notes."""
        self.dropped.append(value._go_number)  # noqa: SLF001 - our own attribute
        self.code.live.pop(id(value), None)
        self.code.table.unpin()

    def flush(self) -> None:
        """Tell Go of dropped objects, if there are enough of them."""
        if len(self.dropped) >= _RELEASE_AT and self.link is not None:
            numbers = [self.dropped.pop() for _ in range(len(self.dropped))]
            self.code.ask(self.link, wire.RELEASE, numbers)


def _nothing(_data: bytes) -> None:
    """Stand in for what reads messages."""


def _field(types: Types, name: str, index: int) -> property:
    subject_type = short(types, index)

    def read(self: GoObject) -> Any:
        session = self._go_session
        value = session.code.operate(wire.READ_FIELD, [session.give(self), name], name)
        convert = types.from_go(index)
        return value if convert is None else convert(value)

    def write(self: GoObject, value: Any) -> None:
        session = self._go_session
        converted = session.code.converted(types, index, value, name)
        session.code.operate(wire.WRITE_FIELD, [session.give(self), name, converted], name)

    return property(read, write, doc=subject_type)


def _calling(caller: Caller) -> Callable[..., Any]:
    def call(self: GoObject, *arguments: Any, **keywords: Any) -> Any:
        return caller.run((self._go_session.give(self),), arguments, keywords)

    return call


def _unusable(subject: str, func: Func) -> Callable[..., Any]:
    def method(self: GoObject, *_arguments: Any, **_keywords: Any) -> Any:  # noqa: ARG001 - it is a method
        raise UnsupportedFunctionError(func.why, subject=subject, todo="write a method without it")

    return method
