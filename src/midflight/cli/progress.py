"""Shows that a compiler is at work, if it is for longer than a second.

Guarantees: listeners are called in the building threads; nothing is shown for shorter builds, and nothing stays.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from midflight.build import progress
from midflight.cli.console import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

PATIENCE: Final = 1.0
"""Seconds after which a build is worth telling."""


@contextlib.contextmanager
def spinner(console: Console) -> Iterator[None]:
    """Turn a spinner while a build goes on; where the console is no terminal, print one line for it instead."""
    status = console.status("", spinner_style="cyan")

    def begin(display: str) -> None:
        if console.is_terminal:
            status.update(f"building {display}")
            status.start()
        else:
            say(console, "news", f"building {display}")

    with _told(begin, status.stop):
        yield


@contextlib.contextmanager
def lines(console: Console) -> Iterator[None]:
    """Print one line for each long build, for when the terminal is somebody else's too."""
    with _told(lambda display: say(console, "news", f"building {display}"), lambda: None):
        yield


@contextlib.contextmanager
def _told(begin: Callable[[str], None], end: Callable[[], None]) -> Iterator[None]:
    """Call ``begin`` when a build has lasted for a second, and ``end`` when none such is left."""
    lock = threading.Lock()
    waiting: dict[int, threading.Timer] = {}
    shown: set[int] = set()

    def show(event: progress.Started) -> None:
        with lock:
            if waiting.pop(event.number, None) is not None:
                shown.add(event.number)
                begin(event.display)

    def listener(event: progress.Event) -> None:
        if isinstance(event, progress.Started):
            timer = threading.Timer(PATIENCE, show, [event])
            timer.daemon = True
            with lock:
                waiting[event.number] = timer
            timer.start()
            return
        with lock:
            if event.number in waiting:
                waiting.pop(event.number).cancel()
            if event.number in shown:
                shown.remove(event.number)
                if not shown:
                    end()

    stop = progress.listen(listener)
    try:
        yield
    finally:
        stop()
        with lock:
            for timer in waiting.values():
                timer.cancel()
            waiting.clear()
            if shown:
                end()
