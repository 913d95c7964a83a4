"""Libraries that tell which version they are."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from midflight import _retire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midflight import Version
    from tests.conftest import Workshop

MARKER = 0x5EED5EED5EED5EED

SOURCE = """
#include <unistd.h>
static volatile long version = 0x5eed5eed5eed5eed;
static long first(void) { return version; }
static long second(void) { return version; }
long whoami(void) { return version; }
/* Both halves must come from one version. */
int whole(long *a, long *b) { *a = first(); *b = second(); return *a == *b; }
/* Says that it has begun, and returns when it is told to. */
long linger(int begun, int end)
{
    char byte = 1;
    if (write(begun, &byte, 1) != 1 || read(end, &byte, 1) != 1)
        return -1;
    return version;
}
long call_back(long (*function)(void)) { return version * 1000 + function(); }
"""


@dataclass
class Versions:
    """Any number of libraries that differ in the number that they return."""

    root: Path
    template: bytes

    def make(self, number: int) -> Path:
        """Return a library whose whoami() is ``number``."""
        path = self.root / f"version-{number}.so"
        path.write_bytes(self.template.replace(MARKER.to_bytes(8, "little"), number.to_bytes(8, "little")))
        return path


@pytest.fixture
def numbered(workshop: Workshop) -> Versions:
    """Make numbered versions of one library."""
    return Versions(workshop.root, workshop.library("template", SOURCE).read_bytes())


class Gate:
    """The two pipes of a lingering call."""

    def __init__(self) -> None:
        self.begun_read, self.begun = os.pipe()
        self.end, self.end_write = os.pipe()

    def wait_begun(self) -> None:
        """Return once the call is inside the library."""
        assert os.read(self.begun_read, 1)

    def let_end(self) -> None:
        """Let the call return."""
        os.write(self.end_write, b"x")

    def close(self) -> None:
        """Close all four ends."""
        for descriptor in (self.begun_read, self.begun, self.end, self.end_write):
            os.close(descriptor)


@pytest.fixture
def gate():
    """Pipes for one lingering call at a time."""
    made = Gate()
    yield made
    made.close()


@pytest.fixture
def unloading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Version], threading.Event]:
    """Return a function that gives an event for the moment at which a version is unloaded."""
    waiting: list[tuple[Version, threading.Event]] = []
    retire = _retire.retire_if_idle

    def watched(generation) -> bool:
        done = retire(generation)
        for version, event in waiting:
            if version.status == "unloaded":
                event.set()
        return done

    def event_of(version: Version) -> threading.Event:
        waiting.append((version, threading.Event()))
        return waiting[-1][1]

    monkeypatch.setattr(_retire, "retire_if_idle", watched)
    return event_of
