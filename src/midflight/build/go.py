"""A Go package in plain source: a file, or a directory with the files of one package.

The user's directory is never written to.  What the go command builds is the user's package as it would appear with
three things added, by way of ``-overlay``: a file that registers what the package offers, midflight's runtime, and the
main package of the host program.  They appear below the package's own directory, so that its ``internal`` packages may
be used.  A ``package main`` appears under another name, because nothing can import a main package.

The artifact is the host program with the package's API behind it, as JSON: the bytes alone tell what they offer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from midflight._cache import cache_subdirectory
from midflight._errors import BuildError, Diagnostic
from midflight.build import files, go_tools, manifest, process, progress
from midflight.build.base import Attempt, BuiltSource, failure
from midflight.build.compiler import Compiler, find_compiler
from midflight.build.go_host import append
from midflight.build.manifest import Built, Found

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LINK = "-ldflags=-s -w"
_GLUE = "midflight_glue.go"


class _Place(msgspec.Struct):
    file: str
    line: int
    column: int
    message: str


class _Rename(msgspec.Struct):
    file: str
    start: int
    length: int


class _Result(msgspec.Struct):
    """What the analyzer prints; see golang/analyzer/main.go."""

    api: msgspec.Raw
    glue: str
    files: list[str]
    read: list[str]
    rename: list[_Rename]
    errors: list[_Place]


class GoSource(BuiltSource):
    """A Go package."""

    def attempt(self, known: Mapping[Path, str]) -> Attempt:
        """Return a new try."""
        (path,) = self.given.paths
        directory = path if path.is_dir() else path.parent
        if path != directory:
            files.check_regular(path, display=self.display)
        go = find_compiler("go", cwd=directory, subject=self.display)
        return _Package(self, directory, go, known)

    def inputs(self) -> frozenset[Path]:
        """Return the absolute paths of all files known to matter, also of such as were added since."""
        (path,) = self.given.paths
        added = {one for one in path.glob("*.go") if not one.name.endswith("_test.go")} if path.is_dir() else set()
        return super().inputs() | added

    def changed(self) -> bool:
        """Tell whether an input's content differs from what the last `resolve` saw, or a file was added."""
        return super().changed() or bool(self._seen and self.inputs() - {*self._seen, *self.required()})


