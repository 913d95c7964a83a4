"""`midflight offer`: a module for other programs, over a socket, until the process is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import midflight
from midflight import _events
from midflight._errors import SourceError
from midflight._offer import offer as start
from midflight.cli import loading, progress
from midflight.cli.console import err, out, say_refused, say_swapped

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

    from rich.console import Console

    from midflight.cli.loading import Options

TOKEN = "MIDFLIGHT_TOKEN"  # noqa: S105 - the variable's name


def offer(source: str, options: Options, at: str, *, allow_swap: bool, watch: bool, token_file: str | None) -> None:
    """Load SOURCE and offer it.  Says so on standard output when clients can connect."""
    console = err()
    token = _token(token_file)
    ended = _on_end()
    module = loading.load(source, options, console)
    with contextlib.ExitStack() as stack:
        stack.enter_context(progress.lines(console))
        stack.callback(_events.subscribe(_told(console, module)))
        offered = stack.enter_context(start(module, at, token=token, allow_swap=allow_swap))
        if watch:
            stack.enter_context(midflight.watch(module))
        out().print(f"{module.__name__} is offered at {offered.address}")
        ended.wait()


def _token(path: str | None) -> str | None:
    """Return the secret: from a file, or from the environment, where other users' eyes don't get."""
    if path is None:
        return os.environ.get(TOKEN)
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        todo = "give a text file that this user may read"
        raise SourceError(f"the token can't be read ({error})", subject=path, todo=todo) from None


def _on_end() -> threading.Event:
    """Return an event that the signals to end set."""
    ended = threading.Event()

    def end(_signum: int, _frame: FrameType | None) -> None:
        ended.set()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, end)
    return ended


def _told(console: Console, module: ModuleType) -> Callable[[_events.Event], None]:
    def tell(event: _events.Event) -> None:
        match event:
            case _events.Swapped(module=found, report=report) if found is module and report.changed:
                say_swapped(console, report)
            case _events.Refused(module=found, name=name, error=error) if found is module:
                say_refused(console, name, error)

    return tell
