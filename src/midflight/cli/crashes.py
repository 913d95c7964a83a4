"""`midflight crashes`: what programs remember of versions that have ended them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from midflight.records import history, places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console


def _directories() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(path for path in places.base().iterdir() if path.is_dir() and not path.is_symlink())


def show(console: Console, *, clear: bool) -> None:
    """Print the crashes of each program, the latest last; with ``clear``, forget them then."""
    found = False
    for directory in _directories():
        with contextlib.suppress(OSError), history.changing(directory) as remembered:
            history.take_in(directory, remembered)
            found = _show_program(console, remembered) or found
            if clear:
                remembered.crashes = []
                for past in remembered.modules.values():
                    past.rows = {}
    if not found:
        console.print("no version has crashed a program")
    elif clear:
        console.print("forgotten: each version may be loaded again")


def _show_program(console: Console, remembered: history.History) -> bool:
    if remembered.crashes:
        console.print(_plain(remembered.program), style="bold")
    for crash in remembered.crashes:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(crash.at))
        name = crash.module.partition("\n")[0]
        console.print(f"  {when}  {_plain(name)} version {crash.version} ({crash.sha256[:12]}): {crash.said}")
        for frame in crash.backtrace:
            console.print(f"    {_plain(frame)}")
    return bool(remembered.crashes)


def _plain(text: str) -> str:
    """Return text without what a terminal would act on."""
    return "".join(character if character.isprintable() else "?" for character in text)
