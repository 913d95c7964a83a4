"""Versions of one library that differ in what is wrong with them."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from midflight import _observing
from midflight._control import control_of
from midflight._samples import slots_of
from tests.core.conftest import library
from tests.lanes import load, pytest_configure, pytest_generate_tests

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from tests.conftest import Workshop

__all__ = ["library", "load", "pytest_configure", "pytest_generate_tests"]

SOURCE = """
#include <stdexcept>
#include <unistd.h>
#ifndef WRONG
#define WRONG(x)
#endif
extern "C" {
int whoami(void) { return VERSION; }
/* What a version does wrong, it does here. */
int work(int x) { WRONG(x); return x + 1; }
int other(int x) { return x + 2; }
int call(int (*function)(int), int x) { return function(x); }
int fail(int x) { if (x) throw std::runtime_error("it failed"); return 0; }
/* Until the page that everybody shares says so. */
int wait(volatile int *page) { page[0] = 1; while (!page[1]) usleep(100); return VERSION; }
}
"""


@dataclass
class Made:
    """Makes versions."""

    workshop: Workshop
    number: int = 0

    def __call__(self, wrong: str = "") -> Path:
        """Return a library; ``wrong``: statements that ``work(x)`` runs first."""
        self.number += 1
        head = f"#define VERSION {self.number}\n#define WRONG(x) {wrong}\n"
        return self.workshop.library(f"v{self.number}", head + SOURCE, suffix=".cc")


@pytest.fixture
def make(workshop: Workshop) -> Made:
    """Make versions of a library."""
    return Made(workshop)


@pytest.fixture
def page():
    """Two ints in memory that workers of ours have too, as soon as they are passed."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    return (ctypes.c_int * 2).from_buffer(memory)


def observer_of(module: ModuleType):
    """Let the current version be observed."""
    control = control_of(module)
    return _observing.begin(control, control.need_current())


def figures(module: ModuleType, name: str) -> tuple[int, int, int]:
    """Return (calls, errors, crashes) of a function of the current version."""
    control = control_of(module)
    generation = control.need_current()
    assert generation.observer is not None
    found = generation.observer.figures()
    rows = [found[slot][:3] for slot in slots_of(control, generation)[name] if slot in found]
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0, 0, 0)  # type: ignore[return-value]
