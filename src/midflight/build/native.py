"""C and C++ sources, one or several, compiled into one library."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from midflight.build import diagnostics, files, flags, includes, makedeps, manifest, process, progress, store
from midflight.build.base import Attempt, BuiltSource, Given, failure, read_text
from midflight.build.compiler import Compiler, Language, find_compiler
from midflight.build.headers import include
from midflight.build.manifest import Built, Found

if TYPE_CHECKING:
    from collections.abc import Mapping

C_SUFFIXES = frozenset({".c"})
CXX_SUFFIXES = frozenset({".cc", ".cpp", ".cxx", ".c++", ".C", ".CPP", ".cp"})

_COMPILE = ("-g", "-O2", "-fPIC")
# -Bsymbolic: a call from one function of the library to another must reach this very version.  Without it, the dynamic
# linker would bind the call to a function of the same name in the host program or in a version loaded earlier.
_LINK = ("-shared", "-Wl,-Bsymbolic")
# A unique symbol (any inline static or static in a template) pins a library for ever, and a second version would bind
# to the first one's variable.
_GCC_CXX = ("-fno-gnu-unique",)
# A static that this version only reads is no constant: it has been given its value by an older version.
_GCC_STATICS = ("-fno-ipa-reference-addressable",)
_GCC_WITH_STATICS = 10

_INCLUDE_VARIABLES = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH")
_VARIABLES = (
    *_INCLUDE_VARIABLES,
    "LIBRARY_PATH",
    "LD_RUN_PATH",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "CCC_OVERRIDE_OPTIONS",
    "SDKROOT",
    "SOURCE_DATE_EPOCH",
)


def language_of(path: Path) -> Language:
    """Return the language that a source's suffix stands for."""
    return "c++" if path.suffix in CXX_SUFFIXES else "c"


class NativeSource(BuiltSource):
    """C and C++ sources."""

    def attempt(self, known: Mapping[Path, str]) -> Attempt:
        """Return a new try."""
        tools = _Tools.find(self.given)
        data = {path: files.read_stable(path, display=self.display) for path in self.given.paths}
        if len(data) == 1:
            ((path, text),) = data.items()
            return _Unit(tools, path, text, known, link=True)
        return _Several(tools, data, known)


@dataclass(frozen=True, slots=True)
class _Tools:
    """All that the steps of one build share."""

    given: Given
    compilers: Mapping[Language, Compiler]
    flags: flags.Sorted
    cwd: Path
    environment: tuple[tuple[str, str], ...]
    search: includes.SearchPath
    named: tuple[Path, ...]

    @classmethod
    def find(cls, given: Given) -> _Tools:
        languages = {language_of(path) for path in given.paths}
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        # Debug information records the working directory.  Where nothing is relative to it, the source's own directory
        # stands in for it, so that the same source gives the same library wherever the program was started.
        cwd = given.cwd if given.flags or environment else given.paths[0].parent
        return cls(
            given,
            {language: find_compiler(language, subject=given.display) for language in languages},
            flags.sort(("-I", include(), *given.flags)),
            cwd,
            tuple(sorted(environment.items())),
            includes.search_path(given.flags, cwd, environment),
            flags.files_named(given.flags, cwd),
        )

    def linker(self) -> Compiler:
        """Return the driver that links: the C++ one if any source is C++, for its libraries."""
        return self.compilers.get("c++") or self.compilers["c"]

    @property
    def traced(self) -> tuple[str, ...]:
        """Flags that make the linker name the files that it reads, where the user's flags bring libraries."""
        return ("-Wl,--trace",) if self.flags.link else ()

    def link_flags(self) -> tuple[str, ...]:
        return (*_LINK, *self.traced, *self.flags.link)

    def libraries(self, stdout: str, directory: Path) -> set[Path]:
        """Return the files that the linker read."""
        if not self.traced:
            return set()
        names = (line.strip().lstrip("(").split(")")[0].split("(")[0] for line in stdout.splitlines())
        paths = {Path(os.path.normpath(self.cwd / name)) for name in names if "/" in name or "." in name}
        return {path for path in paths if directory not in path.parents and path.suffix != ".o" and path.is_file()}

    def text(self, outcome: process.Outcome) -> str:
        """Return what the compiler said, without the linker's list of files."""
        return outcome.stderr if self.traced else outcome.output


