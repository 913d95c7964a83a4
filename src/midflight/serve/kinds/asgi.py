"""An ASGI application, served by uvicorn.

uvicorn's own shutdown closes every connection without a request in the same turn of the loop, also one whose request
is on its way: the client sees a reset.  Here only the listening sockets are closed at first; then each answer says
``Connection: close``, and a connection that stays silent is closed after the same time as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any

from midflight._errors import TargetError

try:
    import uvicorn
except ModuleNotFoundError as _error:
    raise TargetError(
        "an ASGI application needs uvicorn, which isn't installed", todo="pip install 'midflight[serve]'"
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
    from socket import socket

    from midflight.serve.lifecycle import Lifecycle

_STEP_SECONDS = 0.05
_CLOSE = (b"connection", b"close")


class _Closing:
    """The application, whose answers end their connection while the worker stops."""

    def __init__(self, application: Callable[..., Awaitable[None]], lifecycle: Lifecycle) -> None:
        self._application = application
        self._lifecycle = lifecycle

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        async def send_closing(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and self._lifecycle.stopping.is_set():
                others = [header for header in message.get("headers", ()) if bytes(header[0]).lower() != _CLOSE[0]]
                message = {**message, "headers": [*others, _CLOSE]}
            await send(message)

        await self._application(scope, receive, send_closing if scope["type"] == "http" else send)


class _Server(uvicorn.Server):
    """uvicorn's server, started and stopped by a lifecycle."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the worker."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._lifecycle.ready()

    async def main_loop(self) -> None:
        stop = asyncio.create_task(self._stop())
        await super().main_loop()
        stop.cancel()

    async def _stop(self) -> None:
        await self._lifecycle.stopping
        self.should_exit = True

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._lifecycle.drain_timeout
        for server in self.servers:
            server.close()
        connections = self.server_state.connections
        for connection in [one for one in connections if not hasattr(one, "cycle")]:
            connection.shutdown()  # a WebSocket is told at once
        silent = min(end, loop.time() + self._lifecycle.keep_alive)
        # At least once: asyncio may have accepted connections that aren't among these yet.
        await asyncio.sleep(_STEP_SECONDS)
        while connections and loop.time() < silent:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_STEP_SECONDS)
        # A second less than the supervisor waits, so that the application's own shutdown still runs.
        self.config.timeout_graceful_shutdown = max(0, math.floor(end - loop.time() - 1))
        await super().shutdown(sockets)


def run(application: Callable[..., Any], listeners: Sequence[socket], lifecycle: Lifecycle) -> None:
    """Serve it."""
    config = uvicorn.Config(
        _Closing(application, lifecycle),
        interface="asgi3",
        backlog=lifecycle.backlog,
        timeout_keep_alive=max(1, math.ceil(lifecycle.keep_alive)),
        access_log=False,
    )
    _Server(config, lifecycle).run(sockets=list(listeners))
