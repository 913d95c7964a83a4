"""A served application in a directory of the test's own, a client that counts errors, and a look for what is left."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import select
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midflight.serve import client
from tests.talking import command, talk
from tests.talking import plain as plain_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midflight.serve.messages import Outcome, Status
    from tests.talking import Conversation, Talk

__all__ = ["command", "plain_environment", "talk"]

_PATIENCE = 60.0
_EXAMPLE = Path(__file__).parents[2] / "examples" / "rolling" / "load.py"
_MARKER = "MIDFLIGHT_TEST_MARKER"

MAIN = """
import threading
VERSION = "1"

def main(listeners, lifecycle):
    def answer(connection):
        with lifecycle.busy(), connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s"
                               % (len(VERSION), VERSION.encode()))
    lifecycle.ready()
    for connection, _ in lifecycle.connections(listeners):
        threading.Thread(target=answer, args=(connection,)).start()
    lifecycle.drain()
"""


def _marked(marker: str) -> list[int]:
    """Return the processes that were started by this test, directly or not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def ended(pid: int) -> bool:
    """Wait for the end of a process that isn't ours to wait for; return False if it doesn't come."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([descriptor], [], [], _PATIENCE)
        return bool(ready)
    finally:
        os.close(descriptor)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a worker, and by its pidfd."""
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, number)
    os.close(descriptor)


@pytest.fixture
def plain(plain_environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of all that a test starts; at the end nothing of that may be left."""
    marker = uuid.uuid4().hex
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    yield plain_environment | {_MARKER: marker, "XDG_RUNTIME_DIR": str(runtime)}
    left = [pid for pid in _marked(marker) if not ended(pid)]
    for pid in left:
        kill(pid)
    assert not left
    assert not list(runtime.rglob("*.sock"))
    assert not list(tmp_path.glob("*.sock"))


class Served:
    """A supervisor that runs, and the application that it serves."""

    def __init__(self, directory: Path, conversation: Conversation) -> None:
        self.directory = directory
        self.talk = conversation
        self.process = conversation.process
        self.control = str(directory / "control.sock")

    def wait(self) -> Served:
        """Wait until it serves."""
        self.talk.expect(r"INFO serving\n")
        return self

    def write(self, text: str, name: str = "app.py") -> None:
        """Write a file of the application."""
        (self.directory / name).write_text(text, encoding="utf-8")

    def status(self) -> Status:
        """Ask for the status."""
        reply = client.ask(self.control, "status", _PATIENCE)
        assert reply is not None
        assert reply.status is not None
        return reply.status

    def restart(self) -> Outcome:
        """Restart; raises the refusal."""
        return client.restart(self.control)

    def pids(self) -> list[int]:
        """Return the workers' process numbers."""
        return [one.pid for one in self.status().workers if one.state == "serving"]

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.status().addresses[0].rpartition(":")
        return host, int(port)

    def load(self, **options: int) -> Any:
        """Start asking without pause."""
        return _load_module().Load(*self.address, **options)

    def stop(self) -> None:
        """End it gracefully."""
        self.process.send_signal(signal.SIGTERM)
        assert self.talk.end() == 0, self.talk.heard


def _load_module() -> Any:
    spec = importlib.util.spec_from_file_location("rolling_load", _EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve(tmp_path: Path, talk: Talk) -> Callable[..., Served]:
    """Return a function that writes an application and serves it."""

    def start(text: str = MAIN, *options: str, name: str = "main", workers: int = 2, wait: bool = True) -> Served:
        (tmp_path / "app.py").write_text(text, encoding="utf-8")
        where = () if any(re.match("--bind", option) for option in options) else ("--bind", "127.0.0.1:0")
        conversation = talk(
            *("serve", f"app:{name}", "--workers", str(workers), "--control", str(tmp_path / "control.sock")),
            *where,
            *options,
        )
        served = Served(tmp_path, conversation)
        return served.wait() if wait else served

    return start
