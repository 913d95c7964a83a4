"""How a supervisor is replaced by a new interpreter, with all its sockets and workers.

The new one takes over the process by `execve`: the process number stays (service managers need that), the workers stay
its children, and every descriptor goes on existing.  Whether it can is tried out before, in a process of its own, by
the same command: from `execve` on there is no way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import msgspec

from midflight._errors import RestartRefusedError, ServeError
from midflight._sealed import sealed
from midflight.serve.messages import FORMAT, Handover, decode, encode
from midflight.serve.process import Words

if TYPE_CHECKING:
    from collections.abc import Iterable

HANDOVER = "MIDFLIGHT_SERVE_HANDOVER"
PROBE = "MIDFLIGHT_SERVE_PROBE"
_GREATEST = 16 << 20
_ANEW = "end the supervisor and start it anew"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


def pack(handover: Handover) -> int:
    """Return the descriptor of a file in memory that says all."""
    return sealed("midflight-handover", encode(handover))


def received() -> Handover | None:
    """Return what a predecessor left, None if there is none.  Raises `ServeError` if it can't be understood."""
    text = os.environ.pop(HANDOVER, "")
    if not text:
        return None
    try:
        descriptor = int(text)
        handover = decode(os.pread(descriptor, _GREATEST, 0), Handover)
        os.close(descriptor)
    except (ValueError, OSError, msgspec.MsgspecError) as error:
        what = f"what the supervisor before handed over can't be read: {error}"
        raise ServeError(what, todo=_ANEW) from None
    if handover.format != FORMAT:
        what = f"the supervisor before handed over in format {handover.format}, this one reads {FORMAT}"
        raise ServeError(what, todo=_ANEW)
    return handover


def is_probe() -> bool:
    """Tell whether this process only tries out whether it could take over."""
    return os.environ.get(PROBE) == "1"


def command() -> list[str]:
    """Return the command that this process was started by."""
    return [sys.executable, *sys.orig_argv[1:]]


async def probe(descriptor: int, seconds: float) -> None:
    """Try out the new interpreter.  Raises `RestartRefusedError`."""
    words = Words()
    try:
        process = await asyncio.create_subprocess_exec(
            *command(),
            env={**os.environ, HANDOVER: str(descriptor), PROBE: "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(descriptor,),
        )
    except OSError as error:
        raise _refused(f"the new interpreter can't be started: {error.strerror}", words) from None
    try:
        _, written = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise _refused(f"the new interpreter wasn't ready within {seconds:g} s", words) from None
    words.add(written)
    if process.returncode != 0:
        raise _refused(f"the new interpreter ended with exit code {process.returncode}", words)


def _refused(what: str, words: Words) -> RestartRefusedError:
    return RestartRefusedError(
        what,
        words=words.lines(),
        stage="upgrade",
        unchanged="the supervisor and its workers go on",
        todo="mend what its last lines say, then ask again",
    )


def take_over(descriptor: int, kept: Iterable[int], directory: str) -> None:
    """Become the new interpreter; come back only with an `RestartRefusedError`."""
    descriptors = (descriptor, *kept)
    for one in descriptors:
        os.set_inheritable(one, True)
    # Until the successor has its handlers a signal would end the process; blocked, it waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with contextlib.suppress(OSError):
        os.chdir(directory)
    try:
        os.execve(sys.executable, command(), {**os.environ, HANDOVER: str(descriptor)})  # noqa: S606 - no shell is wanted
    except OSError as error:
        for one in descriptors:
            os.set_inheritable(one, False)
        release_signals()
        raise _refused(f"the new interpreter can't be started: {error.strerror}", Words()) from None


def release_signals() -> None:
    """Let signals in that came while a successor took over."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
