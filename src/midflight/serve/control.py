"""The control socket: how a command asks the supervisor for something.

Guarantees:
- Only this user (and root) is answered: by the socket file's rights, and by whom the kernel says is at the other end.
- What is sent is bounded in length, time and number, and is one of a few known words; all else is answered with an
  error, and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from midflight._unix import is_ours
from midflight.serve.messages import Reply, Request, decode, encode

if TYPE_CHECKING:
    from midflight.serve.addresses import Listener
    from midflight.serve.supervisor import Supervisor

_LONGEST = 4096
_PATIENCE = 5.0
_CLIENTS = 16


class Control:
    """Answers commands for a supervisor."""

    def __init__(self, supervisor: Supervisor, listener: Listener) -> None:
        self._supervisor = supervisor
        self.listener = listener
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer from now on."""
        # A duplicate, because the server closes its own when it ends.
        self._server = await asyncio.start_unix_server(self._serve, sock=self.listener.socket.dup(), limit=_LONGEST)

    def close(self) -> None:
        """Answer no more, and take the socket's file away."""
        if self._server is not None:
            self._server.close()
        self.listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            with contextlib.suppress(OSError):  # the other end is gone
                await self._answer(reader, writer)
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not is_ours(writer.get_extra_info("socket")):
            return
        if self._clients > _CLIENTS:
            reply = Reply(error="too many commands at once")
        else:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), _PATIENCE)
                request = decode(line, Request)
            except asyncio.LimitOverrunError:
                reply = Reply(error="the request is too long")
            except (asyncio.IncompleteReadError, TimeoutError):
                reply = Reply(error="no whole request came")
            except msgspec.MsgspecError as error:
                reply = Reply(error=f"the request can't be understood: {error}")
            except UnicodeDecodeError:
                reply = Reply(error="the request is no text")
            else:
                reply = await self._do(request)
        await _send(writer, reply)

    async def _do(self, request: Request) -> Reply:
        match request.ask:
            case "status":
                return Reply(status=self._supervisor.status())
            case "restart":
                return Reply(outcome=await asyncio.shield(self._supervisor.ask_restart()))
            case "settled":
                return Reply(outcome=await self._supervisor.settled(), status=self._supervisor.status())
            case "upgrade":
                return Reply(outcome=await self._supervisor.upgrade())
            case "stop":
                self._supervisor.ask_stop()
                return Reply(accepted=True)
            case _:
                return Reply(error="the request is none that is known")


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(encode(reply) + b"\n")
    with contextlib.suppress(OSError):
        await asyncio.wait_for(writer.drain(), _PATIENCE)
