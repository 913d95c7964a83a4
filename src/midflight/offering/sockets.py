"""The socket that a module is offered at.

Guarantees:
- A Unix socket can be connected to by its owner only (mode 0600), from the first moment that anybody can connect.
- Only a socket that nobody listens at is replaced; a live one, and anything that is no socket, is left alone.
- What is removed at the end is the socket that was made, never one that has taken its place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import logging
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.lanes.remote.address import Address

_log = logging.getLogger("midflight")
_BACKLOG = 128
_ELSEWHERE = "choose an address that is free, and that this user may use"


@dataclass(slots=True)
class Listener:
    """A socket that listens; ``text``: its address, with the port that the system chose."""

    sock: socket.socket
    text: str
    path: Path | None = None
    identity: tuple[int, int] = (0, 0)
    owner: int = 0

    def close(self) -> None:
        """Close it, and remove its file if that is still ours."""
        self.sock.close()
        if self.path is None or self.owner != os.getpid():
            return
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.identity:
                self.path.unlink()


def listen(address: Address, *, token: bool) -> Listener:
    """Listen at an address.  Raises `SourceError` with the reason where that can't be."""
    return _listen_unix(address) if address.path else _listen_tcp(address, token=token)


def _listen_tcp(address: Address, *, token: bool) -> Listener:
    sock = address.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise SourceError(
            f"it can't be listened at ({error.strerror or error})", subject=address.text, todo=_ELSEWHERE
        ) from None
    host, port = sock.getsockname()[:2]
    if not token and not _is_loopback(host):
        _log.warning("%s is offered to every machine that reaches %s, without a token", address.text, host)
    shown = f"[{host}]" if ":" in host else host
    return Listener(sock, f"tcp:{shown}:{port}")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _listen_unix(address: Address) -> Listener:
    path = Path(address.path)
    try:
        with _directory(path.parent, address.text) as directory:
            _make_way(path, address)
            return _bind(path, directory, address)
    except OSError as error:
        raise SourceError(
            f"it can't be listened at ({error.strerror or error})", subject=address.text, todo=_ELSEWHERE
        ) from None


@contextlib.contextmanager
def _directory(path: Path, text: str) -> Iterator[int]:
    """Open the socket's directory and keep other servers from using it meanwhile; refuse one that isn't safe."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        what = f"its directory can't be used ({error.strerror})"
        raise SourceError(what, subject=text, todo=f"make the directory {path}") from None
    try:
        found = os.fstat(directory)
        if found.st_uid not in {0, os.geteuid()}:
            what = f"its directory belongs to another user (number {found.st_uid}), who could replace the socket"
            raise SourceError(what, subject=text, todo="use a directory of your own")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
            what = "others may write to its directory and could replace the socket"
            raise SourceError(what, subject=text, todo=f"chmod go-w {path}, or use a directory of your own")
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(directory)


def _make_way(path: Path, address: Address) -> None:
    """Refuse what is in the way, unless it is a socket that nobody listens at."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        what = "there is a file of that name, which is no socket"
        raise SourceError(what, subject=address.text, todo="choose another path, or remove the file")
    with address.socket() as probe:
        probe.setblocking(False)
        problem = probe.connect_ex(address.path)
    if problem not in {errno.ECONNREFUSED, errno.ENOENT}:
        what = "somebody listens there already"
        raise SourceError(what, subject=address.text, todo="stop that one, or choose another path")


def _bind(path: Path, directory: int, address: Address) -> Listener:
    """Make the socket beside its place, and put it there when it is ready."""
    # By the open directory, because a path of the longest length leaves no room for another name.
    beside = f"/proc/self/fd/{directory}/.{secrets.token_hex(8)}"
    sock = address.socket()
    try:
        sock.bind(beside)
        try:
            os.chmod(beside, 0o600)  # noqa: PTH101 - a name within an open directory
            sock.listen(_BACKLOG)
            found = os.lstat(beside)
            os.rename(beside, path.name, dst_dir_fd=directory)
        except BaseException:
            os.unlink(beside)  # noqa: PTH108 - the same
            raise
    except BaseException:
        sock.close()
        raise
    return Listener(sock, address.text, path, (found.st_dev, found.st_ino), os.getpid())
