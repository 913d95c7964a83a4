"""The function pointers by which a version's library calls what its host provides.

Guarantees: one is made for each name of each version, before any of the library's code runs, and stays for as long as
that version is loaded.  Another module's function in this process is called without Python in between, by its stable
pointer.  What a service raises while the library is being loaded, called by a constructor of it, is
raised by the loading.
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
    """Those of one version.  ``addresses``: by symbol."""

    def __init__(self, wanted: Wanted, types: CTypes) -> None:
        """Raises `ServiceError` for a type that Python can't take or give."""
        self.addresses: dict[bytes, int] = {}
        self._unheard = Unheard()
        self._makers: list[CallbackMaker] = []
        self._ways: list[_Way] = []
        for service in wanted.services:
            own = (
                types if service.interface is wanted.interface else CTypes(service.interface, elsewhere=types.elsewhere)
            )
            try:
                self._add(service, own)
            except ArgumentTypeError as error:
                what = f"{service.function.name or service.symbol} can't be provided from Python: {error.what}"
                raise ServiceError(what, subject=wanted.module, todo=error.todo) from None

    def _add(self, service: Service, types: CTypes) -> None:
        function = service.function
        signature = Signature(tuple(param.type for param in function.params), function.result)
        maker = self._maker(service.interface, types, signature, self._unheard)
        self._makers.append(maker)
        self._bind(service, maker)

    def _maker(self, interface: Interface, types: CTypes, signature: Signature, unheard: Unheard) -> CallbackMaker:
        return CallbackMaker(interface, types, signature, unheard)

    def _bind(self, service: Service, maker: CallbackMaker) -> None:
        way = _Way(maker, maker(service.provider) or 0)
        service.provider.follow(way)
        self._ways.append(way)
        self.addresses[service.symbol.encode()] = way.address

    def loaded(self) -> None:
        """Note that the library is loaded.  Raises what a service raised meanwhile."""
        errors, self._unheard.errors = self._unheard.errors, None
        if errors:
            raise errors[0]


class _Way:
    """How a library reaches a service: through Python, or straight to another module's function."""

    def __init__(self, maker: CallbackMaker, through_python: int) -> None:
        self._maker = maker
        self._through_python = through_python
        self._forward = _core.Forward(through_python)
        self.address = self._forward.address

    def lead(self, function: object) -> None:
        """Take the shortest way to a function."""
        self._forward.lead(self._maker.direct(function) or self._through_python)


class Unheard:
    """Takes what a service raises where no call waits for it; refers to nothing, so that nothing refers to itself."""

    def __init__(self) -> None:
        self.errors: list[BaseException] | None = []

    def __call__(self, error: BaseException) -> None:
        """Keep it for the loading, or log it."""
        errors = self.errors
        if errors is None:
            log_unheard(error)
        else:
            errors.append(error)
