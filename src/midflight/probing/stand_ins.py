"""What the library gets in the probing process for the functions that the program provides.

The program's own functions stay where they are: whatever has no stand-in answers zero.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from midflight._lane import Service
from midflight._services import Provided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from midflight._errors import UnresolvedSymbolError
    from midflight.artifact.interface import Interface
    from midflight.probing.protocol import Need


def _zero(*_values: object) -> int:
    """Answer 0, 0.0, False, NULL or nothing, whichever the library expects."""
    return 0


class StandIns:
    """Serves a candidate as `midflight._services.Services` serves a module."""

    def __init__(self, needs: tuple[Need, ...], functions: Mapping[str, Callable[..., Any]]) -> None:
        self._needs = needs
        self._provided = {need.symbol: Provided(_named(need, functions) or _zero) for need in needs}

    def resolve(self, interface: Interface, _data: bytes, _lane: str) -> tuple[tuple[Service, ...], list[str]]:
        """Return what the library is given."""
        found = [
            Service(need.symbol, need.interface or interface, need.function, self._provided[need.symbol])
            for need in self._needs
        ]
        return tuple(found), []

    def refuse_unused(self, _unused: object, _interface: Interface, _data: bytes) -> None:
        """Nothing is unused."""

    def advise(self, _error: UnresolvedSymbolError, _interface: Interface, _data: bytes) -> None:
        """The program gives its advice itself."""

    @contextmanager
    def replaced(self, functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
        """Let other functions stand in for some time."""
        with ExitStack() as back:
            for need in self._needs:
                function, provided = _named(need, functions), self._provided[need.symbol]
                if function is not None:
                    back.callback(provided.replace, provided.function)
                    provided.replace(function)
            yield


def _named(need: Need, functions: Mapping[str, Callable[..., Any]]) -> Callable[..., Any] | None:
    return next((functions[name] for name in need.names if name in functions), None)
