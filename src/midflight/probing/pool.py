"""The processes that wait for something to probe: one is kept ready, because an interpreter takes its time to start.

Guarantees:
- A process serves one probe; the next one is started when that is over, in the background.
- One that isn't wanted for `IDLE` seconds is ended, and so is every one at the program's end.
- A fork's child has none of its parent's: it starts its own when it first wants one.
- Any function may be called from any thread.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading

from midflight.probing.process import Process, end_all
from midflight.probing.starting import CannotStartError

IDLE = 300.0
"""Seconds for which a process is kept that nobody wants."""

_log = logging.getLogger("midflight")


class Pool:
    """Keeps a process ready.  The thread that ends and starts them is there while there is one to keep."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a fork's child: the processes are the parent's."""
        self._mutex = threading.Lock()  # protects all below
        self._ready: Process | None = None
        self._keeper: threading.Thread | None = None
        self._closed = False
        # What is to be ended (None: nothing), after which the next one is started; or an event to set.
        self._notes: queue.SimpleQueue[Process | threading.Event | None] = queue.SimpleQueue()

    def take(self) -> Process:
        """Return a process that nobody else uses.  Raises `CannotStartError`."""
        with self._mutex:
            found, self._ready = self._ready, None
        if found is not None and not found.alive:
            found.end()
            found = None
        return found or Process()

    def put_back(self, process: Process) -> None:
        """Keep a process that wasn't used for the next one who takes it."""
        with self._mutex:
            unwanted, self._ready = self._ready, process
        if unwanted is not None:
            unwanted.end()

    def give_back(self, process: Process) -> None:
        """End a process that has served, and start the next one, in the background."""
        self._note(process)

    def warm_up(self) -> None:
        """Start a process in the background, if none is ready."""
        self._note(None)

    def settle(self) -> None:
        """Wait until all that was given back has ended, and the next one has been started."""
        done = threading.Event()
        self._note(done)
        done.wait()

    def close(self) -> None:
        """End everything."""
        with self._mutex:
            self._closed = True
        end_all()

    def _note(self, note: Process | threading.Event | None) -> None:
        with self._mutex:
            self._notes.put(note)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="midflight-probes", daemon=True)
                self._keeper.start()

    def _keep(self) -> None:
        while True:
            try:
                note = self._notes.get(timeout=IDLE)
            except queue.Empty:
                if self._retired():
                    return
                continue
            if isinstance(note, threading.Event):
                note.set()
                continue
            if note is not None:
                note.end()
            self._start_next()

    def _retired(self) -> bool:
        """End the process that nobody wanted; return whether the thread may end too."""
        with self._mutex:
            if not self._notes.empty():
                return False
            unwanted, self._ready = self._ready, None
            self._keeper = None
        if unwanted is not None:
            unwanted.end()
        return True

    def _start_next(self) -> None:
        with self._mutex:
            if self._closed or self._ready is not None:
                return
            try:
                self._ready = Process()
            except (CannotStartError, OSError) as error:  # the next probe says so to somebody who can do something
                _log.debug("no process can be made ready for a probe: %s", error)


pool = Pool()
atexit.register(pool.close)
os.register_at_fork(after_in_child=pool.forget)
