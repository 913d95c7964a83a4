"""The process that a version runs in: started, asked, replaced when it dies, ended.

Guarantees:
- One process at a time serves a version.  When it has died, the next call starts a fresh one; calls that were inside
  raise `WorkerCrashedError`, and are never repeated.
- A call that the worker had not begun when it died is repeated in the fresh one.
- A call that takes longer than it may ends the worker: nothing else stops native code.
- After `REPEATED` crashes within `WITHIN` seconds ``failing`` is called, once.
- Nothing is left of a worker after `end`: no process, no descriptor, no memory, no file.
- Any function here may be called from any thread; in a fork's child the first call starts a worker of the child's own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import CallTimeoutError, MidflightError, UnloadedError, WorkerCrashedError, WorkerError
from midflight._fork import Lock
from midflight._signal_names import signal_name
from midflight.lanes.worker.monitor import monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Link

_log = logging.getLogger("midflight")

REPEATED, WITHIN = 3, 60.0
ATTEMPTS = 3
"""How often a request is made that no worker lives to begin."""

READY_TIMEOUT = 30.0
"""Seconds for a library's constructors."""

GRACE = 1.0
"""Seconds for a library's destructors, before the process is ended by force."""

_MESSAGE = 2


def _gone(_link: Link | None, function: str, _begun: bool, _late: bool) -> None:  # noqa: FBT001 - as `Process._keep`
    raise UnloadedError("this version has been unloaded", subject=function, todo="call the module itself")


def _nothing(*_: object) -> None:
    pass


def _no_frames(_link: Link) -> tuple[str, ...]:
    return ()


