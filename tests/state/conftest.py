"""Compiles small sources, and plans what becomes of their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midflight.artifact.dwarf import reader as dwarf
from midflight.state.layout import Layouts
from tests.artifact.conftest import compile_library
from tests.lanes import load, pytest_configure, pytest_generate_tests

if TYPE_CHECKING:
    from midflight.artifact.interface import Interface
    from midflight.state.layout import Migration
    from midflight.state.renames import Renames

__all__ = ["Pair", "compile_library", "load", "pair", "pytest_configure", "pytest_generate_tests"]


class Pair:
    """Two versions of one source."""

    def __init__(self, old: Interface, new: Interface) -> None:
        self.old = old
        self.new = new

    def migration(self, name: str, renames: Renames | None = None) -> Migration:
        """Return what becomes of the variable of a name."""
        layouts = Layouts(self.old, self.new, *([renames] if renames else []))
        return layouts.migration(type_of(self.old, name), type_of(self.new, name))


def type_of(interface: Interface, name: str) -> int:
    """Return the type of a variable."""
    return next(one.type for one in interface.variables if one.name == name)


@pytest.fixture(scope="session")
def pair(compile_library):
    """Return a function that compiles two versions and reads their interfaces."""

    def make(old: str, new: str, compiler: str = "gcc", flags: tuple[str, ...] = ()) -> Pair:
        read = [dwarf.read(compile_library(text, "-w", *flags, compiler=compiler)) for text in (old, new)]
        return Pair(*read)

    return make
