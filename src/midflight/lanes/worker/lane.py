"""Loads a version's library in a process of its own.

Guarantees:
- `prepare` has no effect on this process; when it raises, the worker is gone and its file removed.
- `retire` ends the process: that is the unload, and it can't be refused.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight._errors import BadLibraryError, InterfaceError, LoadError, MidflightError, WorkerCrashedError
from midflight._lane import Held, bindings_by_slot, function_keys
from midflight._sealed import sealed
from midflight.artifact import reader
from midflight.artifact.backtrace import backtrace
from midflight.artifact.ctypes_types import CTypes
from midflight.lanes.native import neighbours, search
from midflight.lanes.native.place import Place, explain
from midflight.lanes.worker.bindings import Callbacks, WorkerBinder
from midflight.lanes.worker.hooks import make_hooks, migrate, run_in_fresh
from midflight.lanes.worker.memory import WorkerData, WorkerMemory
from midflight.lanes.worker.process import READY_TIMEOUT, Process, Program, installed_program
from midflight.lanes.worker.services import WorkerServices
from midflight.lanes.worker.tenant import WorkerTenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._core import Binding, Link
    from midflight._lane import ExplicitFunction, Wanted
    from midflight.artifact.interface import Function, Interface, TypeId
    from midflight.build import Artifact
    from midflight.lanes import LaneOptions

_SYMBOLS, _THREADS = 4, 15


class WorkerLane:
    """Libraries that run in processes of their own."""

    name = "worker"

    def __init__(self, options: LaneOptions) -> None:
        self._options = options

    def read_interface(self, artifact: Artifact, data: bytes, declared: Any) -> Interface:
        """Read the library's debug information, or what was declared instead."""
        return reader.read_interface(data, sha256=artifact.sha256, declared=declared)

    def prepare(self, wanted: Wanted) -> WorkerCode:
        """Start a worker, let it load the library, and bind its functions."""
        kept = wanted.before.ctypes if isinstance(wanted.before, WorkerCode) else None
        types: CTypes = kept or CTypes(wanted.interface, elsewhere=True)
        callbacks = Callbacks()
        services = WorkerServices(wanted, types, callbacks)
        found = neighbours.find(wanted.data, wanted.artifact.origin)
        if wanted.hardened:
            search.check(wanted.data, wanted.artifact.origin, found)
        place = Place(wanted, found)
        tenant = WorkerTenant(wanted)
        try:
            callbacks.process = process = self._start(wanted, place, services, callbacks, tenant)
        except BaseException as error:
            tenant.left()
            place.remove_all()
            services.loaded()  # a service's own exception says more
            if isinstance(error, LoadError):
                raise explain(error, place.path, wanted.source) from None
            if isinstance(error, MidflightError):
                error.subject = wanted.source
            raise
        try:
            services.loaded()
            return WorkerCode(wanted, process, place, types, services, callbacks, tenant)
        except BaseException:
            process.end()
            tenant.left()
            place.remove_all()
            raise

    def _start(
        self, wanted: Wanted, place: Place, services: WorkerServices, callbacks: Callbacks, tenant: WorkerTenant
    ) -> Process:
        library = sealed(f"midflight:{wanted.module}", wanted.data)
        # Nothing that lives as long as the process may keep `wanted`, and by it the version before.
        words = [f"midflight-worker {wanted.module} {wanted.label}", f"name={wanted.module}", *services.words]
        words += ["lazy"] if wanted.lazy else []
        words += ["sealed"] if wanted.hardened else []
        program = Program(
            installed_program(),
            partial(self._words, words, place, tenant),
            library=library,
            slots=self._options.workers,
            callback_slots=1,
            shared=True,
        )
        data = wanted.data

        def clean_up() -> None:
            place.renew()
            tenant.renew()

        def begin(link: Link, worker: _core.Worker) -> None:
            tenant.started(link)
            callbacks.begin(link, worker)

        return Process(
            f"{wanted.module} {wanted.label}",
            program,
            call_timeout=self._options.limits.call,
            backtrace=lambda link: backtrace(data, link.image, link.crash[3] if link.crash else ()),
            clean_up=clean_up,
            begin=begin,
        )

    def _words(self, words: Sequence[str], place: Place, tenant: WorkerTenant) -> tuple[bytes, ...]:
        """Arguments of the worker program: see native/worker/main.c."""
        limits = self._options.limits
        words = [*words, *tenant.words()]
        words += [f"path={place.path}"] if place.path is not None else []
        words += ["sandbox"] if self._options.sandbox else []
        for name, value in (("memory", limits.memory), ("cpu", limits.cpu), ("files", limits.files)):
            words += [f"{name}={max(1, round(value))}"] if value is not None else []
        return tuple(os.fsencode(word.replace("\0", "")) for word in words)


