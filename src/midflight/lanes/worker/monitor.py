"""Notices when worker processes end.

Guarantee: a call that waits for a worker which has died is woken at once, however it died.  One thread watches all
workers of the program, and sleeps until one of them ends.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midflight._core import Link


class _Monitor:
    """The thread that watches, started with the first worker."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # protects all below
        self._epoll: select.epoll | None = None
        self._watched: dict[int, Link] = {}

    def watch(self, link: Link) -> None:
        """Wake whoever waits for a link's worker when it ends."""
        with self._mutex:
            if self._epoll is None:
                self._epoll = select.epoll()
                threading.Thread(target=self._run, args=(self._epoll,), name="midflight-workers", daemon=True).start()
            self._watched[link.pidfd] = link
            self._epoll.register(link.pidfd, select.EPOLLIN)

    def forget(self, link: Link) -> None:
        """Watch no longer."""
        with self._mutex:
            if self._epoll is not None and self._watched.pop(link.pidfd, None) is not None:
                self._epoll.unregister(link.pidfd)

    def _run(self, epoll: select.epoll) -> None:
        while True:
            for descriptor, _ in epoll.poll():
                self._note_end(epoll, descriptor)

    def _note_end(self, epoll: select.epoll, descriptor: int) -> None:
        # In a function of its own: nothing of the thread's may keep a link while it sleeps.
        with self._mutex:
            link = self._watched.pop(descriptor, None)
            if link is not None:
                epoll.unregister(descriptor)
        if link is not None:
            link.gone()

    def after_fork(self) -> None:
        """In the child: the workers are the parent's."""
        self._mutex = threading.Lock()
        self._epoll, self._watched = None, {}


monitor = _Monitor()
os.register_at_fork(after_in_child=monitor.after_fork)
