"""Would catch: a long build that nobody is told of, a short one that is, a line that stays or never comes."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from midflight.build import progress as builds
from midflight.cli import progress


class _Notice(io.StringIO):
    """A terminal that tells when something is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        if "building" in self.getvalue():
            self.written.set()
        return count


def _console(*, terminal: bool) -> tuple[Console, _Notice]:
    screen = _Notice()
    return Console(file=screen, force_terminal=terminal, width=80, color_system=None), screen


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_build_is_shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    console, screen = _console(terminal=terminal)
    with progress.spinner(console), builds.building("big.cpp"):
        assert screen.written.wait(30)
    assert "building big.cpp" in screen.getvalue()


def test_a_short_build_is_not_shown() -> None:
    console, screen = _console(terminal=True)
    with progress.spinner(console):
        for _ in range(3):
            with builds.building("small.c"):
                pass
    assert screen.getvalue() == ""


def test_lines_never_move_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    console, screen = _console(terminal=True)
    with progress.lines(console), builds.building("big.cpp"):
        assert screen.written.wait(30)
    assert screen.getvalue().count("\n") == 1
    assert "\x1b" not in screen.getvalue()


def test_nothing_is_shown_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    console, screen = _console(terminal=False)
    with progress.spinner(console):
        pass
    with builds.building("later.c"):
        pass
    assert screen.getvalue() == ""
    assert not [thread for thread in set(threading.enumerate()) - before if isinstance(thread, threading.Timer)]