class WorkerCode:
    """One version, in its process."""

    def __init__(
        self,
        wanted: Wanted,
        process: Process,
        place: Place,
        types: CTypes,
        services: WorkerServices,
        callbacks: Callbacks,
        tenant: WorkerTenant,
    ) -> None:
        self._wanted_module = wanted.module
        self._process = process
        self._place = place
        self._services = services  # kept for as long as the library may call them
        self._callbacks = callbacks
        self._tenant = tenant
        self.ctypes = types
        self.path = f"process {process.link.pid}"
        self.warnings: tuple[str, ...] = ()
        self._interface = wanted.interface
        self._addresses = self._find(wanted)
        self.hooks = make_hooks(wanted.module, wanted.interface, self._addresses, process.worker)
        # Nothing that refers back to this: see `Process.end`.
        process.prepare = partial(
            run_in_fresh,
            "midflight_loaded",
            wanted.module,
            wanted.interface,
            self._addresses,
            READY_TIMEOUT,
            callbacks.lend,
        )
        self.binder = self._new_binder(wanted.interface, self.ctypes)
        self.table = self._bind(wanted)

    # ---- binding

    def _new_binder(self, interface: Interface, types: CTypes) -> WorkerBinder:
        return WorkerBinder(self._wanted_module, interface, types, self._process, self._callbacks)

    def _find(self, wanted: Wanted) -> dict[str, int]:
        """Return the link-time addresses of all functions, by qualified name."""
        interface = wanted.interface
        functions = (*interface.functions, *interface.hooks, *interface.migrations)
        names = b"".join(function.symbol.encode() + b"\0" for function in functions)
        answer = self._process.request(_SYMBOLS, 0, names) if names else b""
        found: dict[str, int] = {}
        for function, (address,) in zip(functions, struct.iter_unpack("=Q", answer), strict=True):
            if not address:
                what = f"{function.symbol} is declared, but the library doesn't export it"
                raise InterfaceError(what, subject=wanted.source, todo="correct interface=, or export the function")
            found[function.qualified] = address
        return found

    def _bind(self, wanted: Wanted) -> _core.Table:
        made: dict[str, Binding] = {}
        for function in wanted.interface.functions:
            binding = self.binder.bind(function, self._addresses[function.qualified])
            for key in function_keys(function):
                made[key] = binding
        table = _core.Table(wanted.label, bindings_by_slot(wanted.slots, made))
        for key, one in wanted.explicit.items():
            self._put(table, wanted.slots[key], one)
        return table

    def add_explicit(self, slot: int, wanted: ExplicitFunction) -> None:
        """Fill a slot with a function under a signature of the user's."""
        self._put(self.table, slot, wanted)

    def _put(self, table: _core.Table, slot: int, wanted: ExplicitFunction) -> None:
        address = self._addresses.get(wanted.symbol_of)
        if address is not None:
            binder = self._new_binder(wanted.interface, CTypes(wanted.interface, elsewhere=True))
            table.put(slot, binder.bind(wanted.function, address))

    # ---- variables

    def variable(self, address: int, size: int) -> WorkerMemory:
        """Return where a variable is.  Raises `BadLibraryError` for one that isn't all inside the image."""
        base, low, high = self._process.link.image
        if not low <= base + address <= high - size:
            what = "the debug information places it outside of the library"
            raise BadLibraryError(what, todo="rebuild the library; its debug information is damaged")
        return WorkerMemory(self._process, address, size)

    def data(self) -> WorkerData:
        """Return all variables as memory."""
        return WorkerData(self._process)

    def to_native(self, name: str, type_id: TypeId, value: object) -> Any:
        """Convert a number for a variable, by the rules for arguments."""
        return self.binder.to_native(name, type_id, value)

    def from_native(self, type_id: TypeId, value: int) -> Any:
        """Convert an integer or an address that a variable holds, by the rules for results."""
        return self.binder.from_native(self.table, type_id, value)

    # ---- hooks and threads

    def migrate(self, function: Function, pairs: Sequence[tuple[int, int]], sizes: tuple[int, int]) -> None:
        """Run a function that migrates structs; see `midflight._lane.migrate_by`."""
        address = self._addresses[function.qualified]
        migrate(self._wanted_module, function.name, address, self._process.worker, pairs, sizes)

    ends_hooks = True

    def threads(self) -> str:
        """Say which threads the library has started that are alive.

        A worker that has died has none.  Asking a fresh one would drop the blocks that a move has just carried.
        """
        link = self._process.worker.link
        if link is not None and not link.gone():
            with suppress(WorkerCrashedError):
                return self._process.request(_THREADS, 0, only=link).decode("utf-8", "backslashreplace")
        return ""

    # ---- the end

    @property
    def provided(self) -> dict[str, int]:
        """See `midflight._lane.provided_in`."""
        return self._services.places(self._process.link)

    @property
    def link(self) -> Link:
        """See `midflight._lane.link_of`."""
        return self._process.link

    @property
    def failing(self) -> Any:
        """See `midflight._lane.Code`."""
        return self._process.failing

    @failing.setter
    def failing(self, call: Any) -> None:
        self._process.failing = call

    @property
    def heap(self) -> _core.Heap:
        """Where its typed blocks are, and those of Python's that are passed to it."""
        return self._tenant.heap

    def set_yield(self, wanted: bool) -> None:  # noqa: FBT001 - as the core has it
        """Say to its calls whether they should return soon."""
        link = self._process.worker.link
        if link is not None:
            link.set_yield(wanted)

    def retire(self) -> Held | None:
        """End the process."""
        self._process.end()
        self._tenant.left()
        self._place.remove_all()
        return None
