"""The function pointers by which a version's library calls what its host provides.

Guarantees: one is made for each name of each version (or taken over from the version before), before any of the
library's code runs, and stays for as long as that version is loaded, or its data live in a later one.  Another module's
function in this process is called without Python in between, by its stable pointer.  What a service raises while the
library is being loaded, called by a constructor of it, is raised by the loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import ArgumentTypeError, ServiceError
from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.interface import Signature
from midflight.lanes.native.callbacks import CallbackMaker, log_unheard

if TYPE_CHECKING:
    from midflight._lane import Service, Wanted
    from midflight.artifact.interface import Interface


class ServiceThunks:
    """Those of one version.  ``addresses`` and ``ways``: by symbol; ``inherited``: what only its data may hold."""

    def __init__(self, wanted: Wanted, types: CTypes, before: ServiceThunks | None = None) -> None:
        """``before``: those of a version with the same types, which serve this one too: data may hold them.

        Raises `ServiceError` for a type that Python can't take or give.
        """
        self.addresses: dict[bytes, int] = {}
        self.unheard: Unheard = before.unheard if before is not None else Unheard()
        self.unheard.begin()
        self.ways: dict[str, Way] = {}
        self.inherited: list[Way] = []
        for service in wanted.services:
            known = before.ways.get(service.symbol) if before is not None else None
            if known is None or not known.serves(service):
                known = self._new_way(service, wanted, types)
            self.ways[service.symbol] = known
            self.addresses[service.symbol.encode()] = known.address

    def _new_way(self, service: Service, wanted: Wanted, types: CTypes) -> Way:
        interface, function = service.interface, service.function
        own = types if interface is wanted.interface else CTypes(interface, elsewhere=types.elsewhere)
        signature = Signature(tuple(param.type for param in function.params), function.result)
        try:
            return self._way(service, self._maker(interface, own, signature, self.unheard))
        except ArgumentTypeError as error:
            what = f"{function.name or service.symbol} can't be provided from Python: {error.what}"
            raise ServiceError(what, subject=wanted.module, todo=error.todo) from None

    def _maker(self, interface: Interface, types: CTypes, signature: Signature, unheard: Unheard) -> CallbackMaker:
        return CallbackMaker(interface, types, signature, unheard)

    def _way(self, service: Service, maker: CallbackMaker) -> Way:
        way = DirectWay(service, maker)
        service.provider.follow(way)
        return way

    def loaded(self) -> None:
        """Note that the library is loaded.  Raises what a service raised meanwhile."""
        errors = self.unheard.end()
        if errors:
            raise errors[0]

    def inherit(self, before: ServiceThunks) -> None:
        """Keep those of the version before: data that have been brought over may hold them."""
        own = self.ways.values()
        self.inherited = before.inherited + [way for way in before.ways.values() if way not in own]


class Way:
    """How a library reaches a service.  ``address``: what its symbol is bound to."""

    address = 0

    def __init__(self, service: Service, maker: CallbackMaker) -> None:
        self.maker = maker
        self._service = service

    def serves(self, service: Service) -> bool:
        """Whether it is one of a version with the same types too."""
        one, other = self._service, service
        same_type = (one.function.params, one.function.result) == (other.function.params, other.function.result)
        return same_type and one.provider is other.provider and one.interface.types == other.interface.types


class DirectWay(Way):
    """One in this process: through Python, or straight to another module's function."""

    def __init__(self, service: Service, maker: CallbackMaker) -> None:
        super().__init__(service, maker)
        self._through_python = maker(service.provider) or 0
        self._forward = _core.Forward(self._through_python)
        self.address = self._forward.address

    def lead(self, function: object) -> None:
        """Take the shortest way to a function."""
        self._forward.lead(self.maker.direct(function) or self._through_python)


class Unheard:
    """Takes what a service raises where no call waits for it; refers to nothing, so that nothing refers to itself."""

    def __init__(self) -> None:
        self._errors: list[BaseException] | None = None

    def begin(self) -> None:
        """Keep what is raised from now on."""
        self._errors = []

    def end(self) -> list[BaseException]:
        """Return what was raised since."""
        errors, self._errors = self._errors, None
        return errors or []

    def __call__(self, error: BaseException) -> None:
        """Keep it for the loading, or log it."""
        errors = self._errors
        if errors is None:
            log_unheard(error)
        else:
            errors.append(error)
