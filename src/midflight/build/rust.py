"""A Rust file, compiled to a cdylib by one call of rustc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight.build import diagnostics, files, makedeps, manifest, process, progress
from midflight.build.base import Attempt, BuiltSource, Given, failure, read_text
from midflight.build.compiler import Compiler, find_compiler
from midflight.build.flags import files_named
from midflight.build.manifest import Built, Found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# The panic strategy is left at its default, unwinding: a panic that leaves an extern "C" function ends the process
# either way, but one that is caught inside the library (catch_unwind) can only be caught when it unwinds.
_FLAGS = ("--crate-type", "cdylib", "-g", "-C", "opt-level=2", "-C", "link-arg=-Wl,-Bsymbolic", "--color", "never")
_EDITION = ("--edition", "2021")
_VARIABLES = ("RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTC_BOOTSTRAP", "LIBRARY_PATH")

_MODULE = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?mod[ \t]+(\w+)[ \t]*;", re.MULTILINE)
_INCLUDE = re.compile(r"\binclude(?:_str|_bytes)?![ \t]*\([ \t]*\"([^\"\n]+)\"")
_MODULE_PATH = re.compile(r"#\[path[ \t]*=[ \t]*\"([^\"\n]+)\"\]")


class RustSource(BuiltSource):
    """A Rust file."""

    def attempt(self, known: Mapping[Path, str]) -> Attempt:
        """Return a new try."""
        (path,) = self.given.paths
        compiler = find_compiler("rust", cwd=path.parent, subject=self.display)
        return _Crate(self.given, self.name, compiler, files.read_stable(path, display=self.display), known)


@dataclass(slots=True)
class _Crate:
    given: Given
    name: str
    compiler: Compiler
    data: bytes
    known: Mapping[Path, str]
    seen: dict[Path, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.given.paths[0]

    @property
    def cwd(self) -> Path:
        return self.given.cwd if self.given.flags else self.path.parent

    def run(self) -> Found:
        own = {self.path: files.sha256(self.data)}
        own |= {path: files.current(path) for path in files_named(self.given.flags, self.cwd)}
        key = manifest.key(
            "rust",
            self.compiler.identity,
            self._flags(),
            str(self.cwd),
            [os.environ.get(name) for name in _VARIABLES],
            [(str(path), digest) for path, digest in own.items()],
        )
        self.seen = dict(own)
        found = manifest.obtain(key, lambda directory: self._build(directory, own))
        self.seen = {**own, **found.files}
        return found

    def _flags(self) -> tuple[str, ...]:
        chosen = any(flag.startswith("--edition") for flag in self.given.flags)
        edition = () if chosen else _EDITION
        return ("--crate-name", self.name, *_FLAGS, *edition, *self.given.flags)

    def _build(self, directory: Path, own: Mapping[Path, str]) -> Built:
        there, absent = scan(self.path, self.data)
        others = {path: files.current(path) for path in self.known if path not in there}
        snapshot = files.Snapshot({**others, **there, **own})
        snapshot.start(directory)
        output, rule = directory / "out", directory / "out.d"
        emit = f"--emit=link={output},dep-info={rule}"
        with progress.building(self.given.display):
            command = (*self.compiler.command, *self._flags(), emit, str(self.path))
            outcome = process.run(command, cwd=self.cwd, subject=self.given.display)
            if outcome.status != 0 or not output.is_file():
                self.seen = snapshot.seen_all({*snapshot.before, *absent})
                raise failure(outcome, subject=self.given.display, hide=directory)
        text = read_text(rule)
        read = {path for path in makedeps.paths(text, self.cwd) if path.is_file() and directory not in path.parents}
        seen = snapshot.seen_all({*read, *absent, *own})
        environment = makedeps.environment(text)
        return Built(output.read_bytes(), seen, environment, diagnostics.warnings(outcome.stderr, outcome.cwd))


def scan(root: Path, data: bytes) -> tuple[dict[Path, str], set[Path]]:
    """Return the digests of the modules and included files that can be told from the text, and those not there."""
    there: dict[Path, str] = {root: files.sha256(data)}
    absent: set[Path] = set()
    waiting = [(root, data, True)]
    while waiting:
        path, content, is_root = waiting.pop()
        for candidate in _candidates(path, content.decode("utf-8", "replace"), is_root=is_root):
            if candidate in there:
                continue
            digest = files.digest(candidate)
            if digest == files.ABSENT:
                absent.add(candidate)
                continue
            there[candidate] = digest
            if candidate.suffix == ".rs" and digest != files.UNREADABLE:
                waiting.append((candidate, files.read_stable(candidate), False))
    return there, absent


def _candidates(path: Path, text: str, *, is_root: bool) -> Iterator[Path]:
    directory = path.parent if is_root or path.name == "mod.rs" else path.parent / path.stem
    for name in _MODULE.findall(text):
        yield directory / f"{name}.rs"
        yield directory / name / "mod.rs"
    for name in (*_INCLUDE.findall(text), *_MODULE_PATH.findall(text)):
        yield path.parent / name
