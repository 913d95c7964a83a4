"""The supervisor: holds the listening sockets, and keeps workers behind them.

The sockets are bound once and inherited by every worker.  They are one queue in the kernel, which exists as long as
anybody has it open: a connection that an ending worker didn't accept waits for another one.  (With a queue for each
process, as SO_REUSEPORT makes them, it would be lost when that process closes its own.)

Guarantees:
- A worker is told to stop only when the one in its place has said that it is ready.
- Restarts happen one after another.  One that is asked for while another runs starts after it, and all that ask
  meanwhile get the same one, so what is on disk when somebody asks is what will run.
- A restart that is refused ends what it started, and nothing else.
- Runs in one event loop; only `ask_restart` may be called from another thread, by `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from midflight._errors import RestartRefusedError, ServeError
from midflight.serve import handover, process, reports
from midflight.serve.addresses import adopt, bind_all, bind_private
from midflight.serve.control import Control
from midflight.serve.messages import FORMAT, Handover, Status
from midflight.serve.options import environment
from midflight.serve.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from midflight.serve.addresses import Listener
    from midflight.serve.messages import Outcome
    from midflight.serve.options import Options
    from midflight.serve.process import Process
    from midflight.serve.watching import FileWatch

_log = logging.getLogger("midflight")
_STOPPING = "start it anew when it has ended"


class Supervisor:
    """Serves as the options say, until it is stopped."""

    def __init__(self, options: Options, version: str, inherited: Handover | None = None) -> None:
        self.options = options
        self._version = version
        self._inherited = inherited
        self._generation = inherited.generation if inherited else 0
        self._slots = [Slot(number) for number in range(1, options.workers + 1)]
        self._surplus: list[Process] = []
        self._starting: set[Process] = set()
        self._listeners: list[Listener] = []
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Outcome] | None = None
        self._last: Outcome | None = None
        self._state = "starting"
        self._work: asyncio.Task[None] | None = None
        self._stop_asked = asyncio.Event()
        self._tasks: set[asyncio.Task[object]] = set()
        self._watch: FileWatch | None = None

    async def run(self) -> None:
        """Serve.  Raises `BindError`, and `RestartRefusedError` if the first workers don't become ready."""
        control_listener = self._open()
        self._control = control = Control(self, control_listener)
        try:
            self._take_signals()
            self._work = asyncio.create_task(self._begin())
            await control.start()
            stop = asyncio.create_task(self._stop_asked.wait())
            await asyncio.wait({self._work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self._work.done():
                self._work.result()
                await stop
            stop.cancel()
        finally:
            await self._end_all()
            control.close()

    # ---- what others ask for ----------------------------------------------------------------------------------------

    def ask_restart(self) -> asyncio.Task[Outcome]:
        """Ask for a restart; return the one that starts after now."""
        if self._next is None:
            self._next = self._spawn_task(self._restart())
        return self._next

    async def upgrade(self) -> Outcome:
        """Put a new interpreter in the supervisor's place.  Comes back only with the reason why it couldn't."""
        began = time.monotonic()
        async with self._turn:
            if self._stop_asked.is_set():
                return reports.outcome(
                    self._generation,
                    began,
                    RestartRefusedError("the supervisor is stopping", stage="upgrade", todo=_STOPPING),
                )
            descriptor = handover.pack(self._handover())
            try:
                await handover.probe(descriptor, self.options.ready_timeout)
                os.close(descriptor)
                for slot in self._slots:
                    await self._cancel_refill(slot)
                # Packed anew: a worker may have died, and another told of files, while the probe ran.
                descriptor = handover.pack(self._handover())
                _log.info("a new interpreter takes over")
                handover.take_over(descriptor, self._kept(), self.options.directory)
            except RestartRefusedError as error:
                os.close(descriptor)
                self._refill_all()
                return self._refuse(began, error)
        raise AssertionError  # take_over either raises or never comes back

    async def settled(self) -> Outcome | None:
        """Wait until no restart is under way, and return how the last one ended."""
        if self._work is not None:
            with contextlib.suppress(ServeError):
                await asyncio.shield(self._work)
        async with self._turn:
            return self._last

    def ask_stop(self) -> None:
        """Ask for the end: graceful the first time, at once the second time."""
        if not self._stop_asked.is_set():
            _log.info("stopping; what is under way may finish within %g s", self.options.drain_timeout)
            self._state = "stopping"
            self._stop_asked.set()
            return
        _log.warning("stopping at once")
        for one in self._processes():
            one.signal(signal.SIGKILL)

    def status(self) -> Status:
        """Return what is being served."""
        return Status(
            pid=os.getpid(),
            target=self.options.target,
            directory=self.options.directory,
            state=self._state,
            generation=self._generation,
            addresses=[listener.address for listener in self._listeners],
            version=self._version,
            interpreter=sys.executable,
            workers=reports.workers(self._slots, self._starting),
            last=self._last,
        )

    # ---- beginning and end ------------------------------------------------------------------------------------------

    def _open(self) -> Listener:
        """Listen, or take over what is listened on; return the control socket."""
        if self._inherited is None:
            control = bind_private(self.options.control)
            try:
                self._listeners = bind_all(self.options.binds, self.options.backlog)
            except BaseException:
                control.close()
                raise
            return control
        self._listeners = [adopt(one) for one in self._inherited.listeners]
        return adopt(self._inherited.control)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask_stop)
        loop.add_signal_handler(signal.SIGHUP, self.ask_restart)
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._spawn_task(self.upgrade()))
        handover.release_signals()

    async def _begin(self) -> None:
        if self._inherited is not None:
            self._adopt_workers(self._inherited)
            _log.info("midflight %s on %s took over, process %d", self._version, sys.executable, os.getpid())
        else:
            addresses = ", ".join(listener.address for listener in self._listeners)
            _log.info("listening on %s; %d workers for %s", addresses, len(self._slots), self.options.target)
        if self.options.watch:
            from midflight.serve.watching import FileWatch  # noqa: PLC0415 - a thread and a library only where wanted

            self._watch = FileWatch(self, asyncio.get_running_loop())
        if self._inherited is not None:
            outcome = await self.ask_restart()
            if outcome.refusal is not None:
                self._refill_all()
            self._state = "serving"
        else:
            await self._first_start()
        reports.notify("READY=1")

    async def _first_start(self) -> None:
        async with self._turn:
            self._generation = 1
            try:
                await self._replace(self._slots)
            except RestartRefusedError as error:
                error.unchanged = "nothing is served"
                raise
            self._state = "serving"
            _log.info("serving")

    def _adopt_workers(self, inherited: Handover) -> None:
        for one in inherited.workers:
            adopted = process.adopt(one, self._on_files)
            if one.worker <= len(self._slots):
                self._slots[one.worker - 1].process = adopted
            else:
                self._surplus.append(adopted)
            self._follow(adopted)

    async def _end_all(self) -> None:
        """End everything; nothing is left when this returns."""
        self._state = "stopping"
        self._stop_asked.set()
        reports.notify("STOPPING=1")
        if self._watch is not None:
            self._watch.stop()
        for slot in self._slots:
            await self._cancel_refill(slot)
        ending = [asyncio.create_task(self._stop_process(one)) for one in self._processes()]
        for listener in self._listeners:
            listener.close()
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
        await asyncio.gather(*ending, *self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._stop_process(one) for one in self._processes()))

    # ---- restarting -------------------------------------------------------------------------------------------------

    async def _restart(self) -> Outcome:
        async with self._turn:
            self._next = None  # who asks from now on gets another one
            began = time.monotonic()
            if self._stop_asked.is_set():
                return self._refuse(
                    began, RestartRefusedError("the supervisor is stopping", stage="start", todo=_STOPPING)
                )
            self._state = "restarting"
            reports.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            before, self._generation = self._generation, self._generation + 1
            done = 0
            try:
                for first in range(0, len(self._slots), self.options.batch):
                    batch = self._slots[first : first + self.options.batch]
                    await self._replace(batch)
                    done += len(batch)
                    self._check_alive(self._slots[:done])
                await asyncio.gather(*(self._stop_process(one) for one in self._surplus))
                self._surplus.clear()
            except RestartRefusedError as error:
                if done == 0:
                    self._generation = before
                error.unchanged = reports.what_serves(self._slots)
                return self._refuse(began, error)
            finally:
                self._refill_all()
                self._state = "stopping" if self._stop_asked.is_set() else "serving"
                reports.notify("READY=1")
            self._last = reports.outcome(self._generation, began)
            _log.info("restarted: %d workers, generation %d, %.1f s", done, self._generation, self._last.seconds)
            return self._last

    async def _replace(self, slots: Sequence[Slot]) -> None:
        """Start a worker for each place; when all are ready, end those before.  Raises `RestartRefusedError`."""
        if self._stop_asked.is_set():
            raise RestartRefusedError("the supervisor was told to stop", stage="start", todo=_STOPPING)
        for slot in slots:
            await self._cancel_refill(slot)
        started = await self._start_all(slots)
        for slot, one in zip(slots, started, strict=True):
            self._starting.discard(one)
            slot.draining, slot.process = slot.process, one
            slot.restarted()
            self._follow(one)
        await asyncio.gather(*(self._stop_process(slot.draining) for slot in slots if slot.draining is not None))
        for slot in slots:
            slot.draining = None

    async def _start_all(self, slots: Sequence[Slot]) -> list[Process]:
        """Start a worker for each place and wait until all are ready; end all if one isn't."""
        started: list[Process] = []
        try:
            for slot in slots:
                started.append(self._start(slot))  # noqa: PERF401 - those before have to be known when one fails
            ready = await asyncio.gather(*(one.until_ready(self.options.ready_timeout) for one in started))
            late = next((one for one, is_ready in zip(started, ready, strict=True) if not is_ready), None)
            if late is not None:
                raise reports.why(late, self.options.ready_timeout)
            if self._stop_asked.is_set():
                raise RestartRefusedError("the supervisor was told to stop", stage="start", todo=_STOPPING)
            self._check_alive(self._slots[: slots[0].number - 1])
        except RestartRefusedError:
            await asyncio.gather(*(self._stop_process(one) for one in started))
            raise
        return started

    def _check_alive(self, slots: Sequence[Slot]) -> None:
        """Raise a `RestartRefusedError` if a worker of this restart has died, even if it has been replaced since."""
        for slot in slots:
            if slot.short_lives and not self._stop_asked.is_set():
                raise RestartRefusedError(
                    "it became ready and died",
                    words=slot.last_words,
                    subject=f"worker {slot.number}",
                    stage="serve",
                    todo="mend it, then restart again",
                )

    def _refuse(self, began: float, error: RestartRefusedError) -> Outcome:
        self._last = reports.outcome(self._generation, began, error)
        _log.error("restart refused at %s: %s", error.stage, error)
        return self._last

    # ---- workers ----------------------------------------------------------------------------------------------------

    def _start(self, slot: Slot) -> Process:
        """Start a worker.  Raises `RestartRefusedError`."""
        inherited = [listener.socket.fileno() for listener in self._listeners]
        files = [one.file for one in (*self._listeners, self._control.listener) if one.file is not None]
        job = self.options.job(slot.number, self._generation, inherited, files)
        try:
            started = process.start(job, environment(self.options.env_file), inherited, self._on_files)
        except OSError as error:
            what = f"it can't be started: {error.strerror}"
            todo = "see that Python and the program are where they were"
            raise RestartRefusedError(what, subject=f"worker {slot.number}", stage="start", todo=todo) from None
        except ServeError as error:
            raise RestartRefusedError(error.what, subject=error.subject, todo=error.todo, stage="start") from None
        self._starting.add(started)
        return started

    def _follow(self, one: Process) -> None:
        """Notice when it dies."""
        one.exited.add_done_callback(lambda _: self._on_death(one))

    def _on_death(self, one: Process) -> None:
        slot = next((slot for slot in self._slots if slot.process is one), None)
        if slot is None or one.draining or self._stop_asked.is_set():
            return
        slot.process = None
        slot.died(one.seconds)
        slot.last_words = tuple(one.words.lines())
        _log.error("worker %d died after %.1f s: %s", slot.number, one.seconds, one.exited.result())
        self._refill(slot)

    def _refill_all(self) -> None:
        for slot in self._slots:
            if slot.process is None:
                self._refill(slot)

    def _refill(self, slot: Slot) -> None:
        if slot.refill is None and not self._stop_asked.is_set():
            slot.refill = asyncio.create_task(self._keep_filling(slot))

    async def _keep_filling(self, slot: Slot) -> None:
        while slot.process is None:
            if slot.loop_begins:
                _log.error("worker %d dies again and again; it is started ever more rarely", slot.number)
            await asyncio.sleep(slot.delay())
            one: Process | None = None
            try:
                one = self._start(slot)
                if not await one.until_ready(self.options.ready_timeout):
                    raise reports.why(one, self.options.ready_timeout)
            except RestartRefusedError as error:
                _log.error("%s", error)
                slot.died(0.0)
                if one is not None:
                    await self._stop_process(one)
            else:
                self._starting.discard(one)
                slot.process = one
                self._follow(one)
                _log.info("worker %d serves again", slot.number)
        slot.refill = None

    async def _cancel_refill(self, slot: Slot) -> None:
        refill, slot.refill = slot.refill, None
        if refill is not None:
            refill.cancel()
            await asyncio.gather(refill, return_exceptions=True)
            await asyncio.gather(*(self._stop_process(one) for one in self._starting if one.worker == slot.number))

    async def _stop_process(self, one: Process) -> None:
        await one.stop(self.options.drain_timeout, self.options.kill_timeout)
        self._starting.discard(one)

    def _processes(self) -> list[Process]:
        held = [one for slot in self._slots for one in (slot.process, slot.draining) if one is not None]
        return [one for one in (*held, *self._surplus, *self._starting) if not one.exited.done()]

    def _on_files(self, _process: Process) -> None:
        if self._watch is not None:
            self._watch.learn({path for one in self._processes() for path in one.paths})

    # ---- handing over -----------------------------------------------------------------------------------------------

    def _handover(self) -> Handover:
        return Handover(
            format=FORMAT,
            generation=self._generation,
            listeners=[listener.listening() for listener in self._listeners],
            control=self._control.listener.listening(),
            workers=[one.adopted() for one in self._processes() if one.is_ready],
        )

    def _kept(self) -> list[int]:
        sockets = [listener.socket.fileno() for listener in (*self._listeners, self._control.listener)]
        return [*sockets, *(number for one in self._processes() for number in one.descriptors())]

    def _spawn_task(self, work: Coroutine[object, object, Outcome]) -> asyncio.Task[Outcome]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
