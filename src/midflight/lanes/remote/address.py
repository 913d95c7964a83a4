"""Addresses of sockets: ``unix:/run/x.sock`` and ``tcp:host:port``, for both sides."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass

from midflight._errors import SourceError

_LOOPBACK = "127.0.0.1"
_LONGEST_PATH = 107  # of struct sockaddr_un, without the NUL at its end
_LAST_PORT = 65535
_TCP = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 60_000}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket is.  ``path``: of a Unix socket, else ""; ``host`` and ``port``: of a TCP socket."""

    text: str
    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """An identifier that the address suggests, for a module that has no other name."""
        stem = os.path.basename(self.path).partition(".")[0] or f"port{self.port}"  # noqa: PTH119 - a name, no file
        name = re.sub(r"\W", "_", stem)
        return name if name.isidentifier() else f"_{name}"

    def socket(self) -> socket.socket:
        """Make a socket of the right kind, not connected yet."""
        if self.path:
            return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return socket.socket(family, socket.SOCK_STREAM)

    @property
    def target(self) -> str | tuple[str, int]:
        """What the socket module calls an address."""
        return self.path or (self.host, self.port)


def parse(text: str) -> Address:
    """Read an address.  Raises `SourceError`."""
    todo = "write 'unix:/path/to/socket' or 'tcp:host:port'"
    kind, _, rest = text.partition(":")
    if kind == "unix":
        if not rest or "\0" in rest:
            raise SourceError("an address needs the path of a socket", subject=text, todo=todo)
        path = os.path.abspath(rest)  # noqa: PTH100 - symbolic links stay
        if len(os.fsencode(path)) > _LONGEST_PATH:
            what = f"the path of a socket can have {_LONGEST_PATH} bytes, this one has {len(os.fsencode(path))}"
            raise SourceError(what, subject=text, todo="put the socket nearer to the root")
        return Address(text, path=path)
    if kind == "tcp":
        found = _TCP.fullmatch(rest)
        if found is None or int(found["port"]) > _LAST_PORT:
            raise SourceError("this is no host and port", subject=text, todo=todo)
        return Address(text, host=found["six"] or found["host"] or _LOOPBACK, port=int(found["port"]))
    raise SourceError("this is no address of a socket", subject=text, todo=todo)


def tune(sock: socket.socket) -> None:
    """Let small frames go at once, and a peer whose machine has died be noticed."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
