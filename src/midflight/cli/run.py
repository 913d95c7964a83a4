"""`midflight run`: runs a program and swaps every module that it loads when its files change."""

from __future__ import annotations

import atexit
import contextlib
from typing import TYPE_CHECKING

import midflight
from midflight import _crashes, _events
from midflight.cli import program, progress
from midflight.cli.console import err, say_error, say_refused, say_swapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from rich.console import Console


class Follower:
    """Watches what is loaded, and prints one line for each swap and each refusal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: _events.Event) -> None:
        """Take notice of an event."""
        match event:
            case _events.Loaded(module=module):
                self._watch(module)
            case _events.Swapped(report=report) if report.changed:
                say_swapped(self._console, report)
            case _events.Refused(name=name, error=error):
                say_refused(self._console, name, error)

    def _watch(self, module: ModuleType) -> None:
        try:
            midflight.watch(module)
        except midflight.MidflightError as error:
            say_error(self._console, error)


def run(target: str, arguments: Sequence[str], *, as_module: bool) -> None:
    """Run the program; what it does and how it ends is its own affair."""
    console = err()
    _crashes.raise_by_default()
    shown = contextlib.ExitStack()
    shown.enter_context(progress.lines(console))
    shown.callback(_events.subscribe(Follower(console)))
    # Not when the program's main module has ended: its threads may go on, and are waited for before this is called.
    atexit.register(shown.close)
    if as_module:
        program.run_module(target, arguments)
    else:
        program.run_script(target, arguments)
