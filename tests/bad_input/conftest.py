"""Watches what a refusal leaves behind: files, descriptors, mappings."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight._directory import private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

GOOD = "int answer(int n) {{ return {number} + n; }}"


@dataclass(frozen=True)
class Footprint:
    """What of ours is in the process and in its private directory."""

    files: frozenset[str]
    descriptors: int
    mappings: frozenset[str]

    def holds(self, other: Footprint) -> bool:
        """Whether nothing has come to it (modules of earlier tests may be leaving meanwhile)."""
        return other.files <= self.files and other.descriptors <= self.descriptors and other.mappings <= self.mappings

    @staticmethod
    def now() -> Footprint:
        """Look."""
        gc.collect()
        directory = private._path
        ours = "memfd:midflight" if directory is None else str(directory)
        lines = Path("/proc/self/maps").read_text().splitlines()
        return Footprint(
            frozenset() if directory is None else frozenset(str(path) for path in directory.rglob("*")),
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - iterating would hold a descriptor of its own
            frozenset(line.split(maxsplit=5)[5] for line in lines if ours in line or "memfd:midflight" in line),
        )


@pytest.fixture
def good(workshop) -> Callable[[int], Path]:
    """Make a library whose answer(n) is a number more than n."""
    return lambda number: workshop.library(f"good{number}", GOOD.format(number=number))


@pytest.fixture
def running(good) -> ModuleType:
    """A module that is in use."""
    return midflight.load(good(100), name="running")


@pytest.fixture
def refused(running):
    """Check a refusal: one error with its words, the current version still answers, and nothing is left behind."""

    @contextmanager
    def expect(error: type[Exception], *words: str, builtin: type[Exception] = Exception) -> Iterator[None]:
        before = Footprint.now()
        with pytest.raises(error) as caught:
            yield
        found = caught.value
        assert type(found) is error
        assert isinstance(found, midflight.MidflightError)
        assert isinstance(found, builtin)
        for word in words:
            assert word in str(found)
        assert found.what
        del caught, found
        assert running.answer(1) == 101
        after = Footprint.now()
        assert before.holds(after), (before, after)

    return expect


@pytest.fixture(autouse=True)
def _alone(alone: None) -> None:
    """Every test here counts files, descriptors or mappings."""
