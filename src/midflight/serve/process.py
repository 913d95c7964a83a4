"""One worker process, as the supervisor sees it.

Guarantees:
- A signal is sent by the process's pidfd, never by its number, which may be another process's by then.
- No descriptor is inherited but those that are named; the worker's standard input is empty.
- When `Process.exited` is done, the process is reaped, all that it wrote has been passed on, and every descriptor that
  belongs to it is closed.
- Runs in the supervisor's event loop only.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from midflight.serve.messages import LONGEST, Adopted, Failed, Files, FromWorker, Job, Ready, Stop, ToWorker, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DECODER = msgspec.json.Decoder(FromWorker)
_CHUNK = 65536
_LINES = 40
_LINE_LENGTH = 500


class Words:
    """The last lines that a process wrote."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._begun = b""

    def add(self, data: bytes) -> None:
        """Take what was written."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        self._begun = self._begun[-_CHUNK:]
        self._lines.extend(self._text(line) for line in lines[-_LINES:])

    def lines(self) -> list[str]:
        """Return them."""
        return [line for line in (*self._lines, self._text(self._begun)) if line.strip()]

    @staticmethod
    def _text(line: bytes) -> str:
        return line[:_LINE_LENGTH].decode("utf-8", "replace").rstrip()


@dataclass(eq=False)
class Process:
    """A worker that was started, or adopted from the supervisor before."""

    worker: int
    generation: int
    pid: int
    pidfd: int
    channel: socket.socket
    output: int
    on_files: Callable[[Process], None]
    since: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    draining: bool = False
    failed: Failed | None = None
    paths: set[str] = field(default_factory=set)
    words: Words = field(default_factory=Words)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[str] = loop.create_future()
        for descriptor in (self.pidfd, self.output):
            os.set_inheritable(descriptor, False)
        self.channel.set_inheritable(False)
        self.channel.setblocking(False)
        os.set_blocking(self.output, False)
        if self.is_ready:
            self.ready.set_result(None)
        loop.add_reader(self.pidfd, self._on_exit)
        loop.add_reader(self.channel, self._on_message)
        loop.add_reader(self.output, self._on_output)

    @property
    def seconds(self) -> float:
        """How long it has been there."""
        return time.monotonic() - self.since

    def send(self, message: ToWorker) -> None:
        """Send a message; one that can't be sent is for a process that is at its end."""
        with contextlib.suppress(OSError):
            self.channel.send(encode(message))

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has been reaped."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    async def until_ready(self, seconds: float) -> bool:
        """Wait until it serves; return False if it doesn't within ``seconds``, or has ended."""
        awaited: set[asyncio.Future[Any]] = {self.ready, self.exited}
        await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return self.ready.done() and not self.exited.done()

    async def stop(self, drain_timeout: float, kill_timeout: float) -> None:
        """Let it finish what is under way, and see to it that it ends."""
        self.draining = True
        if self.is_ready:
            self.send(Stop())
            if await self._until_exit(drain_timeout):
                return
        self.signal(signal.SIGTERM)
        if await self._until_exit(kill_timeout):
            return
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.exited})

    async def _until_exit(self, seconds: float) -> bool:
        await asyncio.wait({self.exited}, timeout=seconds)
        return self.exited.done()

    def adopted(self) -> Adopted:
        """Return what a successor needs to take it over."""
        return Adopted(
            self.worker,
            self.generation,
            self.pid,
            self.pidfd,
            self.channel.fileno(),
            self.output,
            self.since,
            sorted(self.paths),
        )

    def descriptors(self) -> tuple[int, ...]:
        """Return all descriptors that belong to it."""
        return self.pidfd, self.channel.fileno(), self.output

    def _on_message(self) -> None:
        try:
            data = self.channel.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # Its end is closed: that it has ended is told by the pidfd.
            asyncio.get_running_loop().remove_reader(self.channel)
            return
        with contextlib.suppress(msgspec.DecodeError):
            self._take(_DECODER.decode(data))

    def _take(self, message: FromWorker) -> None:
        match message:
            case Ready():
                self.is_ready = True
                if not self.ready.done():
                    self.ready.set_result(None)
            case Failed():
                self.failed = message
            case Files(paths=paths):
                self.paths.update(paths)
                self.on_files(self)

    def _on_output(self) -> bool:
        """Pass on what it wrote; return whether there may be more."""
        try:
            data = os.read(self.output, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.output)
            return False
        self.words.add(data)
        with contextlib.suppress(OSError):  # nobody reads our own standard error
            while data:
                data = data[os.write(2, data) :]
        return True

    def _on_exit(self) -> None:
        loop = asyncio.get_running_loop()
        result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        if result is None:
            return
        while self._on_output():
            pass
        with contextlib.suppress(OSError):
            while data := self.channel.recv(LONGEST):
                with contextlib.suppress(msgspec.DecodeError):
                    self._take(_DECODER.decode(data))
        for descriptor in self.descriptors():
            loop.remove_reader(descriptor)
        os.close(self.pidfd)
        os.close(self.output)
        self.channel.close()
        self.exited.set_result(_fate(result.si_code, result.si_status))


def _fate(code: int, status: int) -> str:
    if code == os.CLD_EXITED:
        return f"it ended with exit code {status}"
    with contextlib.suppress(ValueError):
        return f"it was ended by {signal.Signals(status).name}"
    return f"it was ended by signal {status}"


def start(
    job: Job, environment: Mapping[str, str], inherited: Sequence[int], on_files: Callable[[Process], None]
) -> Process:
    """Start a worker in a fresh interpreter.  Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    output, writing = os.pipe()
    try:
        command = [sys.executable, "-P", "-m", "midflight.serve.worker", str(theirs.fileno()), job.target]
        pid = os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 2),
                *((os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in (theirs.fileno(), *inherited)),
            ],
            # A group of its own: Ctrl-C in the terminal is for the supervisor.
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2),
        )
    except OSError:
        ours.close()
        os.close(output)
        raise
    finally:
        theirs.close()
        os.close(writing)
    # It is our child and not reaped yet, so the number is still its own.
    process = Process(job.worker, job.generation, pid, os.pidfd_open(pid), ours, output, on_files)
    process.send(job)
    return process


def adopt(adopted: Adopted, on_files: Callable[[Process], None]) -> Process:
    """Take over a worker that the supervisor before started."""
    return Process(
        adopted.worker,
        adopted.generation,
        adopted.pid,
        adopted.pidfd,
        socket.socket(fileno=adopted.channel),
        adopted.output,
        on_files,
        since=adopted.since,
        is_ready=True,
        paths=set(adopted.paths),
    )
