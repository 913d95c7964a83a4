"""What building Go takes beside the go command: the analyzer, which is built once, and the module that a file is in.

The Go sources in ``golang/`` are package data: ``analyzer`` is a program that reads a package's source, ``runtime`` is
compiled into every host program, ``plugin`` into those of ready-made plugins.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from midflight import _ownership
from midflight._cache import cache_subdirectory
from midflight._errors import BuildError, Diagnostic
from midflight._fork import Lock
from midflight.build import files, process, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.build.compiler import Compiler

SOURCES: Final = Path(__file__).resolve().parent.parent / "golang"
HOST: Final = "midflighthost"
"""The directory, inside of the package's own, in which the host program appears to lie."""

_MODULE = re.compile(r"^[ \t]*module[ \t]+\"?([^\s\"]+)", re.MULTILINE)
_LANGUAGE = re.compile(r"^[ \t]*go[ \t]+([0-9.]+)", re.MULTILINE)
_LOCAL = re.compile(r"=>[ \t]*\"?(\.{1,2}/[^\s\"]*|/[^\s\"]+)")
_USED = re.compile(r"^[ \t]*(?:use[ \t]+)?\"?(\.{1,2}(?:/[^\s\"]*)?)\"?[ \t]*$", re.MULTILINE)
_MESSAGE = re.compile(r"(?P<file>[^\s:][^:\n]*\.go):(?P<line>\d+)(?::(?P<column>\d+))?: (?P<message>.+)")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_NOT_WALKED = frozenset({"testdata", "vendor", "node_modules"})
_ENVIRONMENT = ("GOFLAGS", "GOPATH", "GOPROXY", "GOTOOLCHAIN", "GOEXPERIMENT", "GOAMD64", "GOARM64", "GOWORK", "GOROOT")

_lock = Lock()


def runtime_files() -> list[Path]:
    """Return the sources of the runtime."""
    return sorted(SOURCES.glob("runtime/*.go"))


def sources_digest() -> str:
    """Return a digest of all Go sources that come with midflight."""
    return _digest(tuple((path, files.signature(path)) for path in sorted(SOURCES.glob("**/*.go"))))


@lru_cache(maxsize=1)
def _digest(signatures: tuple[tuple[Path, str], ...]) -> str:
    return files.sha256("".join(f"{path.name} {files.digest(path)}\n" for path, _ in signatures).encode())


def settings() -> tuple[tuple[str, str | None], ...]:
    """Return the variables of the environment that change what the go command builds."""
    return tuple((name, os.environ.get(name)) for name in _ENVIRONMENT)


def environment(*, cgo: bool = False, alone: bool = False) -> dict[str, str]:
    """Return what the go command's environment is to have.  ``alone``: no workspace counts."""
    found = {"CGO_ENABLED": "1" if cgo else "0", "GOOS": "linux", "GOARCH": ""}
    # Compiler and linker run for a moment each: collecting their garbage takes a tenth of it.
    found |= {name: os.environ.get(name) or value for name, value in (("GOGC", "800"), ("GOMEMLIMIT", "1GiB"))}
    if alone:
        found["GOWORK"] = "off"
    if not any(os.environ.get(name) for name in ("GOCACHE", "XDG_CACHE_HOME", "HOME")):
        found["GOCACHE"] = str(cache_subdirectory("go-build"))
    return found


def analyzer(go: Compiler) -> Path:
    """Return the analyzer's program, built with this go command."""
    name = f"analyzer-{files.sha256(f'{go.identity} {sources_digest()}'.encode())[:32]}"
    path = cache_subdirectory("go-tools") / name
    with _lock:
        if _ownership.is_own_file(path):
            return path
        with (
            progress.building("midflight's analyzer of Go sources"),
            tempfile.TemporaryDirectory(dir=path.parent) as made,
        ):
            output = Path(made) / "analyzer"
            command = (*go.command, "build", "-trimpath", "-buildvcs=false", "-o", str(output), "./analyzer")
            clean = {**environment(alone=True), "GOFLAGS": ""}
            outcome = process.run(command, cwd=SOURCES, env=clean)
            if outcome.status != 0:
                what = "midflight's analyzer of Go sources can't be built"
                todo = "use Go 1.22 or newer"
                raise BuildError(what, output=outcome.output, command=command, todo=todo)
            output.chmod(0o500)
            output.replace(path)
    return path