@dataclass(slots=True)
class _Package:
    source: GoSource
    directory: Path
    go: Compiler
    known: Mapping[Path, str]
    seen: dict[Path, str] = field(default_factory=dict)

    @property
    def single(self) -> str:
        """The name of the only file that counts, "" for all of the directory's."""
        path = self.source.given.paths[0]
        return "" if path == self.directory else path.name

    @property
    def display(self) -> str:
        return self.source.given.display

    def run(self) -> Found:
        module = go_tools.module_of(self.directory, self.go)
        own = {path: files.current(path) for path in (*self._own_files(), *module.settings)}
        self.seen = dict(own)
        key = manifest.key(
            "go",
            self.go.identity,
            go_tools.sources_digest(),
            self.source.given.flags,
            str(self.source.given.paths[0]),
            go_tools.settings(),
            (module.path, module.text, module.names),
            [(str(path), digest) for path, digest in own.items()],
        )
        found = manifest.obtain(key, lambda directory: self._build(directory, module, own))
        self.seen = {**own, **found.files}
        return found

    def _own_files(self) -> list[Path]:
        if self.single:
            return [self.directory / self.single]
        return [path for path in sorted(self.directory.glob("*.go")) if not path.name.endswith("_test.go")]

    def _build(self, work: Path, module: go_tools.Module, own: Mapping[Path, str]) -> Built:
        snapshot = files.Snapshot({**{path: files.current(path) for path in self.known}, **own})
        snapshot.start(work)
        tool = go_tools.analyzer(self.go)
        with progress.building(self.display):
            try:
                result = self._analyze(tool, work, module)
                read = {Path(path) for path in (*result.files, *result.read)}
                host = self._compile(work, module, result)
            except BuildError:
                self.seen = snapshot.seen_all({*snapshot.before})
                raise
        append(host, bytes(result.api))
        return Built(host, snapshot.seen_all({*own, *read}))

    def _analyze(self, tool: Path, work: Path, module: go_tools.Module) -> _Result:
        flags = self.source.given.flags
        name = files.sha256(str(self.source.given.paths[0]).encode())[:32]
        command = (
            str(tool),
            f"-dir={self.directory}",
            f"-file={self.single}",
            f"-path={module.path}",
            f"-go={self.go.command[0]}",
            f"-overlay={self._overlay(work, module, {}) if module.virtual else ''}",
            f"-listing={cache_subdirectory('go-listings') / name}",
            f"-tags={_tags(flags)}",
            f"-runtime={module.path}/{go_tools.HOST}/runtime",
            f"-lang={module.language}",
            "--",
            *flags,
        )
        outcome = process.run(
            command, cwd=self.directory, env=go_tools.environment(alone=module.virtual), subject=self.display
        )
        try:
            result = msgspec.json.decode(outcome.stdout, type=_Result)
        except msgspec.MsgspecError:
            found = go_tools.diagnostics_of(outcome.output, self.directory)
            raise failure(outcome, subject=self.display, found=found) from None
        if result.errors:
            found = [Diagnostic(one.file, one.line, one.column, "error", one.message) for one in result.errors]
            raise failure(outcome, subject=self.display, output=_shown(found), found=found)
        return result

    def _compile(self, work: Path, module: go_tools.Module, result: _Result) -> Path:
        output = work / "host"
        overlay = self._overlay(work, module, self._added(work, module, result))
        command = (
            *self.go.command,
            "build",
            "-overlay",
            str(overlay),
            "-trimpath",
            "-buildvcs=false",
            *(() if any(flag.startswith("-ldflags") for flag in self.source.given.flags) else (_LINK,)),
            *self.source.given.flags,
            "-o",
            str(output),
            f"./{go_tools.HOST}",
        )
        environment = go_tools.environment(alone=module.virtual)
        outcome = process.run(command, cwd=self.directory, env=environment, subject=self.display)
        if outcome.status != 0 or not output.is_file():
            found = go_tools.diagnostics_of(outcome.output, self.directory)
            raise failure(outcome, subject=self.display, found=found, hide=work)
        return output

    def _added(self, work: Path, module: go_tools.Module, result: _Result) -> dict[Path, Path]:
        """Write what is added to the user's package; return where it is to appear, and where it is."""
        host = self.directory / go_tools.HOST
        added = {host / "runtime" / path.name: path for path in go_tools.runtime_files()}
        for index, rename in enumerate(result.rename):
            path = Path(rename.file)
            text = files.read_stable(path)
            copy = work / f"renamed-{index}.go"
            copy.write_bytes(text[: rename.start] + b"main_" + text[rename.start + rename.length :])
            added[path] = copy
        added[self.directory / _GLUE] = _write(work / "glue.go", result.glue)
        added[host / "main.go"] = _write(work / "main.go", _MAIN.format(path=module.path, host=go_tools.HOST))
        return added

    def _overlay(self, work: Path, module: go_tools.Module, added: Mapping[Path, Path]) -> Path:
        replace = {str(path): str(there) for path, there in added.items()}
        if module.virtual:
            replace[str(module.root / "go.mod")] = str(_write(work / "go.mod", module.text))
        # Tests of a package that appears under another name would be of a package that isn't there.
        replace |= {str(path): "" for path in self.directory.glob("*_test.go")}
        if self.single:
            replace |= {str(path): "" for path in self.directory.glob("*.go") if path.name != self.single}
        return _write(work / "overlay.json", json.dumps({"Replace": replace}))


_MAIN = """package main

import (
	_ "{path}"
	"{path}/{host}/runtime"
)

func main() {{ midflightruntime.Main(func() error {{ return nil }}) }}
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def _tags(flags: Iterable[str]) -> str:
    words = list(flags)
    for index, word in enumerate(words):
        name, _, value = word.lstrip("-").partition("=")
        if name == "tags":
            return value or (words[index + 1] if index + 1 < len(words) else "")
    return ""


def _shown(found: Iterable[Diagnostic]) -> str:
    return "".join(
        f"{one.file}:{one.line}:{one.column}: {one.message}\n" if one.file else f"{one.message}\n" for one in found
    )
