"""Worker processes under test: a library with all that can go wrong, and a check that nothing is left of them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import _retire
from midflight._control import control_of
from midflight._directory import _sweep, private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from midflight._core import Link

LIBRARY = Path(__file__).with_name("library.c").read_text()
_PR_SET_CHILD_SUBREAPER = 36


def wait_until(condition: Callable[[], object], what: Callable[[], str] = lambda: "it didn't happen") -> None:
    """For what tells nobody when it comes, a state in /proc for example."""
    deadline = time.monotonic() + 5
    nothing = select.poll()
    while not condition():
        assert time.monotonic() < deadline, what()
        nothing.poll(2)


# ---- processes


def state_of(pid: int) -> str:
    """The letter that /proc has for a process; "" for one that isn't there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return ""


def _children() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid():
                yield int(entry.name)


def workers() -> list[int]:
    """Worker processes whose parent is this one, also those that have lost theirs; zombies too."""
    found = []
    for pid in _children():
        try:
            words, name = Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            continue
        if words.startswith(b"midflight-worker") or (not words and name.strip() in {"lib", "midflight"}):
            found.append(pid)
    return found


def _remains() -> list[str]:
    """Shared memory of midflight's in this process."""
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:midflight" in line]
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if "memfd:midflight" in target:
            maps.append(target)
    return maps


def _bury_orphans() -> None:
    """Adopted ones only: our own workers tell nobody but their link when they end (they have no exit signal)."""
    for pid in workers():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _settled() -> bool:
    gc.collect()
    _bury_orphans()
    _retire.settle()
    return not workers() and not _remains()


@pytest.fixture(scope="session", autouse=True)
def _adopting_orphans() -> None:
    """Workers whose host has died become children of this process, so that it can be seen what becomes of them."""
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """At the end of every test: no process, no zombie, no shared memory, no descriptor, no file."""
    yield
    # pytest keeps these a little longer; what is logged has errors in it, and they have all that was under way.
    request.node.funcargs.clear()
    caplog.get_records("call").clear()
    wait_until(_settled, lambda: f"left: {workers()}, {_remains()}")
    if private._path is not None:
        assert sorted(path.name for path in private._path.iterdir()) == ["lock"]


# ---- modules


def link_of(module: ModuleType) -> Link:
    """The process that serves a module now."""
    generation = control_of(module).need_current()
    assert generation.code is not None
    return generation.code._process.link


def pid_of(module: ModuleType) -> int:
    """Its number."""
    return link_of(module).pid


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The source of the library."""
    path = tmp_path / "lib.c"
    path.write_text(LIBRARY)
    return path


@pytest.fixture
def start(library: Path) -> Iterator[Callable[..., ModuleType]]:
    """Return a function that loads the library into a worker; ended with the test, whatever callbacks refer to it."""
    modules: list[ModuleType] = []

    def load(text: str | None = None, **options) -> ModuleType:
        if text is not None:
            library.write_text(text)
        modules.append(midflight.load(library, lane="worker", **options))
        return modules[-1]

    yield load
    for module in modules:
        with contextlib.suppress(midflight.UnloadedError):
            midflight.unload(module)


@pytest.fixture
def lib(start: Callable[..., ModuleType]) -> ModuleType:
    """The library, in a worker."""
    return start()


# ---- hosts


class Host:
    """Another process that runs workers; it says what it has come to, a line each."""

    def __init__(self, code: str, *arguments: object) -> None:
        program = "import os, sys, threading, midflight\nfrom midflight._control import control_of\n"
        program += "def pid(m): return control_of(m).current.code._process.link.pid\n"
        program += "def say(*words): print(*words, flush=True)\n" + textwrap.dedent(code)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> str:
        """Wait for the next line."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.process.communicate()[1]
        return text.strip()

    def kill(self) -> None:
        """End it as nothing can prepare for."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def check_traces(self, pids: list[int]) -> None:
        """Its workers end by themselves, and what it left in the file system goes with the next process."""
        for pid in pids:
            wait_until(lambda pid=pid: state_of(pid) in {"", "Z"}, lambda pid=pid: f"worker {pid} outlives its host")
            try:
                assert os.waitpid(pid, 0)[1] == 0, "it wasn't killed by anybody: it has exited"
            except ChildProcessError:
                assert not state_of(pid), "a zombie that nobody waits for"
        base = private._path.parent if private._path else Path("/dev/shm")
        _sweep(base, private._path or base / "none")
        assert not list(base.glob(f"midflight-{os.getuid()}-{self.process.pid}-*"))


@pytest.fixture
def host() -> Iterator[Callable[..., Host]]:
    """Return a function that starts a host."""
    started: list[Host] = []

    def run(code: str, *arguments: object) -> Host:
        started.append(Host(code, *arguments))
        return started[-1]

    yield run
    for one in started:
        one.kill()