@dataclass(slots=True)
class _Unit:
    """One source, compiled by one call of the compiler, into an object or (``link``) into the library."""

    tools: _Tools
    path: Path
    data: bytes
    known: Mapping[Path, str]
    link: bool
    seen: dict[Path, str] = field(default_factory=dict)

    def run(self) -> Found:
        compiler = self._compiler()
        named = {path: files.current(path) for path in self.tools.named}
        own = {self.path: files.sha256(self.data), **named}
        key = manifest.key(
            "unit",
            compiler.identity,
            self._compile_flags(),
            self._step_flags(),
            str(self.tools.cwd),
            self.tools.environment,
            [(str(path), digest) for path, digest in own.items()],
        )
        self.seen = dict(own)
        found = manifest.obtain(key, self._build)
        self.seen = {**own, **found.files}
        return found

    def _compiler(self) -> Compiler:
        return self.tools.compilers[language_of(self.path)]

    def _compile_flags(self) -> tuple[str, ...]:
        compiler = self._compiler()
        unique = _GCC_CXX if compiler.family == "gcc" and language_of(self.path) == "c++" else ()
        statics = _GCC_STATICS if compiler.family == "gcc" and compiler.major >= _GCC_WITH_STATICS else ()
        return (*_COMPILE, *unique, *statics, *self.tools.flags.compile)

    def _step_flags(self) -> tuple[str, ...]:
        return self.tools.link_flags() if self.link else ("-c",)

    def _command(self, output: Path, rule: Path) -> tuple[str, ...]:
        compiler = self._compiler()
        outputs = ("-MD", "-MF", str(rule), "-MT", "out", "-o", str(output))
        source = str(self.path)
        return (*compiler.command, *self._compile_flags(), *_quiet(compiler), *outputs, source, *self._step_flags())

    def _build(self, directory: Path) -> Built:
        tools, output, rule = self.tools, directory / "out", directory / "out.d"
        scan = includes.scan({self.path: self.data}, tools.search)
        others = {path: files.current(path) for path in {*self.known, *tools.named} - scan.files.keys()}
        snapshot = files.Snapshot({**others, **scan.files})
        snapshot.start(directory)
        with progress.building(str(self.path)):
            outcome = process.run(self._command(output, rule), cwd=tools.cwd, subject=tools.given.display)
            if outcome.status != 0 or not output.is_file():
                self.seen = snapshot.seen_all({*snapshot.before, *scan.absent, *self._wanted()})
                raise failure(outcome, subject=tools.given.display, output=tools.text(outcome), hide=directory)
        read = {*makedeps.paths(read_text(rule), tools.cwd), *tools.libraries(outcome.stdout, directory)}
        seen = snapshot.seen_all({*map(_normal, read), *tools.named, *scan.absent, self.path})
        return Built(output.read_bytes(), seen, warnings=diagnostics.warnings(outcome.stderr, outcome.cwd))

    def _wanted(self) -> set[Path]:
        """Return the headers that the source asks for, also those that aren't there."""
        command = (*self._compiler().command, *self.tools.flags.compile, "-M", "-MG", "-MT", "out", str(self.path))
        names = makedeps.parse(process.run(command, cwd=self.tools.cwd).stdout)
        there = {_normal(Path(self.tools.cwd, name)) for name in names if Path(self.tools.cwd, name).is_file()}
        lacking = [name for name in names if not Path(self.tools.cwd, name).is_file()]
        includers = {path for path in there if not files.is_system(path)}
        return there | includes.candidates(lacking, includers, self.tools.search)


@dataclass(slots=True)
class _Several:
    """Several sources: each compiled to an object, in threads side by side, then linked."""

    tools: _Tools
    data: Mapping[Path, bytes]
    known: Mapping[Path, str]
    seen: dict[Path, str] = field(default_factory=dict)

    def run(self) -> Found:
        units = [_Unit(self.tools, path, text, self.known, link=False) for path, text in self.data.items()]
        with ThreadPoolExecutor(min(len(units), os.cpu_count() or 1), "midflight-build") as pool:
            futures = [pool.submit(unit.run) for unit in units]
        for unit in units:
            self.seen.update(unit.seen)
        objects = [future.result() for future in futures]
        compiler = self.tools.linker()
        named = {path: files.current(path) for path in self.tools.named}
        key = manifest.key(
            "link",
            compiler.identity,
            (*self.tools.flags.also_link, *self.tools.link_flags()),
            str(self.tools.cwd),
            self.tools.environment,
            [(str(path), digest) for path, digest in named.items()],
            [(path.name, compiled.sha256) for path, compiled in zip(self.data, objects, strict=True)],
        )
        found = manifest.obtain(key, lambda directory: self._link(compiler, objects, directory))
        self.seen.update(found.files)
        warnings = tuple(warning for part in (*objects, found) for warning in part.warnings)
        cached = found.cached and all(compiled.cached for compiled in objects)
        return Found(found.sha256, self.seen, warnings, cached=cached)

    def _link(self, compiler: Compiler, objects: list[Found], directory: Path) -> Built:
        tools, output = self.tools, directory / "out"
        paths = [directory / f"{number}-{path.stem}.o" for number, path in enumerate(self.data)]
        for path, compiled in zip(paths, objects, strict=True):
            path.write_bytes(store.read(compiled.sha256))
        snapshot = files.Snapshot({path: files.current(path) for path in {*tools.named, *self.known}})
        snapshot.start(directory)
        command = (
            *compiler.command,
            *_COMPILE,
            *tools.flags.also_link,
            *_quiet(compiler),
            *("-o", str(output)),
            *map(str, paths),
            *tools.link_flags(),
        )
        with progress.building(tools.given.display):
            outcome = process.run(command, cwd=tools.cwd, subject=tools.given.display)
            if outcome.status != 0 or not output.is_file():
                raise failure(outcome, subject=tools.given.display, output=tools.text(outcome), hide=directory)
        seen = snapshot.seen_all({*tools.libraries(outcome.stdout, directory), *tools.named})
        return Built(output.read_bytes(), seen, warnings=diagnostics.warnings(outcome.stderr, outcome.cwd))


def _quiet(compiler: Compiler) -> tuple[str, ...]:
    return ("-fdiagnostics-color=never",) if compiler.family in ("gcc", "clang") else ()


def _normal(path: Path) -> Path:
    """Return the path without ``..`` where that is the same file (it isn't behind a symbolic link)."""
    normal = Path(os.path.normpath(path))
    try:
        return normal if normal.samefile(path) else path
    except OSError:
        return path
