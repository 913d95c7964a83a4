"""A target that is files and a list of what was swapped, for tests of what starts swaps without any swapping."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight.build import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

WAIT = 20.0
"""Seconds after which a test gives up waiting for what should have happened."""


class FakeTarget:
    """Swapping it reads its files; the texts read are in ``swapped``, in order."""

    name = "fake"

    def __init__(self, *paths: Path) -> None:
        self.alive = True
        self.paths = list(paths)
        self.swapped: queue.Queue[str] = queue.Queue()
        self.seen: dict[Path, str] = {}
        self.on_swap: Callable[[], None] = lambda: None
        self.running = threading.Lock()

    def inputs(self) -> frozenset[Path]:
        return frozenset(self.paths)

    def missing(self) -> frozenset[Path]:
        return frozenset(path for path in self.paths[:1] if not path.exists())

    def changed(self) -> bool:
        return files.differs(self.seen)

    def swap(self) -> None:
        assert self.running.acquire(blocking=False), "two swaps at once"
        try:
            self.seen = {path: files.digest(path) for path in self.paths}
            text = "".join(path.read_text() for path in self.paths if path.exists())
            self.on_swap()
            self.swapped.put(text)
        finally:
            self.running.release()

    def next(self) -> str:
        """Return what the next swap read."""
        return self.swapped.get(timeout=WAIT)

    def none_left(self) -> bool:
        """Whether there was no further swap."""
        return self.swapped.empty()


@pytest.fixture
def make_target() -> Callable[..., FakeTarget]:
    """Return the class of fake targets; each has seen its files as they are."""

    def make(*paths: Path) -> FakeTarget:
        target = FakeTarget(*paths)
        target.seen = {path: files.digest(path) for path in paths}
        return target

    return make


def text(number: int) -> str:
    """Return a source whose number() is ``number``."""
    return f"int number(void) {{ return {number}; }}\n"


@pytest.fixture
def events() -> Iterator[queue.Queue[object]]:
    """What midflight tells its subscribers."""
    told: queue.Queue[object] = queue.Queue()
    stop = midflight.subscribe(told.put)
    yield told
    stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source file."""
    path = tmp_path / "calc.c"
    path.write_text(text(1))
    return path


@pytest.fixture
def module(source: Path) -> ModuleType:
    """The module made from it."""
    return midflight.load(source)
