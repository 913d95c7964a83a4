"""Loads a version's image into this process and unloads it again.

Guarantees:
- `prepare` has no effect on the running program but that of the library's own constructors; when it raises, the image
  is unmapped and its file removed.
- `retire` says that code is gone only when the process's memory map shows it.
- Different images may be prepared and retired from different threads at once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight._errors import (
    BadLibraryError,
    ConstructorError,
    InterfaceError,
    LoadError,
    MidflightError,
)
from midflight._lane import Held, bindings_by_slot, function_keys
from midflight.artifact import reader
from midflight.artifact.ctypes_types import CTypes
from midflight.lanes.native import neighbours, openmp, runtimes, search
from midflight.lanes.native.bindings import Binder
from midflight.lanes.native.crashed import in_constructor, in_destructor
from midflight.lanes.native.hooks import make_hooks, migrate
from midflight.lanes.native.memory import OwnData, OwnMemory
from midflight.lanes.native.place import Place, explain
from midflight.lanes.native.services import ServiceThunks
from midflight.lanes.native.tenant import Tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midflight._core import Binding, Image, Table
    from midflight._lane import ExplicitFunction, Wanted
    from midflight.artifact.interface import Function, Interface, TypeId
    from midflight.build import Artifact

_log = logging.getLogger("midflight")


class NativeLane:
    """Libraries that are mapped into this process."""

    name = "here"

    def read_interface(self, artifact: Artifact, data: bytes, declared: Any) -> Interface:
        """Read the library's debug information, or what was declared instead."""
        return reader.read_interface(data, sha256=artifact.sha256, declared=declared)

    def prepare(self, wanted: Wanted) -> NativeCode:
        """Map the library, run its constructors, and bind its functions."""
        before = wanted.before if isinstance(wanted.before, NativeCode) else None
        types = before.ctypes if before is not None else CTypes(wanted.interface)
        found = neighbours.find(wanted.data, wanted.artifact.origin)
        if wanted.hardened:
            search.check(wanted.data, wanted.artifact.origin, found)
        runtimes.keep(wanted.data, wanted.artifact.origin)
        thunks = ServiceThunks(wanted, types, before.services if before is not None else None)
        place = Place(wanted, found)
        tenant = Tenant(wanted.heaps, wanted.number)
        try:
            image = _open_image(wanted, place, {**thunks.addresses, **tenant.bindings})
        except BaseException:
            tenant.closing()
            tenant.left()
            place.remove()
            thunks.loaded()  # a service's own exception says more
            raise
        try:
            openmp.keep(wanted.data)
            thunks.loaded()
            binder = Binder(
                wanted.module,
                wanted.interface,
                types,
                wanted.hold_gil,
                before.binder if before is not None else None,
                guarded=wanted.guarded,
            )
            table, explicit = _bind(wanted, image, binder)
            code = NativeCode(image, table, binder, explicit, place, tenant, thunks, wanted.source)
            code.hooks = _hooks(wanted, image, table)
        except BaseException:
            tenant.closing()
            if image.held_by is None and image.close():
                tenant.left()
                place.remove()
            raise
        code.warnings = tuple(_stale(wanted, file) for file in neighbours.stale(found)) if found else ()
        for warning in code.warnings:
            _log.warning(warning)
        return code


class NativeCode:
    """One version's image."""

    def __init__(
        self,
        image: Image,
        table: Table,
        binder: Binder,
        explicit: _Explicit,
        place: Place,
        tenant: Tenant,
        services: ServiceThunks,
        source: str,
    ) -> None:
        self.table = table
        self.ctypes = binder.types
        self.path = image.path
        self.image = image.base, image.low, image.high
        self.warnings: tuple[str, ...] = ()
        self._image = image
        self._source = source
        self.binder = binder
        self._explicit = explicit
        self._place = place
        self.services = services  # kept for as long as the library may call them
        self._tenant = tenant
        self.heap = tenant.heap

    failing: Callable[[], object] | None = None
    hooks: Mapping[str, Callable[[], int]] = {}

    def variable(self, address: int, size: int) -> OwnMemory:
        """Return where a variable is.  Raises `BadLibraryError` for one that isn't all inside the image."""
        place = self._image.base + address
        if not self._image.low <= place <= self._image.high - size:
            what = "the debug information places it outside of the library"
            raise BadLibraryError(what, todo="rebuild the library; its debug information is damaged")
        return OwnMemory(place, size)

    def data(self) -> OwnData:
        """Return all variables as memory."""
        return OwnData(self._image)

    def to_native(self, name: str, type_id: TypeId, value: object) -> Any:
        """Convert a number for a variable, by the rules for arguments."""
        return self.binder.to_native(name, type_id, value)

    def from_native(self, type_id: TypeId, value: int) -> Any:
        """Convert an integer or an address that a variable holds, by the rules for results."""
        return self.binder.from_native(self.table, type_id, value)

    def add_explicit(self, slot: int, wanted: ExplicitFunction) -> None:
        """Fill a slot with a function under a signature of the user's."""
        self._explicit.add(self.table, slot, wanted)

    def set_yield(self, wanted: bool) -> None:  # noqa: FBT001 - as the core has it
        """Say to its calls whether they should return soon."""
        self._tenant.set_yield(wanted)

    def migrate(self, function: Function, pairs: Sequence[tuple[int, int]], _sizes: tuple[int, int]) -> None:
        """Run a function that migrates structs; see `midflight._lane.migrate_by`."""
        migrate(self.table, function.name, self._image.symbol(function.symbol), pairs)

    def has_data_of(self, old: object) -> None:
        """Note that the data of another version have been brought over."""
        if isinstance(old, NativeCode):
            self.binder.inherit_callbacks(old.binder)
            self.services.inherit(old.services)

    def threads(self) -> str:
        """Say which threads the library has started that are alive."""
        return self._image.threads

    def _close(self) -> bool:
        said, gone = self._image.crash is not None, self._image.close()
        if self._image.crash is not None and not said:
            in_destructor(self._image.crash, self._source)
        return gone

    def retire(self) -> Held | None:
        """Unload the image; see `midflight._lane.Code`."""
        self._tenant.closing()
        if self._image.held_by is None and self._close():
            self._tenant.left()
            self._place.remove()
            return None
        held = self._image.held_by
        return Held(held, passing=True) if held is not None else _why_mapped(self._image)


