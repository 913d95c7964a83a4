"""Versions of one library that differ in what is wrong with them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import _observing
from midflight._control import control_of
from midflight._samples import slots_of
from midflight.soaking.watcher import watcher
from tests.core.conftest import library
from tests.lanes import load, pytest_configure, pytest_generate_tests
from tests.swap.conftest import MARKER, unloading
from tests.worker.conftest import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from tests.conftest import Workshop

__all__ = ["library", "load", "pytest_configure", "pytest_generate_tests", "unloading"]

SOURCE = """
#include <stdexcept>
#include <unistd.h>
#ifndef WRONG
#define WRONG(x)
#endif
extern "C" {
static const volatile long version = 0x5eed5eed5eed5eed;
long whoami(void) { return version; }
/* What a version does wrong, it does here. */
int work(int x) { WRONG(x); return x + 1; }
int other(int x) { return x + 2; }
int call(int (*function)(int), int x) { return function(x); }
int fail(int x) { if (x) throw std::runtime_error("it failed"); return 0; }
/* Says that it has begun, and ends when it is told to. */
long wait(volatile int *page) { page[0] = 1; while (!page[1]) usleep(100); return version; }
}
"""


@dataclass
class Made:
    """Makes versions.  ``templates``: what has been compiled for other tests already, by what is wrong with it."""

    workshop: Workshop
    templates: dict[str, bytes]
    number: int = 0

    def __call__(self, wrong: str = "") -> Path:
        """Return a library; ``wrong``: statements that ``work(x)`` runs first."""
        self.number += 1
        path = self.workshop.root / f"v{self.number}.so"
        if wrong not in self.templates:
            text = f"#define WRONG(x) {wrong}\n{SOURCE}"
            self.templates[wrong] = self.workshop.library("template", text, suffix=".cc").read_bytes()
        marker, number = MARKER.to_bytes(8, "little"), self.number.to_bytes(8, "little")
        path.write_bytes(self.templates[wrong].replace(marker, number))
        return path


@pytest.fixture(scope="session")
def templates() -> dict[str, bytes]:
    """Libraries, compiled."""
    return {}


@pytest.fixture
def make(workshop: Workshop, templates: dict[str, bytes]) -> Made:
    """Make versions of a library."""
    return Made(workshop, templates)


@pytest.fixture
def page():
    """Two ints that workers see too, for `wait`."""
    return midflight.shared_array(2, "int32")


def observer_of(module: ModuleType):
    """Let the current version be observed."""
    control = control_of(module)
    return _observing.begin(control, control.need_current())


def figures(module: ModuleType, name: str) -> tuple[int, int, int]:
    """Return (calls, errors, crashes) of a function of the current version."""
    control = control_of(module)
    generation = control.need_current()
    assert generation.observer is not None
    found = generation.observer.figures()
    rows = [found[slot][:3] for slot in slots_of(control, generation)[name] if slot in found]
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0, 0, 0)  # type: ignore[return-value]


class Clock:
    """A clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass, and everybody look."""
        self.now += seconds
        watcher.wake()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all soaks."""
    made = Clock()
    monkeypatch.setattr(watcher, "_clock", made)
    return made


@pytest.fixture
def soaked():
    """Events of soaks that have ended, in order, with the swaps between them."""
    events: list[midflight.Soaked | midflight.Swapped] = []
    kinds = (midflight.Soaked, midflight.Swapped)
    end = midflight.subscribe(lambda event: events.append(event) if isinstance(event, kinds) else None)
    yield events
    end()


@pytest.fixture(autouse=True)
def _nothing_is_watched():
    """At the end of every test no soak is left, nor a thread for it."""
    yield
    for watch in list(watcher._watches):
        watcher.end(watch.comparison.new, "superseded", "the test has ended")
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("midflight-soak")])


def calls(function, count: int, start: int = 0) -> int:
    """Call ``function(x)`` so often; return how many calls have failed."""
    failed = 0
    for x in range(start, start + count):
        try:
            function(x)
        except midflight.MidflightError:
            failed += 1
    return failed
