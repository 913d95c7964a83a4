"""A WSGI application, served by the standard library's handler in threads: one request for each connection.

Without connections that stay open between requests there is none that could be closed at the wrong moment.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight.serve.lifecycle import Lifecycle

_THREADS = 32
_LEFTOVER = 1 << 20

_log = logging.getLogger("midflight")


class _Handler(WSGIRequestHandler):
    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        _log.debug("%s %s", self.address_string(), format % arguments)


class _Server(WSGIServer):
    """What a handler wants to know of its server; binds nothing."""

    def __init__(self, application: Callable[..., Any], listener: socket.socket) -> None:
        name = listener.getsockname()
        self.server_address = name[:2] if isinstance(name, tuple) else ("localhost", 0)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()
        self.base_environ["wsgi.multiprocess"] = True
        self.set_app(application)


def run(application: Callable[..., Any], listeners: Sequence[socket.socket], lifecycle: Lifecycle) -> None:
    """Serve it."""
    servers = {listener.getsockname(): _Server(application, listener) for listener in listeners}
    only = next(iter(servers.values()))
    free = threading.Semaphore(_THREADS)

    class Handler(_Handler):
        timeout = max(1.0, lifecycle.keep_alive)

    def answer(connection: socket.socket, client: tuple[Any, ...]) -> None:
        try:
            with connection, contextlib.suppress(OSError):  # the client is gone, or silent
                server = servers.get(connection.getsockname(), only)
                Handler(connection, client, server)
                _close(connection)
        except Exception:  # noqa: BLE001 - the thread goes on with the next one
            _log.exception("a request failed")
        finally:
            free.release()

    lifecycle.ready()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="request") as pool:
        for connection, address in lifecycle.connections(listeners):
            free.acquire()
            pool.submit(answer, connection, address if isinstance(address, tuple) else ("", 0))


def _close(connection: socket.socket) -> None:
    """Say that nothing more comes, and read what the application left unread.

    A socket that is closed with bytes unread is reset, and the client may lose the answer.
    """
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    left = _LEFTOVER
    while left > 0 and (data := connection.recv(65536)):
        left -= len(data)
