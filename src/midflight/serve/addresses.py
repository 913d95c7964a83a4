"""The addresses that are listened on, and the socket files that belong to them.

Guarantees:
- A socket file that somebody listens on is never taken away, nor a file that is no socket.
- `remove` takes away only the file that was made here, not another one that has taken its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from midflight import _ownership
from midflight._errors import BindError, IntegrityError
from midflight._unix import short_path
from midflight.serve.messages import Listening, SocketFile

_HOST_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})")
_LAST_PORT = 65535
_FIRST_PASSED = 3
_PASSED = "pass a stream socket, as systemd does"
_SPELLINGS = "write :8000, 127.0.0.1:8000, [::1]:8000, unix:/path or fd:3"


@dataclass(frozen=True)
class Listener:
    """A listening socket, how to write its address, and the file that was made for it."""

    socket: socket.socket
    address: str
    file: SocketFile | None = None

    def close(self) -> None:
        """Close it and take its file away."""
        self.socket.close()
        if self.file is not None:
            remove(self.file)

    def listening(self) -> Listening:
        """Return what a successor needs to take it over."""
        return Listening(self.socket.fileno(), self.address, self.file)


def adopt(listening: Listening) -> Listener:
    """Take over a predecessor's listening socket."""
    return Listener(_from_descriptor(listening.descriptor, listening.address), listening.address, listening.file)


def bind_all(texts: tuple[str, ...], backlog: int) -> list[Listener]:
    """Listen on all addresses; on those that the service manager passed if none is given.  Raises `BindError`."""
    listeners: list[Listener] = []
    try:
        for text in texts or passed() or ("127.0.0.1:8000",):
            listeners.append(bind(text, backlog))  # noqa: PERF401 - those before have to be known when one fails
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def passed() -> tuple[str, ...]:
    """Return the descriptors that the service manager passed to this very process, as addresses."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = os.environ.get("LISTEN_FDS", "")
    if not count.isascii() or not count.isdigit() or len(count) > len("1000"):
        return ()
    return tuple(f"fd:{descriptor}" for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + int(count)))


def bind(text: str, backlog: int) -> Listener:
    """Listen on one address.  Raises `BindError`."""
    if text.startswith("unix:"):
        return _bind_file(text.removeprefix("unix:"), backlog)
    if text.startswith("fd:"):
        number = text.removeprefix("fd:")
        if not number.isascii() or not number.isdigit():
            raise BindError("no descriptor's number", subject=text, todo=_SPELLINGS)
        return _passed_listener(int(number), text, backlog)
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > _LAST_PORT:
        raise BindError("no address to listen on", subject=text, todo=_SPELLINGS)
    return _bind_port(match["six"] or match["host"], int(match["port"]), text, backlog)


def _bind_port(host: str, port: int, text: str, backlog: int) -> Listener:
    try:
        if not host and socket.has_dualstack_ipv6():
            made = socket.create_server(("", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise BindError(f"can't listen: {error.strerror or error}", subject=text, todo=_advice(error)) from None
    made.setblocking(False)
    return Listener(made, spell(made))


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "end the process that listens there, or choose another port"
    if error.errno == errno.EACCES:
        return "choose a port from 1024 on, or let the service manager pass the socket"
    return _SPELLINGS


def _bind_file(path: str, backlog: int, mode: int | None = None) -> Listener:
    if not path.startswith("/"):
        raise BindError(
            "a socket file's path has to be absolute", subject=f"unix:{path}", todo="write unix:/run/x.sock"
        )
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        if mode is not None:
            # Before binding: there is no moment at which the file has other rights.
            os.fchmod(made.fileno(), mode)
        with short_path(path) as reachable:
            made.bind(reachable)
        made.listen(backlog)
        found = os.lstat(path)
    except BindError:
        made.close()
        raise
    except OSError as error:
        made.close()
        raise BindError(f"can't listen: {error.strerror or error}", subject=f"unix:{path}") from None
    made.setblocking(False)
    return Listener(made, f"unix:{path}", SocketFile(path, found.st_dev, found.st_ino, found.st_mtime_ns))


def bind_private(path: str) -> Listener:
    """Listen on a socket file that only this user may open, where nobody can put another.  Raises `BindError`."""
    try:
        _ownership.real_place(Path(path).parent)
    except IntegrityError as error:
        what = f"{error.subject} can't be trusted: {error.what}"
        raise BindError(what, subject=f"unix:{path}", todo=error.todo) from None
    except OSError as error:
        raise BindError(f"can't listen: {error.strerror or error}", subject=f"unix:{path}") from None
    return _bind_file(path, backlog=16, mode=0o600)


def _clear(path: str) -> None:
    """Take away a socket file that nobody listens on."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError("there is a file that is no socket", subject=f"unix:{path}", todo="choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with short_path(path) as reachable:
                probe.connect(reachable)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except OSError:
            pass  # its queue is full, say: somebody listens
    raise BindError("somebody listens there already", subject=f"unix:{path}", todo="end it, or choose another path")


def remove(file: SocketFile) -> None:
    """Take away a socket file that was made here, unless another one has taken its place."""
    with contextlib.suppress(OSError):
        found = os.lstat(file.path)
        if (found.st_dev, found.st_ino, found.st_mtime_ns) == (file.device, file.inode, file.made):
            Path(file.path).unlink()


def _passed_listener(descriptor: int, text: str, backlog: int) -> Listener:
    made = _from_descriptor(descriptor, text)
    if made.type != socket.SOCK_STREAM:
        made.detach()
        raise BindError("the descriptor is no stream socket", subject=text, todo=_PASSED)
    try:
        made.listen(backlog)
    except OSError as error:
        made.detach()
        raise BindError(f"the socket can't listen: {error.strerror}", subject=text, todo=_PASSED) from None
    return Listener(made, spell(made))


def _from_descriptor(descriptor: int, text: str) -> socket.socket:
    try:
        made = socket.socket(fileno=descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BindError(f"the descriptor is no socket: {reason}", subject=text, todo=_PASSED) from None
    made.set_inheritable(False)
    made.setblocking(False)
    return made


def spell(listener: socket.socket) -> str:
    """Return a socket's address as a person writes it."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host, port = name[:2]
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"
