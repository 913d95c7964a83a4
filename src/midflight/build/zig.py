"""A Zig file, compiled to a dynamic library by one call of zig."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._cache import cache_subdirectory
from midflight._errors import SourceError, SourceNotFoundError
from midflight.build import diagnostics, files, manifest, process, progress
from midflight.build.base import Attempt, BuiltSource, Given, failure
from midflight.build.compiler import Compiler, find_compiler
from midflight.build.flags import files_named
from midflight.build.manifest import Built, Found

if TYPE_CHECKING:
    from collections.abc import Mapping

# The run-time checks of ReleaseSafe bring the standard library's stack traces into every library: 15 s a build and
# 3 MB, against 0.1 s and 6 KB.  Whoever wants them says flags=["-O", "ReleaseSafe"].
_MODE = ("-O", "ReleaseFast")
# Debug information is asked for, because optimised builds may go without.
_FLAGS = ("-dynamic", "-fno-strip", "-fPIC", "-Bsymbolic", "--color", "off")
_IMPORT = re.compile(rb"@(?:import|embedFile)[ \t]*\([ \t]*\"([^\"\n]+)\"")
_C_IMPORT = b"@cImport"


class ZigSource(BuiltSource):
    """A Zig file."""

    def attempt(self, known: Mapping[Path, str]) -> Attempt:
        """Return a new try."""
        del known
        compiler = find_compiler("zig", subject=self.display)
        data = files.read_stable(self.given.paths[0], display=self.display)
        return _Library(self.given, self.name, compiler, data)


@dataclass(slots=True)
class _Library:
    """Zig has no dependency output, but names in ``@import`` are always literal: the text tells it all.

    The one exception is ``@cImport``; such a library is given to zig each time, whose own cache knows the headers.
    """

    given: Given
    name: str
    compiler: Compiler
    data: bytes
    seen: dict[Path, str] = field(default_factory=dict)

    def run(self) -> Found:
        cwd = self.given.cwd if self.given.flags else self.given.paths[0].parent
        imports = _Imports(self.given.paths[0], self.data)
        self.seen = {**imports.files, **{path: files.current(path) for path in files_named(self.given.flags, cwd)}}
        key = manifest.key(
            "zig",
            self.compiler.identity,
            self.given.flags,
            str(cwd),
            [os.environ.get(name) for name in ("ZIG_LIB_DIR", "ZIG_GLOBAL_CACHE_DIR")],
            [(str(path), digest) for path, digest in sorted(self.seen.items())],
        )
        return manifest.obtain(key, lambda directory: self._build(directory, cwd, imports))

    def _build(self, directory: Path, cwd: Path, imports: _Imports) -> Built:
        output = directory / "out.so"
        command = (
            *self.compiler.command,
            "build-lib",
            *("--name", self.name),
            *_FLAGS,
            *(() if any(flag.startswith("-O") for flag in self.given.flags) else _MODE),
            *self.given.flags,
            *("--cache-dir", str(cache_subdirectory("zig"))),
            f"-femit-bin={output}",
            str(self.given.paths[0]),
        )
        with progress.building(self.given.display):
            outcome = process.run(command, cwd=cwd, subject=self.given.display)
            snapshot = files.Snapshot(self.seen)
            self.seen = snapshot.seen_all(self.seen)
            if outcome.status != 0 or not output.is_file():
                raise failure(outcome, subject=self.given.display, hide=directory)
        warnings = diagnostics.warnings(outcome.stderr, outcome.cwd)
        return Built(output.read_bytes(), self.seen, warnings=warnings, reusable=not imports.from_c)


class _Imports:
    """The files that a Zig file imports, and those that they import."""

    def __init__(self, root: Path, data: bytes) -> None:
        self.files: dict[Path, str] = {root: files.sha256(data)}
        self.from_c = False
        waiting = [(root, data)]
        while waiting:
            path, content = waiting.pop()
            self.from_c = self.from_c or _C_IMPORT in content
            for name in map(os.fsdecode, _IMPORT.findall(content)):
                imported = Path(os.path.normpath(path.parent / name))
                if imported in self.files or ("." not in name):
                    continue  # a name without a suffix is a package: std, builtin
                try:
                    text = files.read_stable(imported)
                except (SourceError, SourceNotFoundError):
                    self.files[imported] = files.digest(imported)
                    continue
                self.files[imported] = files.sha256(text)
                if imported.suffix == ".zig":
                    waiting.append((imported, text))