@dataclass(slots=True)
class Program:
    """What to run.  ``descriptor``: of the executable; ``library``: of the library's bytes, or -1.

    ``arguments`` are asked for at each start, after what the process before has left behind was removed.

    Owns both descriptors (the executable's unless ``shared``).
    """

    descriptor: int
    arguments: Callable[[], tuple[bytes, ...]]
    library: int = -1
    slots: int = 1
    callback_slots: int = 0
    shared: bool = False

    def start(self) -> Link:
        """Start a process.  Raises `MidflightError` where the system has no room."""
        environment = tuple(name + b"=" + value for name, value in os.environb.items())
        return _core.Link(
            self.descriptor,
            self.arguments(),
            environment,
            library=self.library,
            slots=self.slots,
            callback_slots=self.callback_slots,
        )

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in (self.library, -1 if self.shared else self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.library = -1


class Process:
    """What serves a version.  ``worker`` is what bindings refer to; its ``link`` is the process that runs now."""

    def __init__(
        self,
        name: str,
        program: Program,
        *,
        call_timeout: float | None = None,
        backtrace: Callable[[Link], tuple[str, ...]] = _no_frames,
        clean_up: Callable[[], object] = lambda: None,
        begin: Callable[[Link, _core.Worker], object] = lambda _link, _worker: None,
    ) -> None:
        """Start the first process; ``prepare`` it is the caller's business.

        Args:
            name: of the version, for people.
            program: what to run; owned from now on.
            call_timeout: seconds that a call may take.
            backtrace: says where a worker has crashed.
            clean_up: removes what a worker that has died left behind.
            begin: called with each process and `worker`, before the process is waited for.

        Raises what keeps it from getting ready, as loading here would.
        """
        self.name = name
        self.failing: Callable[[], object] | None = None
        self.prepare: Callable[[Link], object] = lambda _link: None
        """Called with each fresh process but the first, before it serves."""
        self._program = program
        self._call_timeout = call_timeout
        self._backtrace = backtrace
        self._clean_up = clean_up
        self._begin = begin
        self._mutex = Lock()  # protects all below; held while a fresh worker is started
        self._crashes: deque[float] = deque(maxlen=REPEATED)
        self._ended = False
        self.worker = _core.Worker(self._keep, timeout=call_timeout or 0.0)
        try:
            self.worker.link = self._fresh()
        except BaseException:
            program.close()
            raise

    @property
    def link(self) -> Link:
        """The process that runs now; a fresh one, if it has died.  Raises `UnloadedError` after the end."""
        link = self.worker.link
        if link is None or link.foreign or link.gone():
            self._renew(link)
            link = self.worker.link
        assert link is not None  # noqa: S101 - _renew has raised otherwise
        return link

    def message(
        self,
        number: int,
        payload: bytes,
        *,
        timeout: float | None = None,
        callback: Callable[[int, bytes], bytes] | None = None,
        subject: str = "",
    ) -> bytes:
        """Send a message to a worker that isn't native, and return the answer.

        Raises `WorkerCrashedError`, `CallTimeoutError` (the worker is ended then) and what `link` raises.
        """
        return self.request(_MESSAGE, number, payload, timeout=timeout, callback=callback, subject=subject)

    def request(
        self,
        kind: int,
        number: int,
        payload: bytes = b"",
        *,
        timeout: float | None = None,
        callback: Callable[[int, bytes], bytes] | None = None,
        wanted: int = 0,
        subject: str = "",
        only: Link | None = None,
    ) -> bytes:
        """Send a request of a kind (see native/channel.h) and return the answer; raises as `message` does.

        ``only``: the one process to ask, not a fresh one in its place.
        """
        limit = timeout if timeout is not None else self._call_timeout
        left = 1 if only is not None else ATTEMPTS
        while True:
            link = only or self.worker.link or self.link  # one that has died says so by itself
            left -= 1
            try:
                return link.send(kind, number, payload, timeout=limit or 0.0, callback=callback, wanted=wanted)
            except _core.LinkDeadError as error:
                self._lost(link, subject or self.name, begun=bool(error.args[0]) or not left)
            except _core.LinkLateError:
                self._lost(link, subject or self.name, begun=True, late=limit)

    def end(self) -> None:
        """End the process and let go of everything.  Calls that start from now on raise `UnloadedError`."""
        with self._mutex:
            self._ended = True
            link, self.worker.link = self.worker.link, None
            self._program.close()
            # Nothing of a version that is gone refers to itself: it is freed here, not at some later collection.
            self.worker.keeper = _gone
            self._backtrace, self._clean_up, self._begin = _no_frames, _nothing, _nothing
            self.prepare, self.failing = _nothing, None
        if link is not None:
            monitor.forget(link)
            link.end(GRACE)
            if link.crash is not None:
                _log.error("%s, at its end: %s", self.name, self._crashed(link, self.name))

    # ---- what goes wrong

    def _keep(self, link: Link | None, function: str, begun: bool, late: bool) -> None:  # noqa: FBT001 - the core calls it
        """Say what becomes of a call through ``link`` that didn't come back; return if it may be repeated."""
        self._lost(link, function, begun=begun, late=self._call_timeout if late else None)

    def _lost(self, link: Link | None, subject: str, *, begun: bool, late: float | None = None) -> None:
        if link is not None and link.foreign:
            if begun:
                what = "this process was forked in the middle of the call, which goes on in the process it came from"
                raise WorkerError(what, subject=subject, todo="call again: this process has a worker of its own")
        elif link is not None:
            if late is not None:
                link.kill()
            link.gone(-1)
            self._note_crash(link)
        if late is not None:
            what = f"it took longer than {late:g} s; its worker process has been ended"
            todo = "the next call gets a fresh worker; allow more with limits=Limits(call=...), or mend the function"
            raise CallTimeoutError(what, subject=subject, todo=todo)
        if begun and link is not None:
            raise self._crashed(link, subject)
        self._renew(link)

    def _note_crash(self, link: Link) -> None:
        """Count a crash, once for each process; let the version before take over when there are too many."""
        with self._mutex:
            if self.worker.link is not link or self._ended:
                return
            self.worker.link = None
        monitor.forget(link)
        _log.error("%s: %s", self.name, how_it_ended(link))
        self._count_crash()

    def _count_crash(self) -> None:
        with self._mutex:
            now = time.monotonic()
            self._crashes.append(now)
            failing = None
            if len(self._crashes) == REPEATED and now - self._crashes[0] <= WITHIN:
                failing, self.failing = self.failing, None
        if failing is not None:
            failing()

    def _crashed(self, link: Link, subject: str) -> WorkerCrashedError:
        frames = self._backtrace(link)
        text = crash_text(link)
        what = how_it_ended(link)
        if frames:
            what += f" in {frames[0]}"
        crash = link.crash
        return WorkerCrashedError(
            what,
            subject=subject,
            todo="the next call gets a fresh worker; mend the crash and swap",
            signal=crash[0] if crash is not None else max(0, link.status & 0x7F) if link.status > 0 else 0,
            address=crash[2] if crash is not None else None,
            backtrace=frames,
            text=text,
        )

    # ---- a fresh one

    def _renew(self, dead: Link | None) -> None:
        """Start another process, unless somebody else has."""
        with self._mutex:
            if self._ended:
                raise UnloadedError("this version has been unloaded", subject=self.name, todo="call the module itself")
            current = self.worker.link
            if current is not None and current is not dead and not current.foreign and not current.gone():
                return
            if current is not None and not current.foreign:
                monitor.forget(current)
            self.worker.link = self._prepared()

    def _prepared(self) -> Link:
        """Start a process and get it ready to serve; a crash of it counts as any."""
        try:
            link = self._fresh()
        except WorkerCrashedError:
            self._count_crash()
            raise
        try:
            self.prepare(link)
        except _core.LinkDeadError:
            monitor.forget(link)
            self._count_crash()
            raise self._crashed(link, self.name) from None
        return link

    def _fresh(self) -> Link:
        self._clean_up()
        link = self._program.start()
        monitor.watch(link)
        self._begin(link, self.worker)
        try:
            link.ready(READY_TIMEOUT)
        except MidflightError as error:
            monitor.forget(link)
            if type(error) is MidflightError:  # what the library itself did wrong has kinds of its own
                raise self._not_ready(error, link) from None
            raise
        return link

    def _not_ready(self, error: MidflightError, link: Link) -> MidflightError:
        if not link.gone():
            return WorkerError(error.what, subject=self.name, todo="see whether the library's constructors hang")
        crashed = self._crashed(link, self.name)
        crashed.what = f"{error.what}: {crashed.what}"
        crashed.todo = "mend what the library does when it is loaded"
        return crashed


def crash_text(link: Link) -> str:
    """Return what a runtime wrote about its own crash (Go's does)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/proc/self/fd/{link.crash_text}", os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    return ""


def how_it_ended(link: Link) -> str:
    """Say how a worker process has ended."""
    crash, status = link.crash, link.status
    number = crash[0] if crash is not None else status & 0x7F if status >= 0 else 0
    if number:
        hint = _HINTS.get(number, "")
        where = f" at address {crash[2]:#x}" if crash is not None and number in _FAULTS else ""
        return f"the worker process was ended by {signal_name(number)}{where}{hint}"
    if status < 0:
        return "the worker process has ended"
    said = crash_text(link).lstrip().partition("\n")[0]
    if said:
        return f"the worker process has ended: {said}"
    return f"the worker process has exited with status {status >> 8}: the library called exit()"


_FAULTS = {4, 7, 8, 11}
_HINTS = {24: " (it has used up its CPU time)", 9: " (by somebody else, by a limit, or for want of memory)"}


def installed_program() -> int:
    """Return a descriptor of the worker program, which is opened once: an upgrade doesn't change it under our feet."""
    global _installed  # noqa: PLW0603 - one for the program
    if _installed < 0:
        path = Path(_core.__file__).with_name("midflight-worker")
        try:
            _installed = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            what = f"the worker program isn't there: {error.strerror}"
            raise WorkerError(what, subject=str(path), todo="install midflight again") from None
    return _installed


_installed = -1
