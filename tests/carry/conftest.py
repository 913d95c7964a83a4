"""Libraries with data of their own, compiled for real, and what a test asks of them."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight._control import control_of
from midflight._lane import data_of, heap_of
from midflight.artifact.layout import size_of
from tests.lanes import load, pytest_configure, pytest_generate_tests

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["load", "pytest_configure", "pytest_generate_tests"]

INCLUDE = str(Path(midflight.__file__).parent / "include")
_COMPILERS = {".c": ("cc", "-std=gnu11"), ".cc": ("c++", "-std=c++17")}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile a source as somebody else's build would, once for all tests of the same text."""
    root = tmp_path_factory.mktemp("carried")

    def compile_(text: str, *flags: str, suffix: str = ".c", name: str = "data") -> Path:
        key = hashlib.sha256(repr((text, flags, suffix)).encode()).hexdigest()[:16]
        output = root / f"{name}_{key}.so"
        if not output.exists():
            source = root / f"{key}" / f"{name}{suffix}"
            source.parent.mkdir(exist_ok=True)
            source.write_text(text)
            command = [*_COMPILERS[suffix], "-g", "-O1", "-fPIC", "-shared", "-pthread", f"-I{INCLUDE}"]
            subprocess.run([*command, "-o", str(output), str(source), *flags], check=True)
        return output

    return compile_


def said(report: midflight.Report) -> dict[str, str]:
    """Return what became of each variable and of the blocks of each type, by name."""
    return {row.name: str(row).removeprefix(f"{row.name}: ") for row in report.state}


def without_addresses(text: str) -> str:
    """Return a message with addresses that differ from run to run left out."""
    return re.sub(r"0x[0-9a-f]+", "0x…", text)


def memory_of(module: ModuleType) -> dict[str, bytes]:
    """Return every byte of a module's data: all its variables that aren't constants, and all its typed blocks."""
    generation = control_of(module).current
    data = data_of(generation.code)
    found = {}
    for one in generation.interface.variables:
        size = size_of(generation.interface.types, one.type)
        if one.address is not None and not one.const and size:
            code = generation.code.variable(one.address, size)
            found[one.key] = code.read()
    assert data is not None
    for address, content in blocks_of(module).items():
        found[f"block at {address:#x}"] = content
    return found


def blocks_of(module: ModuleType) -> dict[int, bytes]:
    """Return the bytes of all of a module's typed blocks, by their addresses."""
    import ctypes

    heap = heap_of(control_of(module).current.code)
    return {} if heap is None else {one[0]: ctypes.string_at(one[0], one[5]) for one in heap.blocks()}


def addresses_of(module: ModuleType) -> dict[str, int]:
    """Return where the current version's variables are, within its library."""
    variables = control_of(module).current.interface.variables
    return {one.name: one.address for one in variables if one.address is not None}