def _why_mapped(image: Image) -> Held:
    if image.nodelete:
        why = "the flag DF_1_NODELETE (linked with -z nodelete): the loader never unmaps such a library"
        return Held(why, passing=False)
    if image.exit_handlers:
        return Held("on_exit: what it registers there is called when the program ends", passing=False)
    if image.thread_destructors:
        why = "thread_local variables with destructors, until the threads that used them have ended"
        return Held(why, passing=True)
    return Held("the loader (another library uses it, or the library opened itself)", passing=True)


# ---- opening --------------------------------------------------------------------------------------------------------


_CANT_MAP = "failed to map segment"


def _open_image(wanted: Wanted, place: Place, bindings: dict[bytes, int]) -> Image:
    """Map a private copy in a file; in memory, where there is no directory, no room in it, or no code allowed there.

    A hardened one is always in memory, and its file, if there is one, a link to that.
    """
    try:
        while place.path is not None:
            try:
                return _map(wanted, place, place.path, bindings)
            except LoadError as error:
                if _CANT_MAP not in error.what:
                    raise
                place.path = None
            except MidflightError as error:
                if type(error) is not MidflightError:  # only the operating system's refusal has no kind of its own
                    raise
                place.fall_back()
        return _map(wanted, place, None, bindings)
    except ConstructorError as error:
        raise explain(in_constructor(error, wanted.data, wanted.source), place.path, wanted.source) from None
    except LoadError as error:
        raise explain(error, place.path, wanted.source) from None
    except MidflightError as error:
        error.subject = wanted.source
        raise


def _map(wanted: Wanted, place: Place, path: str | None, bindings: dict[bytes, int]) -> Image:
    return _core.Image(
        wanted.data,
        place.memory_name,
        path,
        lazy=wanted.lazy,
        bindings=bindings,
        guarded=wanted.guarded,
        sealed=wanted.hardened,
        line=wanted.line,
    )


def _stale(wanted: Wanted, file: Path) -> str:
    return (
        f"{file} has changed, but another library of its name is loaded already, and {Path(wanted.source).name} uses"
        " that one: give the changed library a new name, or swap again when nothing uses the old one any more"
    )


# ---- binding --------------------------------------------------------------------------------------------------------


def _bind(wanted: Wanted, image: Image, binder: Binder) -> tuple[Table, _Explicit]:
    """Bind every function of the interface, and what the user wants under signatures of his own."""
    made: dict[str, Binding] = {}
    addresses: dict[str, int] = {}
    for function in wanted.interface.functions:
        addresses[function.qualified] = _address(image, function.symbol, wanted.source)
        binding = binder.bind(function, addresses[function.qualified])
        for key in function_keys(function):
            made[key] = binding
    table = _core.Table(wanted.label, bindings_by_slot(wanted.slots, made))
    binder.finish(table)
    explicit = _Explicit(wanted, addresses)
    for key, one in wanted.explicit.items():
        explicit.add(table, wanted.slots[key], one)
    return table, explicit


def _hooks(wanted: Wanted, image: Image, table: Table) -> dict[str, Callable[[], int]]:
    interface = wanted.interface
    addresses = {hook.symbol: _address(image, hook.symbol, wanted.source) for hook in interface.hooks}
    return make_hooks(interface, addresses, table)


class _Explicit:
    """Functions of one version under signatures of the user's."""

    def __init__(self, version: Wanted, addresses: dict[str, int]) -> None:
        self._module = version.module
        self._addresses = addresses
        self._hold_gil = version.hold_gil
        self._guarded = version.guarded

    def add(self, table: Table, slot: int, wanted: ExplicitFunction) -> None:
        """Fill a slot, if this version has the function."""
        address = self._addresses.get(wanted.symbol_of)
        if address is not None:
            types = CTypes(wanted.interface)
            binder = Binder(self._module, wanted.interface, types, self._hold_gil, guarded=self._guarded)
            table.put(slot, binder.bind(wanted.function, address))
            binder.finish(table)


def _address(image: Image, symbol: str, source: str) -> int:
    address = image.symbol(symbol)
    if not address:
        what = f"{symbol} is declared, but the library doesn't export it"
        raise InterfaceError(what, subject=source, todo="correct interface=, or export the function")
    return address
