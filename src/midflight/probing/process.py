"""The program's end of one probing process, which does one job and ends.

Guarantees:
- It is started fresh (a program of its own, never a fork of this one), in a session of its own, and with no descriptor
  of the program's.  A program that waits for any child may take its status: then it has none, and nothing else changes.
- It ends with the program, however that ends, and everything that it started in its process group with it.  What has
  left the group ends with it too, unless the program is killed.
- Whoever waits for it does so without the GIL, and only as long as it was told to.
- After `end` nothing is left of it: no process, no descriptor, no memory.
- One thread at a time uses it.  A fork's child only closes its copies of the descriptors.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight.probing import leftovers, protocol
from midflight.probing.memory import killed_for_want, peak_of, used_by
from midflight.probing.protocol import Incoming, Phase, ProtocolBrokenError, Ready
from midflight.probing.starting import CannotStartError, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.probing.protocol import Answer, Job, Surroundings

START_TIMEOUT = 30.0
"""Seconds for the interpreter and the imports."""

_LAST_WORDS, _PIECE = 8192, 65536
_GRACE = 1.0
"""Seconds in which a process that hangs may say where, and one that has closed the connection may end."""

_MEMORY_PAUSE, _LONGEST_PAUSE = 0.01, 3600.0
_WALL = 0x40000000
"""__WALL of waitid: until it has run its program, a process is waited for with it only."""

_live: weakref.WeakSet[Process] = weakref.WeakSet()


@dataclass(slots=True)
class Outcome:
    """What came of a job: an ``answer``, or none.

    ``status``: as from waitpid, if it ended by itself; ``starved``: the kernel has killed it for want of memory;
    ``late``: it didn't come to an end in time; ``took``: bytes of memory, if that was too much; ``broken``: what it
    sent makes no sense; ``cut``: it has closed their connection; ``words``: the end of what it wrote;
    ``phase``: what it was doing; ``note``: what it left behind when it crashed; ``pid``: the process's number, and that
    of its main thread.
    """

    pid: int
    answer: Answer | None = None
    status: int | None = None
    late: bool = False
    took: int | None = None
    broken: bool = False
    cut: bool = False
    starved: bool = False
    words: str = ""
    phase: tuple[int, int] = (0, 0)
    note: bytes = b""


class Process:
    """One process, from its start to its end.  Raises `CannotStartError`."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16).encode()
        with contextlib.ExitStack() as undo, _no_room():
            self._connection, other = socket.socketpair()
            undo.callback(self._connection.close)
            self._note = os.memfd_create("midflight:probe", os.MFD_CLOEXEC)
            undo.callback(os.close, self._note)
            os.ftruncate(self._note, protocol.NOTE_SIZE)
            self._words, writing = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, self._words)
            try:
                self.pid, self._pidfd = start(other.fileno(), self._note, writing, self.mark)
            finally:
                other.close()
                os.close(writing)
            undo.pop_all()
        os.set_blocking(self._words, False)
        self._owner = os.getpid()
        self._ending = threading.Lock()
        self._ended = self._reaped = False
        self._said: deque[bytes] = deque()
        self._ready = self._served = False
        _live.add(self)

    # ---- a job

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self._ended and not _ends_within(self._pidfd, 0)

    def until_ready(self) -> None:
        """Wait until it can take a job.  Raises `CannotStartError`."""
        if self._ready:
            return
        outcome = self._wait(time.monotonic() + START_TIMEOUT, None)
        if not isinstance(outcome.answer, Ready):
            words = outcome.words.strip()
            what = "it didn't get ready in time" if outcome.late else "it ended before it was ready"
            raise CannotStartError(f"{what}{f', and wrote: {words}' if words else ''}")
        self._ready = True

    def run(
        self, job: Job, around: Surroundings, library: int, *, timeout: float, memory: int | None = None
    ) -> Outcome:
        """Let it do its job.  ``library``: a descriptor of the bytes.  Raises `CannotStartError`."""
        self.until_ready()
        self._served = True
        starved = killed_for_want()
        deadline = time.monotonic() + timeout
        most = None if memory is None else memory + used_by(self.pid)
        try:
            self._connection.settimeout(timeout)
            socket.send_fds(self._connection, [b"\0"], [library])
            for message in (around, job):
                self._connection.sendall(protocol.framed(protocol.encode(message)))
        except OSError:  # it is gone: `_wait` says how
            pass
        finally:
            self._connection.settimeout(None)
        outcome = self._wait(deadline, most)
        outcome.starved = outcome.status == signal.SIGKILL and killed_for_want() > starved
        return outcome

    def _wait(self, deadline: float, most: int | None) -> Outcome:
        """Wait for an answer, or the end."""
        outcome = Outcome(self.pid)
        self._listen(deadline, most, outcome)
        if outcome.answer is not None and most is not None:
            took = peak_of(self.pid)
            outcome.took = took if took > most else None
        if outcome.late:
            self._ask_where()
        self._take_words()
        outcome.words = protocol.printable(b"".join(self._said)[-_LAST_WORDS:].decode("utf-8", "replace"), lines=True)
        outcome.note, outcome.phase = self._read_note()
        outcome.cut = outcome.cut or outcome.phase[0] == Phase.UNHEARD
        return outcome

    def _listen(self, deadline: float, most: int | None, outcome: Outcome) -> None:
        incoming, cut = Incoming(), False
        poll = select.poll()
        for descriptor in (self._connection.fileno(), self._words, self._pidfd):
            poll.register(descriptor, select.POLLIN)
        while outcome.answer is None:
            left = deadline - time.monotonic()
            if left <= 0:
                outcome.late, outcome.cut = True, cut
                return
            pause = min(left, _LONGEST_PAUSE if most is None else _MEMORY_PAUSE)
            ready = {descriptor for descriptor, _ in poll.poll(pause * 1000)}
            if self._words in ready and not self._take_words():
                poll.unregister(self._words)
            if self._connection.fileno() in ready and not self._take_answer(incoming, outcome):
                poll.unregister(self._connection)
                cut, deadline = True, min(deadline, time.monotonic() + _GRACE)
            if outcome.broken:
                return
            if outcome.answer is None and self._pidfd in ready:
                outcome.status = self._reap()
                return
            if most is not None and (took := used_by(self.pid)) > most:
                outcome.took = took
                return

    def _take_answer(self, incoming: Incoming, outcome: Outcome) -> bool:
        """Take what has come; return whether more may come."""
        try:
            data = self._connection.recv(_PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        try:
            outcome.answer = incoming.add(data)
        except ProtocolBrokenError:
            outcome.broken = True
        return bool(data)

    def _take_words(self) -> bool:
        """Take what it has written, and keep the end; return whether more may come."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._words, _PIECE):
                self._said.append(data)
                if len(self._said) > 1 and sum(map(len, self._said)) - len(self._said[0]) >= _LAST_WORDS:
                    self._said.popleft()
            return False
        return True

    def _ask_where(self) -> None:
        """Let it crash on purpose, so that it says where it is."""
        self._signal(signal.SIGABRT)
        end = time.monotonic() + _GRACE
        while not _ends_within(self._pidfd, 0.01) and time.monotonic() < end:
            self._take_words()

    def _read_note(self) -> tuple[bytes, tuple[int, int]]:
        note = os.pread(self._note, protocol.NOTE_SIZE, 0)
        return note, protocol.phase_in(note)

    # ---- its end

    def end(self) -> None:
        """End it and let go of everything.  May be done again."""
        with self._ending:
            if self._ended:
                return
            if self._owner == os.getpid() and not self._reaped:
                if not _ends_within(self._pidfd, 0):
                    with contextlib.suppress(OSError):
                        os.killpg(self.pid, signal.SIGKILL)
                self._signal(signal.SIGKILL)
                _ends_within(self._pidfd, _LONGEST_PAUSE)
                self._reap()
            if self._owner == os.getpid() and self._served:
                leftovers.end(self.mark)
            self._close()

    def _reap(self) -> int | None:
        """Take the status of a process that has ended, and end what it has left in its group."""
        self._reaped = True
        with contextlib.suppress(OSError):  # somebody has waited for any process: then the number may be another's
            if os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT | _WALL) is not None:
                with contextlib.suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
                found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | _WALL)
                if found is not None:
                    return found.si_status << 8 if found.si_code == os.CLD_EXITED else found.si_status
        return None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _close(self) -> None:
        self._ended = True
        _live.discard(self)
        self._connection.close()
        for descriptor in (self._note, self._words, self._pidfd):
            os.close(descriptor)

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self.end()


@contextlib.contextmanager
def _no_room() -> Iterator[None]:
    """Say so where the system gives no descriptors or memory."""
    try:
        yield
    except OSError as error:
        raise CannotStartError(str(error)) from None


def _ends_within(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def end_all() -> None:
    """End every process that there is."""
    for process in list(_live):
        process.end()


def _after_fork() -> None:
    for process in list(_live):
        process._close()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_after_fork)
