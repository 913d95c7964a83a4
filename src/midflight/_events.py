"""What happens to modules, told to whoever wants to know.

Guarantees: subscribers are called in the thread that did the work, after it is done and with no lock of midflight held,
so they may call any public function.  One that raises is logged and doesn't disturb the others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from midflight._errors import MidflightError
    from midflight._soak import Soak
    from midflight._version import Report, Version

log = logging.getLogger("midflight")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module was loaded."""

    module: ModuleType
    name: str
    version: Version


@dataclass(frozen=True, slots=True)
class Swapped:
    """A module runs another version now."""

    module: ModuleType
    report: Report


@dataclass(frozen=True, slots=True)
class Refused:
    """A swap was refused; the module goes on as before."""

    module: ModuleType
    name: str
    error: MidflightError


@dataclass(frozen=True, slots=True)
class Soaked:
    """A new version's soak has ended; ``soak`` says how."""

    module: ModuleType
    name: str
    soak: Soak


Event = Loaded | Swapped | Refused | Soaked

_LEVELS = {
    "passed": logging.INFO,
    "superseded": logging.INFO,
    "went back": logging.WARNING,
    "stuck": logging.ERROR,
}

_subscribers: list[Callable[[Event], None]] = []


def subscribe(subscriber: Callable[[Event], None]) -> Callable[[], None]:
    """Call ``subscriber`` with every event from now on; return a function that ends this."""
    _subscribers.append(subscriber)

    def unsubscribe() -> None:
        if subscriber in _subscribers:
            _subscribers.remove(subscriber)

    return unsubscribe


def emit(event: Event) -> None:
    """Log an event and tell it to every subscriber."""
    _log_event(event)
    for subscriber in tuple(_subscribers):
        try:
            subscriber(event)
        except Exception:
            log.exception("a subscriber to midflight's events failed")


def _log_event(event: Event) -> None:
    match event:
        case Loaded(_, name, version):
            log.debug("%s: version %d loaded from %s", name, version.number, version.source)
        case Swapped(_, report):
            log.info("%s", report)
        case Refused(_, _, error):
            log.warning("swap refused: %s", error)
        case Soaked(_, _, soak):
            log.log(_LEVELS[soak.state], "%s", soak)
