"""Fixtures for the tests of the command line and the examples: running it, and talking with it while it runs."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE = 60.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_=>])|\r")
MIDFLIGHT = (sys.executable, "-m", "midflight")


@pytest.fixture
def plain() -> dict[str, str]:
    """Return the environment for a process whose output is plain."""
    kept = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS"}}
    return kept | {"NO_COLOR": "1", "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONUNBUFFERED": "1"}


class Run(Protocol):
    """Runs a command to its end."""

    def __call__(self, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``midflight`` with these arguments."""


@pytest.fixture
def command(tmp_path: Path, plain: dict[str, str]) -> Run:
    """Return a function that runs ``midflight`` in a directory of the test's own."""

    def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MIDFLIGHT, *map(str, arguments)],
            cwd=tmp_path,
            env=plain,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    return run


class Conversation:
    """A running process and what it says.  Everything waits for output; nothing waits for time to pass."""

    def __init__(self, process: subprocess.Popen[bytes], writing: int, reading: int) -> None:
        self.process = process
        self._writing = writing
        self._reading = reading
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._raw = ""
        self.heard = ""
        self._seen = 0
        self._open = {writing, reading}

    def say(self, text: str, end: str = "\n") -> None:
        """Type something."""
        os.write(self._writing, (text + end).encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until the process says something that matches, after what was matched before."""
        deadline = time.monotonic() + _PATIENCE
        while (match := re.compile(pattern).search(self.heard, self._seen)) is None:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
            if not ready or not self._hear():
                pytest.fail(f"{pattern!r} was never said; heard: {self.heard[self._seen :]!r}, all: {self.heard!r}")
        self._seen = match.end()
        return match

    def close(self) -> None:
        """Say nothing more."""
        self._open.discard(self._writing)
        os.close(self._writing)

    def release(self) -> None:
        """End the process if it still runs, and let go of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        while self._open:
            os.close(self._open.pop())

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        while self._hear():
            pass
        return self.process.wait(timeout=_PATIENCE)

    def _hear(self) -> bool:
        try:
            data = os.read(self._reading, 65536)
        except OSError:  # a terminal whose other side is closed
            return False
        self._raw += self._decoder.decode(data)
        self.heard = _ESCAPES.sub("", self._raw)
        return bool(data)


class Talk(Protocol):
    """Starts a process to talk with."""

    def __call__(self, *arguments: str | Path, terminal: bool = False, columns: int = 160) -> Conversation:
        """Start ``midflight`` with these arguments, on a pipe or on a terminal of its own."""


@pytest.fixture
def talk(tmp_path: Path, plain: dict[str, str]) -> Iterator[Talk]:
    """Return a function that starts ``midflight`` for a conversation; what still runs at the end is killed."""
    started: list[Conversation] = []

    def start(*arguments: str | Path, terminal: bool = False, columns: int = 160) -> Conversation:
        if terminal:
            ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            reading = writing = ours
            stdin = stdout = theirs
        else:
            stdin, writing = os.pipe()
            reading, stdout = os.pipe()
        process = subprocess.Popen(
            [*MIDFLIGHT, *map(str, arguments)],
            cwd=tmp_path,
            env=plain,
            stdin=stdin,
            stdout=stdout,
            stderr=stdout,
            start_new_session=True,
        )
        for descriptor in {stdin, stdout}:
            os.close(descriptor)
        started.append(Conversation(process, writing, reading))
        return started[-1]

    yield start
    for conversation in started:
        conversation.release()
