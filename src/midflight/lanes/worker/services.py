"""What the host provides to a library in a worker.

The library's undefined symbols are bound there to the worker's functions for callbacks, whose numbers are given here
and told with the words that the program starts with: a constructor may call them, and so may a fresh worker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight._errors import ArgumentTypeError
from midflight.lanes.native.services import ServiceThunks, Unheard, Way
from midflight.lanes.worker.bindings import WorkerCallbackMaker

if TYPE_CHECKING:
    from midflight._core import Link
    from midflight._lane import Service, Wanted
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Interface, Signature
    from midflight.lanes.native.callbacks import CallbackMaker
    from midflight.lanes.worker.bindings import Callbacks

_MOST_PARAMETERS = 32


class WorkerServices(ServiceThunks):
    """Those of one version.  ``words``: for the program, see native/worker/main.c."""

    def __init__(self, wanted: Wanted, types: CTypes, callbacks: Callbacks) -> None:
        """Raises `ServiceError` for a type that Python can't take or give."""
        self._callbacks = callbacks
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}
        super().__init__(wanted, types)

    def _maker(self, interface: Interface, types: CTypes, signature: Signature, unheard: Unheard) -> CallbackMaker:
        if len(signature.params) > _MOST_PARAMETERS:
            what = f"it has more than {_MOST_PARAMETERS} parameters"
            raise ArgumentTypeError(what, todo="pass a pointer to a struct with them")
        return WorkerCallbackMaker(interface, types, signature, self._callbacks, unheard)

    def _way(self, service: Service, maker: CallbackMaker) -> Way:
        assert isinstance(maker, WorkerCallbackMaker)  # noqa: S101 - made above
        number = maker.reserve(service.provider)
        params = "".join(f",{kind}.{size}" for kind, size in maker.description)
        self.words.append(f"bind={number}{params}:{service.symbol}")
        self._numbers[service.symbol] = number
        return Way(service, maker)

    def places(self, link: Link) -> dict[str, int]:
        """Return where they are in a worker, by symbol."""
        start, size = link.thunks
        return {symbol: start + number * size for symbol, number in self._numbers.items()}
