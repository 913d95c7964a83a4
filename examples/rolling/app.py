"""A server of its own: asyncio, connections that stay open, and an end at which no request is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

    from midflight.serve import Lifecycle

VERSION = "version 1"


async def main(listeners: Sequence[socket], lifecycle: Lifecycle) -> None:
    """Serve until told to stop, then finish what is under way."""
    async with asyncio.TaskGroup() as under_way:
        lifecycle.ready()
        async for connection, _ in lifecycle.aconnections(listeners):
            under_way.create_task(serve(connection, lifecycle))


async def serve(connection: socket, lifecycle: Lifecycle) -> None:
    """Answer the requests of one connection."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        while True:
            # A connection that is silent is closed after the same time as ever, not because of a restart.
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), lifecycle.keep_alive)
            # While stopping, the answer says that it is the last: the client doesn't ask again on this connection.
            last = lifecycle.stopping.is_set()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s"
                % (len(VERSION), b"close" if last else b"keep-alive", VERSION.encode())
            )
            await writer.drain()
            if last:
                return
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        pass  # the client has gone, or is silent
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
