"""Compilers for the tests of what is read from a library; each source is compiled once for the whole session."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from midflight.artifact.dwarf import reader as dwarf

if TYPE_CHECKING:
    from pathlib import Path

    from midflight.artifact.interface import Interface

COMMANDS = {
    "gcc": ("c", ["gcc", "-g", "-fPIC", "-shared"]),
    "g++": ("cc", ["g++", "-g", "-fPIC", "-shared"]),
    "clang": ("c", [sys.executable, "-m", "ziglang", "cc", "-g", "-fPIC", "-shared", "-fno-sanitize=undefined"]),
    "clang++": ("cc", [sys.executable, "-m", "ziglang", "c++", "-g", "-fPIC", "-shared", "-fno-sanitize=undefined"]),
    "rustc": ("rs", ["rustc", "-g", "--crate-type", "cdylib", "-A", "warnings"]),
    "zig": ("zig", [sys.executable, "-m", "ziglang", "build-lib", "-dynamic", "-fPIC"]),
}


class Compilers:
    """Compiles small sources into shared objects."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._build = functools.cache(self._compile)

    def __call__(self, text: str, *flags: str, compiler: str = "gcc", name: str = "lib") -> bytes:
        """Return a library's bytes."""
        return self._build(text, flags, compiler, name)

    def _compile(self, text: str, flags: tuple[str, ...], compiler: str, name: str) -> bytes:
        suffix, command = COMMANDS[compiler]
        key = hashlib.sha256(repr((text, flags, compiler, name)).encode()).hexdigest()[:16]
        directory = self._directory / key
        directory.mkdir(exist_ok=True)
        source = directory / f"{name}.{suffix}"
        source.write_text(text)
        output = directory / "out.so"
        target = [f"-femit-bin={output}"] if compiler == "zig" else ["-o", str(output)]
        subprocess.run([*command, *target, source.name, *flags], check=True, cwd=directory, capture_output=True)
        return output.read_bytes()


@pytest.fixture(scope="session")
def compile_library(tmp_path_factory: pytest.TempPathFactory) -> Compilers:
    """Return a function that compiles text into a library's bytes."""
    return Compilers(tmp_path_factory.mktemp("libraries"))


@pytest.fixture(scope="session")
def read_library(compile_library: Compilers):
    """Return a function that compiles text and reads its interface."""

    def read(text: str, *flags: str, compiler: str = "gcc", name: str = "lib") -> Interface:
        return dwarf.read(compile_library(text, *flags, compiler=compiler, name=name))

    return read
