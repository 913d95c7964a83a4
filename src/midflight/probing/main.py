"""What runs in a probing process: it says that it is ready, takes one job, does it, answers, and waits to be ended.

Guarantee: it ends with the program.  While it is idle it reads the end of their connection; from the job on the kernel
kills its whole group when the program's side of the connection is closed, whatever the library is doing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import mmap
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from midflight import _core
from midflight._directory import private

# Imported before there is a job, so that the job needn't wait for it.
from midflight.probing import protocol, trials
from midflight.probing.protocol import Job, Phase, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.probing.protocol import Answer

CONNECTION, NOTE = 3, 4
"""The descriptors that the process starts with."""

_F_SETSIG = 10
_jobs, _surroundings = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Decoder(Surroundings)


def main() -> None:
    """Serve one job."""
    faulthandler.enable(all_threads=False)  # first: the note passes a crash on to it
    for descriptor in (CONNECTION, NOTE):  # nobody's business that the library starts
        os.set_inheritable(descriptor, False)
    _spare_the_machine()
    connection = socket.socket(fileno=CONNECTION)
    note = mmap.mmap(NOTE, protocol.NOTE_SIZE)
    view = memoryview(note)
    _core.note_crashes(view)
    _core.note_image(view[protocol.IMAGE_AT :])
    gc.collect()
    gc.freeze()  # a collection after the checks looks at what they have left only
    connection.sendall(protocol.framed(protocol.encode(protocol.Ready())))
    try:
        _, (library,), _, _ = socket.recv_fds(connection, 1, 1)
        around = _surroundings.decode(protocol.receive(connection, protocol.LONGEST))
        job = _jobs.decode(protocol.receive(connection, protocol.LONGEST))
    except (EOFError, ValueError):  # the program wants nothing any more
        os._exit(0)
    _end_with(connection)
    _settle_in(around)

    def tell(phase: Phase, index: int = 0) -> None:
        told = protocol.phase(phase, index)
        note[protocol.PHASE_AT : protocol.PHASE_AT + len(told)] = told

    answer = _work(job, library, tell)
    _flush()
    _answer(connection, answer, tell)


def _work(job: Job, library: int, tell: Callable[..., None]) -> Answer:
    with os.fdopen(library, "rb") as file:
        data = file.read()
    return trials.run(job, data, tell)


def _spare_the_machine() -> None:
    """Crash without a core dump, also one for a program that collects them; be the first to go if memory runs out.

    PR_SET_DUMPABLE would do for the dump too, but would keep this process from reading what /proc says of it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _end_with(connection: socket.socket) -> None:
    """Let the kernel end this process's group when the other side of the connection is closed."""
    fcntl.fcntl(connection, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(connection, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(connection, fcntl.F_SETFL, fcntl.fcntl(connection, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(connection, 0)
    if poll.poll(0):  # it has been closed before
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _answer(connection: socket.socket, answer: Answer, tell: Callable[..., None]) -> None:
    """Say what came of it, and wait to be ended.

    The kernel would take room in the connection, which the program makes by reading, for a sign of its end.
    """
    try:
        fcntl.fcntl(connection, fcntl.F_SETFL, fcntl.fcntl(connection, fcntl.F_GETFL) & ~os.O_ASYNC)
        connection.sendall(protocol.framed(protocol.encode(answer)))
        connection.recv(1)
    except OSError:  # the library has closed it
        tell(Phase.UNHEARD)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _settle_in(around: Surroundings) -> None:
    """Find what the program would find."""
    with contextlib.suppress(OSError):
        os.chdir(around.cwd)
    sys.path[:] = around.path
    os.environb.clear()
    os.environb.update(around.environment)
    if around.directory:  # where the program removes what this process leaves behind
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = around.directory
        private.new_path("probe")
        os.environ.pop("XDG_RUNTIME_DIR")
        if before is not None:
            os.environ["XDG_RUNTIME_DIR"] = before


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
