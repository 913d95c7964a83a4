"""How a command talks with a supervisor that runs."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import platformdirs

from midflight import _ownership
from midflight._errors import ControlError, IntegrityError, RestartRefusedError
from midflight._unix import is_ours, short_path
from midflight.serve.messages import Reply, Request, decode, encode

if TYPE_CHECKING:
    from midflight.serve.messages import Outcome, Refusal

_GREATEST = 1 << 20


def default_control(directory: str) -> str:
    """Return where the control socket is of what is served from ``directory``.  Raises `ControlError`."""
    base = Path(platformdirs.user_runtime_dir()) if _usable_runtime() else Path(platformdirs.user_cache_dir())
    place = base / "midflight"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = _ownership.own_directory(_ownership.real_place(base) / "midflight")
    except OSError as error:
        raise ControlError(f"can't be made: {error.strerror}", subject=str(place), todo="say --control") from None
    except IntegrityError as error:
        raise ControlError(error.what, subject=error.subject, todo="remove it, or say --control") from None
    return str(place / f"serve-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}.sock")


def _usable_runtime() -> bool:
    return os.environ.get("XDG_RUNTIME_DIR", "").startswith("/")


def ask(control: str, what: str, timeout: float | None = None) -> Reply | None:
    """Ask the supervisor; return its answer, None if it ended the connection without one.  Raises `ControlError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout)
        try:
            with short_path(control) as reachable:
                channel.connect(reachable)
            if os.geteuid() != 0 and not is_ours(channel):  # root may look after anybody's
                what = "another user's program listens there"
                raise ControlError(what, subject=control, todo="find out who put the socket there, then remove it")
            channel.sendall(encode(Request(what)) + b"\n")
        except OSError as error:
            raise ControlError(
                f"no supervisor can be reached: {error.strerror or error}",
                subject=control,
                todo="ask in the directory that is served, or say --control as there",
            ) from None
        data = b""
        try:
            while not data.endswith(b"\n") and len(data) < _GREATEST and (more := channel.recv(65536)):
                data += more
        except TimeoutError:
            raise ControlError(
                "the supervisor doesn't answer", subject=control, todo="see what it is doing, and ask again"
            ) from None
        except ConnectionError:
            data = b""
    if not data:
        return None
    try:
        reply = decode(data, Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ControlError("what answers is no supervisor", subject=control, todo="check --control") from None
    if reply.error:
        raise ControlError(reply.error, subject=control)
    return reply


def restart(control: str) -> Outcome:
    """Restart, and return how it ended.  Raises `RestartRefusedError`."""
    return _outcome(ask(control, "restart"), control)


def upgrade(control: str) -> Outcome:
    """Replace the supervisor's interpreter, and all workers.  Raises `RestartRefusedError`."""
    reply = ask(control, "upgrade")
    # The one that is replaced can't answer; the one after it takes the question from the same queue.
    return _outcome(reply if reply is not None else ask(control, "settled"), control)


def _outcome(reply: Reply | None, control: str) -> Outcome:
    if reply is None or reply.outcome is None:
        raise ControlError("the supervisor ended meanwhile", subject=control)
    if reply.outcome.refusal is not None:
        raise _error(reply.outcome.refusal)
    return reply.outcome


def _error(refusal: Refusal) -> RestartRefusedError:
    return RestartRefusedError(
        refusal.what,
        words=refusal.words,
        subject=refusal.subject,
        unchanged=refusal.unchanged,
        todo=refusal.todo,
        stage=refusal.stage,
    )
