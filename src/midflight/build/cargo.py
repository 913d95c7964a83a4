"""A Cargo project with a cdylib target.

Cargo decides by file times what to build again.  Two things make that safe here: if the contents that a build depended
on are all the same, cargo isn't asked at all; and if they differ but cargo finds nothing to do, it is made to build.

The project is built in a target directory of its own inside the cache: the user's own ``target/`` may be built with
other settings at the same time (each change of settings builds everything again), and it is the user's to delete.
"""

from __future__ import annotations

import itertools
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from midflight._cache import cache_subdirectory
from midflight._errors import BuildError, Diagnostic, SourceError
from midflight.build import diagnostics, files, makedeps, manifest, process, progress
from midflight.build.base import Attempt, BuiltSource, Given, failure, read_text
from midflight.build.compiler import Compiler, find_compiler
from midflight.build.manifest import Built, Found

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PREFIXES = ("CARGO_", "RUST", "CC", "CXX", "CFLAGS", "CXXFLAGS", "PKG_CONFIG")


class _Target(msgspec.Struct):
    name: str = ""
    kind: list[str] = []
    crate_types: list[str] = []


class _Span(msgspec.Struct):
    file_name: str
    line_start: int
    column_start: int
    is_primary: bool = False


class _Code(msgspec.Struct):
    code: str


class _Message(msgspec.Struct):
    message: str
    level: str
    rendered: str | None = None
    spans: list[_Span] = []
    code: _Code | None = None


class _Line(msgspec.Struct):
    """One line of cargo's JSON output, as far as it matters here."""

    reason: str
    package_id: str = ""
    target: _Target | None = None
    filenames: list[str] = []
    fresh: bool = False
    message: _Message | None = None


def project_name(manifest_path: Path) -> str | None:
    """Return the library's name as Cargo.toml says it, None if it doesn't."""
    try:
        text = tomllib.loads(files.read_stable(manifest_path).decode())
    except (ValueError, SourceError):
        return None
    for table in ("lib", "package"):
        section = text.get(table)
        name = section.get("name") if isinstance(section, dict) else None
        if isinstance(name, str):
            return name
    return None


class CargoSource(BuiltSource):
    """A Cargo project, named by its Cargo.toml."""

    def attempt(self, known: Mapping[Path, str]) -> Attempt:
        """Return a new try."""
        path = self.given.paths[0]
        files.check_regular(path, display=self.display)
        cargo = find_compiler("cargo", cwd=path.parent, subject=self.display)
        rustc = find_compiler("rust", cwd=path.parent, subject=self.display)
        return _Project(self.given, cargo, rustc, known)

    def origin(self) -> Path:
        """Return the directory into which cargo builds."""
        return _target_directory(self.given.paths[0]) / "release"


def _target_directory(manifest_path: Path) -> Path:
    return cache_subdirectory("cargo", files.sha256(os.fsencode(manifest_path.resolve()))[:32])


