"""A program's directory in which a refusal is provoked, and what provokes the usual ones."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import midflight

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALC = "int n; int poke(void) { return ++n; } int add(int a, int b) { return a + b; }"


class Case:
    """One test's directory, and the module that runs in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.module = midflight.load(self.write("calc.c", CALC))
        self.module.poke()

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file."""
        path = self.root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def library(self, text: str, *flags: str) -> Path:
        """Compile a library, as somebody else's build would."""
        source, made = self.write("new-source.c", text), self.root / "new.so"
        subprocess.run(["cc", "-g", "-fPIC", "-shared", "-o", made, source, *flags], check=True)
        return made

    def swap(self, text: str, **options: object) -> None:
        """Swap to another source."""
        midflight.swap(self.module, self.write("new.c", text), **options)


def load(name: str, **options: object) -> Callable[[Case], object]:
    """Return what loads a file."""
    return lambda _case: midflight.load(name, **options)


def read(text: str | bytes, name: str = "new.so") -> Callable[[Case], object]:
    """Return what writes a file and loads it."""
    return lambda case: midflight.load(case.write(name, text).name)


def built(text: str, *flags: str, **options: object) -> Callable[[Case], object]:
    """Return what compiles a library and loads it."""
    return lambda case: midflight.load(case.library(text, *flags).name, **options)


def swap(text: str, **options: object) -> Callable[[Case], object]:
    """Return what swaps to another source."""
    return lambda case: case.swap(text, **options)
