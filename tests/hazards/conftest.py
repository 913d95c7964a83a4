"""Runs what plain dlopen does in a process of its own, so that a crash is observed and not suffered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midflight._control import control_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from midflight import Version

PRELUDE = """
import _ctypes, ctypes, os, signal, sys, threading
dlopen = lambda path: ctypes.CDLL(path, mode=os.RTLD_NOW)
dlclose = lambda library: _ctypes.dlclose(library._handle)
mapped = lambda path: os.path.realpath(path) in open("/proc/self/maps").read()
arguments = sys.argv[1:]
"""

# A library that says goodbye: at the very end of its unloading it writes one byte.
GOODBYE = """
#include <unistd.h>
static int goodbye = -1;
#ifdef __cplusplus
extern "C"
#endif
void say_goodbye_to(int descriptor) { goodbye = descriptor; }
__attribute__((destructor)) static void leave(void)
{
    if (goodbye >= 0 && write(goodbye, "!", 1) != 1)
        goodbye = -1;
}
"""


@dataclass
class Outcome:
    """How a process ended: its exit code (negative: the signal that killed it) and its words."""

    code: int
    words: list[str]


@pytest.fixture
def plain() -> Callable[..., Outcome]:
    """Run a script with plain dlopen; its arguments are in ``arguments``."""

    def run(script: str, *arguments: object) -> Outcome:
        command = [sys.executable, "-c", PRELUDE + script, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        assert done.returncode != 1, done.stderr  # an exception: the script itself is wrong
        return Outcome(done.returncode, done.stdout.split())

    return run


def is_mapped(path: str) -> bool:
    """Whether the kernel's map of this process names a file."""
    return path in Path("/proc/self/maps").read_text()


class Pipe:
    """A pipe; reading waits for the other side, so threads are ordered without sleeping."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def wait(self) -> bytes:
        """Wait for a byte."""
        return os.read(self.read_end, 1)

    def send(self) -> None:
        """Let whoever waits for a byte go on."""
        os.write(self.write_end, b"x")

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.fixture
def pipe() -> Iterator[Callable[[], Pipe]]:
    """Make pipes that are closed in the end."""
    made: list[Pipe] = []

    def make() -> Pipe:
        made.append(Pipe())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def toucher(pipe: Callable[[], Pipe]) -> Callable[..., object]:
    """Have a thread call a function, and stay until it is told to end."""

    def start(function: Callable[[], object]) -> Callable[[], object]:
        touched, end = pipe(), pipe()
        thread = threading.Thread(target=lambda: (function(), touched.send(), end.wait()))
        thread.start()
        touched.wait()

        def finish() -> None:
            end.send()
            thread.join()
            # Python has let go of the thread, but what it runs at its very end comes only now.
            while Path(f"/proc/self/task/{thread.native_id}").exists():
                os.sched_yield()

        return finish

    return start


def settled(module: ModuleType, number: int) -> Version:
    """Return a version as it is once whoever is unloading it has finished; without looking after it ourselves."""
    generation = next(one for one in control_of(module).generations if one.version.number == number)
    with generation.mutex:
        return generation.version


CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL}


@pytest.fixture(autouse=True)
def _alone(alone: None) -> None:
    """Every test here counts files, descriptors or mappings."""