@dataclass(slots=True)
class _Project:
    given: Given
    cargo: Compiler
    rustc: Compiler
    known: Mapping[Path, str]
    seen: dict[Path, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.given.paths[0]

    def run(self) -> Found:
        self.seen = {self.path: files.current(self.path)}
        variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(_PREFIXES))
        identities = (self.cargo.identity, self.rustc.identity)
        key = manifest.key("cargo", identities, self.given.flags, str(self.path), str(self.given.cwd), variables)
        found = manifest.obtain(key, self._build)
        self.seen |= found.files
        return found

    def _build(self, directory: Path) -> Built:
        snapshot = files.Snapshot({path: files.current(path) for path in {*self.known, *self._likely()}})
        snapshot.start(directory)
        target = _target_directory(self.path)
        with progress.building(self.given.display):
            lines, outcome = self._cargo("build", *self._flags())
            library = _library(lines)
            if library is not None and self._stale(library, snapshot):
                self._clean(lines)
                lines, outcome = self._cargo("build", *self._flags())
                library = _library(lines)
            if outcome.status != 0 or library is None:
                self.seen = snapshot.seen_all({*self.known, *self._likely()})
                raise self._failure(outcome, lines)
        path = Path(next(name for name in library.filenames if name.endswith(".so")))
        seen = snapshot.seen_all({*self._read_files(path, target), *self._settings()})
        # Cargo writes this file itself, so that it differs from before is no sign of a save during the build.
        seen[self.path.parent / "Cargo.lock"] = files.current(self.path.parent / "Cargo.lock")
        self._note(seen)
        # A build script may depend on anything, so only cargo can tell whether to run it again.
        scripted = any(line.reason == "build-script-executed" and _is_local(line) for line in lines)
        return Built(files.read_stable(path), seen, warnings=_warnings(lines, self.path.parent), reusable=not scripted)

    def _flags(self) -> tuple[str, ...]:
        flags = self.given.flags
        chosen = any(flag == "--release" or flag.startswith("--profile") for flag in flags)
        return (*(() if chosen else ("--release",)), "--lib", *flags)

    def _cargo(self, task: str, *arguments: str) -> tuple[list[_Line], process.Outcome]:
        machine = ("--message-format=json",) if task == "build" else ()
        command = (*self.cargo.command, task, "--manifest-path", str(self.path), *machine, *arguments)
        environment = {
            "CARGO_TARGET_DIR": str(_target_directory(self.path)),
            "CARGO_TERM_COLOR": "never",
            **{f"CARGO_PROFILE_{name}_DEBUG": "2" for name in ("RELEASE", "DEV", *self._profiles())},
        }
        outcome = process.run(command, cwd=self.path.parent, env=environment, subject=self.given.display)
        return _parse(outcome.stdout), outcome

    def _profiles(self) -> list[str]:
        words = [word for flag in self.given.flags for word in flag.split("=")]
        names = [after for word, after in itertools.pairwise(words) if word == "--profile"]
        return [name.upper().replace("-", "_") for name in names]

    def _likely(self) -> set[Path]:
        """Return the files that the build is likely to read, before it tells."""
        root = self.path.parent
        return {*root.glob("src/**/*.rs"), *root.glob("build.rs"), *self._settings()}

    def _settings(self) -> set[Path]:
        """Return Cargo's own files, up to the root of the file system; some of them may be absent."""
        parents = self.path.parents
        names = ("Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml", "rust-toolchain")
        return {self.path, *(parents[0] / name for name in names)} | {
            parent / name for parent in parents[1:] for name in ("Cargo.toml", *names) if (parent / name).is_file()
        }

    def _read_files(self, library: Path, target: Path) -> set[Path]:
        """Return the files that cargo says the library depends on, and the Cargo.toml of each one's package."""
        read = {
            path for path in makedeps.paths(read_text(library.with_suffix(".d")), self.path.parent) if path.is_file()
        }
        read = {path for path in read if target not in path.parents}
        manifests = {parent / "Cargo.toml" for path in read for parent in path.parents}
        return read | {path for path in manifests if path.is_file()}

    # The record of what the library in the target directory was made from lies beside it, because the target
    # directory outlives both this process and the manifests.

    def _record(self) -> Path:
        return _target_directory(self.path) / "midflight-seen"

    def _note(self, seen: Mapping[Path, str]) -> None:
        self._record().write_bytes(msgspec.msgpack.encode({str(path): digest for path, digest in seen.items()}))

    def _stale(self, library: _Line, snapshot: files.Snapshot) -> bool:
        """Tell whether cargo took for unchanged what isn't."""
        if not library.fresh:
            return False
        try:
            was = msgspec.msgpack.decode(self._record().read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            return False
        return any(snapshot.seen(Path(path)) != digest for path, digest in was.items())

    def _clean(self, lines: Iterable[_Line]) -> None:
        """Make cargo forget what it built of local packages; what comes from a registry never changes."""
        packages = {line.package_id for line in lines if line.reason == "compiler-artifact" and _is_local(line)}
        profile = self._flags()[:1] if self._flags()[0] == "--release" else ()
        for package in packages:
            self._cargo("clean", *profile, "--package", package)

    def _failure(self, outcome: process.Outcome, lines: list[_Line]) -> BuildError:
        rendered = "".join(
            line.message.rendered for line in lines if line.message is not None and line.message.rendered is not None
        )
        if outcome.status == 0:
            return BuildError(
                "cargo built no cdylib",
                output=outcome.stderr,
                command=outcome.command,
                subject=self.given.display,
                todo='add crate-type = ["cdylib"] to the [lib] section of Cargo.toml',
            )
        found = [_diagnostic(line.message, self.path.parent) for line in lines if line.message is not None]
        return failure(outcome, subject=self.given.display, output=rendered or outcome.stderr, found=found)


def _parse(stdout: str) -> list[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    lines = []
    for text in stdout.splitlines():
        try:
            lines.append(decoder.decode(text))
        except msgspec.MsgspecError:
            continue  # what a build script or a wrapper printed
    return lines


def _library(lines: Iterable[_Line]) -> _Line | None:
    """Return the last cdylib that was built: packages come after what they depend on."""
    found = None
    for line in lines:
        is_library = line.reason == "compiler-artifact" and line.target is not None and "cdylib" in line.target.kind
        if is_library and any(name.endswith(".so") for name in line.filenames):
            found = line
    return found


def _is_local(line: _Line) -> bool:
    return line.package_id.startswith("path+") or "(path+" in line.package_id


def _warnings(lines: Iterable[_Line], base: Path) -> tuple[str, ...]:
    messages = [line.message for line in lines if line.message is not None and line.message.level == "warning"]
    return tuple(diagnostics.show(_diagnostic(message, base)) for message in messages if message.spans)


def _diagnostic(message: _Message, base: Path) -> Diagnostic:
    text = f"{message.message} [{message.code.code}]" if message.code else message.message
    severity = "error" if message.level.startswith("error") else message.level
    for span in message.spans:
        if span.is_primary:
            return Diagnostic(str(base / span.file_name), span.line_start, span.column_start, severity, text)
    return Diagnostic("", 0, 0, severity, text)
