"""What an application's own ``main(listeners, lifecycle)`` gets besides its sockets.

Guarantees:
- All methods may be called from any thread.
- `Lifecycle.connections` gives out every connection that it accepted; one that wasn't accepted stays in the queue that
  all workers share, for another worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import selectors
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
    from socket import socket

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PASSING = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM}

_PAUSE_SECONDS = 0.1
"""Connections end meanwhile; without the pause a full process would turn in circles until one does."""

_EXHAUSTED: Any = object()


class Stopping:
    """The event that this process shall accept nothing more, finish what is under way, and end.

    For threads it is an event (`is_set`, `wait`), for coroutines it is awaitable, for selectors it has a `fileno` that
    becomes readable.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def is_set(self) -> bool:
        """Tell whether it has happened."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it; return False if it took longer than ``timeout`` seconds."""
        return self._event.wait(timeout)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when it happens; never read it."""
        return self._descriptor

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._event.is_set():
                return
            future = loop.create_future()
            self._waiting.append((loop, future))
        await future

    def set(self) -> None:
        """Let it happen; not from a signal handler."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            os.eventfd_write(self._descriptor, 1)
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Lifecycle:
    """A worker's ways to say that it is ready, to be told to stop, and to know when all is finished.

    ``worker`` is this worker's number (from 1), ``generation`` the number of the restart that it came with (from 1).
    Give ``backlog`` to whatever calls ``listen`` on the sockets again, as asyncio does: their queue is shared.
    ``keep_alive`` is how long a connection may be idle, in seconds.
    """

    def __init__(
        self,
        announce: Callable[[], None],
        *,
        worker: int = 1,
        generation: int = 1,
        backlog: int = 2048,
        keep_alive: float = 5.0,
        drain_timeout: float = 30.0,
    ) -> None:
        self._announce = announce
        self.worker = worker
        self.generation = generation
        self.backlog = backlog
        self.keep_alive = keep_alive
        self.drain_timeout = drain_timeout
        self.stopping = Stopping()
        self._changed = threading.Condition()
        self._busy = 0
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether `ready` was called."""
        return self._is_ready

    def ready(self) -> None:
        """Say that this process serves: it accepts connections, now or as soon as its caller goes on."""
        with self._changed:
            if self._is_ready:
                return
            self._is_ready = True
        self._announce()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count something as under way while the block runs."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    @property
    def under_way(self) -> int:
        """How many `busy` blocks run."""
        return self._busy

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until no `busy` block runs; return False if it took longer than ``timeout`` (``drain_timeout``)."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, self.drain_timeout if timeout is None else timeout)

    async def drained(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as its sister's
        """Do what `drain` does, from a coroutine."""
        return await asyncio.to_thread(self.drain, timeout)

    def connections(self, listeners: Sequence[socket]) -> Iterator[tuple[socket, Any]]:
        """Accept connections until this process shall stop, then close its copies of the listening sockets.

        For servers with threads.  The sockets stay non-blocking: several processes wait for the same connection, and
        all but one find nothing.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.stopping, selectors.EVENT_READ)
            for listener in listeners:
                selector.register(listener, selectors.EVENT_READ, listener)
            while not self.stopping.is_set():
                for key, _ in selector.select():
                    if key.data is None or self.stopping.is_set():
                        continue
                    accepted = _accept(key.data)
                    if accepted is _EXHAUSTED:
                        self.stopping.wait(_PAUSE_SECONDS)
                    elif accepted is not None:
                        yield accepted
        for listener in listeners:
            listener.close()

    async def aconnections(self, listeners: Sequence[socket]) -> AsyncIterator[tuple[socket, Any]]:
        """Do what `connections` does, from a coroutine.

        asyncio's own servers accept in tasks of their own: one that is closed may still get a connection, which nobody
        waits for.  Here it is yours as soon as it is accepted; ``asyncio.open_connection(sock=...)`` makes streams of
        it.
        """
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        stopping = os.dup(self.stopping.fileno())
        waiting: list[int | socket] = [stopping, *listeners]
        for waited in waiting:
            loop.add_reader(waited, arrived.set)
        try:
            while not self.stopping.is_set():
                await arrived.wait()
                arrived.clear()
                for listener in listeners:
                    accepted = None if self.stopping.is_set() else _accept(listener)
                    if accepted is _EXHAUSTED:
                        await asyncio.sleep(_PAUSE_SECONDS)
                    elif accepted is not None:
                        yield accepted
        finally:
            for waited in waiting:
                loop.remove_reader(waited)
            os.close(stopping)
            for listener in listeners:
                listener.close()


def _accept(listener: socket) -> tuple[socket, Any] | None:
    """Accept; return None if another process was quicker, ``_EXHAUSTED`` if there is no room for a connection."""
    try:
        return listener.accept()
    except OSError as error:
        if error.errno in _NO_ROOM:
            return _EXHAUSTED  # type: ignore[no-any-return]
        if error.errno not in _PASSING:
            raise
    return None
