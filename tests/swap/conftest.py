"""Libraries that tell which version they are."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from midflight import _retire
from tests.lanes import load, pytest_configure, pytest_generate_tests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midflight import Version
    from tests.conftest import Workshop

__all__ = ["load", "pytest_configure", "pytest_generate_tests"]

MARKER = 0x5EED5EED5EED5EED

SOURCE = """
#include <fcntl.h>
#include <unistd.h>
static const volatile long version = 0x5eed5eed5eed5eed;
static long first(void) { return version; }
static long second(void) { return version; }
long whoami(void) { return version; }
/* Both halves must come from one version. */
int whole(long *a, long *b) { *a = first(); *b = second(); return *a == *b; }
/* Says that it has begun, and returns when it is told to, through named pipes that any process can open. */
long linger(const char *begun_path, const char *end_path)
{
    char byte = 1;
    int begun = open(begun_path, O_WRONLY | O_CLOEXEC), end = open(end_path, O_RDONLY | O_CLOEXEC);
    long answer = write(begun, &byte, 1) == 1 && read(end, &byte, 1) == 1 ? version : -1;
    close(begun);
    close(end);
    return answer;
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

    def __init__(self, directory: Path) -> None:
        self.begun, self.end = str(directory / "begun"), str(directory / "end")
        for path in (self.begun, self.end):
            os.mkfifo(path)
        # Open both ways, so that nobody waits for the other side at opening.
        self._begun, self._end = os.open(self.begun, os.O_RDWR), os.open(self.end, os.O_RDWR)

    def wait_begun(self) -> None:
        """Return once the call is inside the library."""
        assert os.read(self._begun, 1)

    def let_end(self) -> None:
        """Let the call return."""
        os.write(self._end, b"x")

    def close(self) -> None:
        """Close both."""
        os.close(self._begun)
        os.close(self._end)


@pytest.fixture
def gate(tmp_path: Path):
    """Pipes for one lingering call at a time."""
    made = Gate(tmp_path)
    yield made
    made.close()


@pytest.fixture
def unloading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Version], threading.Event]:
    """Return a function that gives an event for the moment at which a version is unloaded."""
    waiting: list[tuple[Version, threading.Event]] = []
    retire = _retire.retire_if_idle

    def watched(generation, **options) -> bool:
        done = retire(generation, **options)
        for version, event in waiting:
            if version.status == "unloaded":
                event.set()
        return done

    def event_of(version: Version) -> threading.Event:
        waiting.append((version, threading.Event()))
        return waiting[-1][1]

    monkeypatch.setattr(_retire, "retire_if_idle", watched)
    return event_of
