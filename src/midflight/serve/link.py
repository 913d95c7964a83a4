"""The worker's thread that talks with the supervisor.

Guarantees:
- The worker stops when it is told to, and when the supervisor is gone, however that ended: the kernel closes its end of
  the channel.
- A worker whose supervisor is gone ends within its drain timeout: a watchdog of the interpreter's, which needs no
  Python code to run, sees to that.
- `wake` may be called from a signal handler.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from midflight.serve import loaded
from midflight.serve.addresses import remove
from midflight.serve.messages import LONGEST, Failed, Files, Job, Ready, Stop, decode, encode

if TYPE_CHECKING:
    import socket

    from midflight.serve.lifecycle import Lifecycle

_LOOK_SECONDS = 1.0


class Link:
    """A worker's end of the channel."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._told: frozenset[str] = frozenset()
        self.job = decode(channel.recv(LONGEST), Job)

    def start(self, lifecycle: Lifecycle) -> None:
        """Listen to the supervisor from now on."""
        threading.Thread(target=self._run, args=(lifecycle,), name="midflight-link", daemon=True).start()

    def wake(self) -> None:
        """Ask the thread to stop the worker."""
        os.eventfd_write(self._wake, 1)

    def ready(self) -> None:
        """Say that the worker serves."""
        self.tell_files(loaded.source_files())
        self._send(Ready())

    def failed(self, stage: str, what: str, error: BaseException) -> None:
        """Say why the worker can't serve."""
        self.tell_files(loaded.source_files() | loaded.of_error(error))
        self._send(Failed(stage, what[:1000]))

    def tell_files(self, paths: frozenset[str]) -> None:
        """Say which files have been loaded, where the supervisor wants to know."""
        if not self.job.watch:
            return
        fresh = sorted(paths - self._told)
        self._told |= paths
        while fresh:
            some = [fresh.pop()]
            while fresh and sum(map(len, some)) + len(fresh[-1]) < LONGEST // 8:  # a character may take six bytes
                some.append(fresh.pop())
            self._send(Files(some))

    def _send(self, message: Ready | Files | Failed) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone, which the thread sees by itself
            self._channel.send(encode(message))

    def _run(self, lifecycle: Lifecycle) -> None:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        timeout = _LOOK_SECONDS * 1000 if self.job.watch else None
        while True:
            events = {descriptor for descriptor, _ in poller.poll(timeout)}
            if self._wake in events:
                os.eventfd_read(self._wake)
                lifecycle.stopping.set()
            if self._channel.fileno() in events and not self._hear(lifecycle):
                self._abandoned(lifecycle)
                return
            if not events and lifecycle.is_ready:
                self.tell_files(loaded.source_files())

    def _hear(self, lifecycle: Lifecycle) -> bool:
        """Take one message; return False if the supervisor is gone."""
        try:
            data = self._channel.recv(LONGEST)
        except OSError:
            return False
        if not data:
            return False
        try:
            decode(data, Stop)
        except msgspec.DecodeError:
            return True  # of a later release
        lifecycle.stopping.set()
        return True

    def _abandoned(self, lifecycle: Lifecycle) -> None:
        """End this process, and take away what the supervisor couldn't."""
        for file in self.job.files:
            remove(file)
        if not lifecycle.is_ready:
            os._exit(1)
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            # The watchdog keeps the descriptor's number, so it must not be used for another file.
            descriptor = os.dup(nowhere.fileno())
        faulthandler.dump_traceback_later(
            max(0.001, self.job.drain_timeout + self.job.kill_timeout), exit=True, file=descriptor
        )
        lifecycle.stopping.set()