@dataclass(frozen=True, slots=True)
class Module:
    """The Go module that a package is in.

    ``root``: its directory; ``path``: the package's import path; ``language``: "go1.22", "" if not said; ``text``: of
    a go.mod, where there is none on the disk; ``names``: of all Go files whose presence may matter; ``settings``: the
    files that say what the module is made of.
    """

    root: Path
    path: str
    language: str
    text: str
    names: tuple[str, ...]
    settings: tuple[Path, ...]

    @property
    def virtual(self) -> bool:
        """Whether there is no go.mod on the disk."""
        return bool(self.text)


def module_of(directory: Path, go: Compiler) -> Module:
    """Return the module that a package's directory is in, or one made up for it."""
    for root in (directory, *directory.parents):
        manifest = root / "go.mod"
        if manifest.is_file():
            return _real(directory, root, files.read_stable(manifest).decode("utf-8", "replace"))
    name = _UNFIT.sub("_", directory.name).strip(".") or "program"
    if _is_standard(name, go):
        name += ".local"
    return Module(directory, name, "", f"module {name}\n\ngo {_version(go)}\n", tuple(_names(directory)), ())


def _real(directory: Path, root: Path, text: str) -> Module:
    module, language = _MODULE.search(text), _LANGUAGE.search(text)
    inside = directory.relative_to(root).as_posix()
    name = module[1] if module else "program"
    used = [Path(os.path.normpath(root / path)) for path in _LOCAL.findall(text)]
    settings_files = [root / "go.mod", root / "go.sum", root / "vendor" / "modules.txt"]
    for parent in (root, *root.parents):
        work = parent / "go.work"
        settings_files.append(work)
        if work.is_file():
            text_of_work = files.read_stable(work).decode("utf-8", "replace")
            used += [Path(os.path.normpath(parent / path)) for path in _USED.findall(text_of_work)]
            settings_files.append(parent / "go.work.sum")
            break
    names = [name for one in dict.fromkeys((root, *used)) for name in _names(one)]
    version = f"go{language[1]}" if language else "go1.16"
    path = name if inside == "." else f"{name}/{inside}"
    return Module(root, path, version, "", tuple(names), tuple(settings_files))


def _names(root: Path) -> Iterator[str]:
    """Name all Go files of a module: a new one may change what a package is made of."""
    for directory, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in _NOT_WALKED and not name.startswith((".", "_")))
        for name in sorted(names):
            if name.endswith(".go") and not name.endswith("_test.go"):
                yield f"{directory}/{name}"


def _is_standard(name: str, go: Compiler) -> bool:
    root = Path(go.command[0]).resolve().parent.parent
    return (root / "src" / name).is_dir() or name in {"main", "cmd", "std", "all"}


def _version(go: Compiler) -> str:
    found = re.search(r"go(\d+\.\d+)", go.identity.rpartition("go version ")[2])
    return found[1] if found else "1.22"


def diagnostics_of(output: str, base: Path) -> list[Diagnostic]:
    """Read the errors that the go command reports; files are relative to ``base``."""
    found = []
    for line in output.splitlines():
        match = _MESSAGE.fullmatch(line.strip())
        if match is not None:
            path = Path(os.path.normpath(base / match["file"]))
            shown = str(path) if path.is_file() else match["file"]
            found.append(Diagnostic(shown, int(match["line"]), int(match["column"] or 0), "error", match["message"]))
    return found
