"""Calls into a worker: as in this process, but for structs by value and for callbacks."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight._errors import ArgumentTypeError, WorkerError
from midflight._fork import Lock
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar
from midflight.artifact.layout import size_of
from midflight.lanes.native.bindings import Binder, needs_ctypes
from midflight.lanes.native.callbacks import CallbackMaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Binding, Link, Table
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Interface, Signature, TypeId
    from midflight.lanes.native.bindings import Call
    from midflight.lanes.worker.process import Process

_DESCRIBE = 8
_MOST_CALLBACKS = 1024
_INTEGER, _DOUBLE, _TEXT, _ITEM, _CONST_ITEM = range(5)


class Callbacks:
    """The functions of this process that a worker may call, by number.  Safe from any thread.

    ``process`` is set once it runs; what is reserved before that can be called by the library's constructors.
    """

    process: Process

    def __init__(self) -> None:
        self._mutex = Lock()  # protects all below; never held while a worker is waited for
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._described: tuple[Link | None, set[int]] = (None, set())
        self._serving: Link | None = None
        self._reserved: list[tuple[int, int, bytes]] = []

    def reserve(self, function: int, params: bytes) -> int:
        """Return the number that stands for a function in every worker of the version, from its start on."""
        number = len(self._reserved)
        self._reserved.append((number, function, params))
        self._numbers[function, params] = number
        return number

    def begin(self, link: Link, worker: _core.Worker) -> None:
        """Let a fresh worker, whose library isn't loaded yet, call what is reserved."""
        self.lend(worker)
        if self._reserved:
            with self._mutex:
                self._serving = link
            _serve(link, worker)

    def lend(self, worker: _core.Worker) -> None:
        """Let calls through another Worker call back what is reserved."""
        for reserved in self._reserved:
            worker.set_callback(*reserved)

    def address(self, function: int, params: bytes) -> int:
        """Return the function pointer in the worker that stands for one here (an address)."""
        link = self.process.link
        with self._mutex:
            number = self._number(function, params)
            described = self._described_in(link)
            serving, self._serving = self._serving, link
        if serving is not link:
            _serve(link, self.process.worker)
        if number not in described:
            # Several threads may say the same: it is only noted once all are sure that it was heard.
            self._describe(link, number, params)
            described.add(number)
        start, size = link.thunks
        return start + number * size

    @property
    def link(self) -> Link:
        """The process that runs now."""
        return self.process.link

    def _number(self, function: int, params: bytes) -> int:
        number = self._numbers.get((function, params))
        if number is None:
            number = len(self._numbers)
            if number == _MOST_CALLBACKS:
                what = f"{_MOST_CALLBACKS} different callbacks have been given to this version"
                raise WorkerError(what, subject=self.process.name, todo="pass the same callable again and again")
            self.process.worker.set_callback(number, function, params)
            self._numbers[function, params] = number
        return number

    def _described_in(self, link: Link) -> set[int]:
        """Return the numbers that a worker knows: none, if it is a fresh one."""
        if self._described[0] is not link:
            self._described = (link, set())
        return self._described[1]

    def _describe(self, link: Link, number: int, params: bytes) -> None:
        # A worker that dies now is noticed by the call, which is made again with a fresh one.
        with contextlib.suppress(_core.LinkDeadError):
            link.send(_DESCRIBE, number, params)


def _serve(link: Link, worker: _core.Worker) -> None:
    """Run callbacks of the library's own threads, until the worker is gone."""

    def run() -> None:
        while link.serve(worker):
            pass

    threading.Thread(target=run, name="midflight-callbacks", daemon=True).start()


class WorkerCallbackMaker(CallbackMaker):
    """Makes function pointers that a worker can call."""

    def __init__(
        self,
        interface: Interface,
        types: CTypes,
        signature: Signature,
        callbacks: Callbacks,
        unheard: Callable[[BaseException], object] | None = None,
    ) -> None:
        """``description``: what the parameters are, as far as memory has to be brought over."""
        super().__init__(interface, types, signature, unheard)
        self._callbacks = callbacks
        self.description = [self._describe(param) for param in self._signature.params]
        self._params = b"".join(struct.pack("=II", *one) for one in self.description)

    def reserve(self, value: object) -> int:
        """Return the number of a function pointer for ``value``, before the worker runs."""
        return self._callbacks.reserve(super().__call__(value) or 0, self._params)

    def direct(self, function: object) -> int:
        """Return 0: what a C++ function throws could not pass from this process into the worker."""
        del function
        return 0

    def __call__(self, value: object) -> int | None:
        """Return the address in the worker of a function pointer for ``value``; None if it can't be called."""
        address = super().__call__(value)
        return self._callbacks.address(address, self._params) if address else address

    def _argument(self, param: TypeId) -> Any:
        # What isn't brought over can't be looked at from here.
        if isinstance(self._interface.strip(param), Pointer) and self._describe(param) == (_INTEGER, 0):
            return ctypes.c_void_p
        return super()._argument(param)

    def _result(self) -> tuple[Any, Callable[[Any], Any]]:
        result, check = super()._result()
        if isinstance(self._interface.strip(self._signature.result), Pointer):
            return result, self._pointer_result
        return result, check

    def _pointer_result(self, value: Any) -> int | None:
        """Return an address in the worker."""
        if value is None or isinstance(value, int):
            return value or None
        if isinstance(value, _core.Pointer) and value.link is not None and value.link is self._callbacks.link:
            return value.address
        what = f"a callback returned {type(value).__name__} where a pointer is expected"
        raise ArgumentTypeError(what, todo="let it return a Pointer that the same version gave, or None")

    def _describe(self, param: TypeId) -> tuple[int, int]:
        match self._interface.strip(param):
            case Scalar(_, "float", _):
                return _DOUBLE, 0
            case Pointer(target, const):
                return self._describe_pointer(target, const=const)
            case _:
                return _INTEGER, 0

    def _describe_pointer(self, target: TypeId, *, const: bool) -> tuple[int, int]:
        found = self._interface.strip(target)
        if isinstance(found, Scalar) and found.kind == "char" and const:
            return _TEXT, 0
        size = size_of(self._interface.types, target) if isinstance(found, (Scalar, Record, Array, Enum)) else None
        return (_CONST_ITEM if const else _ITEM, size) if size else (_INTEGER, 0)


class WorkerBinder(Binder):
    """Makes the bindings of a version that runs in a worker."""

    def __init__(
        self,
        module: str,
        interface: Interface,
        types: CTypes,
        process: Process,
        callbacks: Callbacks,
    ) -> None:
        super().__init__(module, interface, types, hold_gil=_never)
        self._process = process
        self._worker_callbacks = callbacks

    def _make(self, call: Call) -> Binding:
        if needs_ctypes(call):
            what = "its structs by value are too large to be passed to a worker, or of a machine that isn't x86-64"
            call = call._replace(unusable=what, params=[], result=("void", "void", None, ""))
        return _core.Binding(
            call.name,
            call.address,
            call.params,
            call.result,
            unusable=call.unusable,
            info=call.info,
            worker=self._process.worker,
        )

    def from_native(self, table: Table, type_id: TypeId, value: int) -> Any:
        """Convert an integer or an address in the worker as a function's result of that type would be."""
        binding = _core.Binding(self._module, 0, [], self._result(type_id), worker=self._process.worker)
        return binding.result_from(table, value)

    def _new_callback_maker(self, signature: Signature) -> CallbackMaker:
        return WorkerCallbackMaker(self._interface, self.types, signature, self._worker_callbacks)


def _never(_name: str) -> bool:
    return False


__all__ = ["Callbacks", "WorkerBinder"]
