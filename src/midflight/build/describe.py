"""Tells what kind of source a user means."""

from __future__ import annotations

import keyword
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from midflight._errors import SourceError, SourceNotFoundError
from midflight.build import files, native
from midflight.build.base import Given
from midflight.build.cargo import CargoSource, project_name
from midflight.build.command import CommandSource, split_command
from midflight.build.flags import normalise
from midflight.build.go import GoSource
from midflight.build.go_plugin import GoPluginSource, is_go_plugin
from midflight.build.library import LibrarySource
from midflight.build.rust import RustSource
from midflight.build.zig import ZigSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight.build.model import Source

PathLike: TypeAlias = "str | os.PathLike[str]"

_KNOWN = "C, C++, Rust, Zig and Go sources, Cargo projects, Go packages and shared libraries (.so)"
_LIBRARY_NAME = re.compile(r".+\.so(\.[0-9][0-9.]*)?")
_MAKERS: dict[str, Callable[[str, Given], Source]] = {
    **dict.fromkeys(native.C_SUFFIXES | native.CXX_SUFFIXES, native.NativeSource),
    ".rs": RustSource,
    ".zig": ZigSource,
    ".go": GoSource,
}
_ELF = b"\x7fELF"
_HEADERS = frozenset({".h", ".hh", ".hpp", ".hxx"})


def describe(
    source: PathLike | Sequence[PathLike] | None,
    *,
    flags: str | Sequence[str] = (),
    build: str | Sequence[str] | None = None,
    artifact: PathLike | None = None,
) -> Source:
    """Return the `Source` that the arguments mean.

    Relative paths are relative to the present working directory, also later.  Raises `SourceNotFoundError` or
    `SourceError`; nothing is built yet.
    """
    cwd = _working_directory()
    shown = _paths(source)
    if build is not None or artifact is not None:
        return _commanded(shown, flags, build, artifact, cwd)
    if not shown:
        raise SourceError("nothing was given to load", todo="name a source or a library, or give build= and artifact=")
    display = ", ".join(shown)
    given = Given(tuple(_absolute(path, cwd) for path in shown), display, normalise(flags, display), cwd)
    if len(given.paths) > 1:
        return _several(given)
    return _single(given)


def module_name(path: Path) -> str:
    """Return the identifier that a file's name suggests: ``calc`` for calc.c, ``engine`` for libengine.so.1."""
    is_library = _LIBRARY_NAME.fullmatch(path.name) is not None
    stem = path.name.split(".", 1)[0] if is_library else path.stem
    if is_library and stem.startswith("lib") and len(stem) > len("lib"):
        stem = stem.removeprefix("lib")
    return identifier(stem)


def identifier(text: str) -> str:
    """Return ``text`` as an identifier that isn't a keyword."""
    name = re.sub(r"\W", "_", text) or "_"
    if not name.isidentifier():
        name = f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")  # it was deleted; absolute paths still work


def _paths(source: PathLike | Sequence[PathLike] | None) -> list[str]:
    if source is None:
        return []
    given = [source] if isinstance(source, (str, os.PathLike)) else source
    try:
        paths = [os.fspath(path) for path in given]
    except TypeError as error:
        what = f"a source is a path or a sequence of paths, not {type(source).__name__}"
        raise SourceError(what, subject=repr(source), todo='write load("calc.c")') from error
    for path in paths:
        if not isinstance(path, str) or not path or "\0" in path:
            raise SourceError("this is not a path", subject=repr(path), todo="give paths as str or Path")
    return paths


def _absolute(path: str, cwd: Path) -> Path:
    # Symbolic links stay: the file that they lead to may be exchanged by exchanging the link.
    return Path(os.path.normpath(cwd / path)) if ".." not in Path(path).parts else Path(cwd, path)


def _commanded(
    shown: list[str],
    flags: str | Sequence[str],
    build: str | Sequence[str] | None,
    artifact: PathLike | None,
    cwd: Path,
) -> Source:
    subject = ", ".join(shown) or (build if isinstance(build, str) else "load")
    if artifact is None:
        what = "build= was given without artifact=, so it can't be told which file the command makes"
        raise SourceError(what, subject=subject, todo='add artifact="path/of/the/library.so"')
    (target,) = _paths(artifact)
    path = _absolute(target, cwd)
    if build is None:
        if shown:
            what = "artifact= was given with sources, but without build="
            raise SourceError(what, subject=subject, todo="give the command as build=, or load the library itself")
        return LibrarySource(module_name(path), path, target)
    if normalise(flags, subject):
        raise SourceError("flags= have no effect on a build command", subject=subject, todo="put them into build=")
    sources = tuple(_absolute(name, cwd) for name in shown)
    for source, name in zip(sources, shown, strict=True):
        if not source.exists():
            raise SourceNotFoundError("there is no such file", subject=name, todo="check the path")
    return CommandSource(module_name(path), split_command(build, subject), path, sources, cwd)


def _several(given: Given) -> Source:
    for path in given.paths:
        files.check_regular(path)
        if path.suffix not in native.C_SUFFIXES | native.CXX_SUFFIXES:
            what = "only C and C++ sources can be several sources of one module"
            raise SourceError(what, subject=str(path), todo="load it alone, or give build= and artifact=")
    if len(set(given.paths)) < len(given.paths):
        raise SourceError("a source is named twice", subject=given.display, todo="name each source once")
    return native.NativeSource(module_name(given.paths[0]), given)


def _single(given: Given) -> Source:
    (path,) = given.paths
    if path.is_dir():
        return _directory(path, given)
    found = files.check_regular(path, display=given.display)
    if path.name == "Cargo.toml":
        return _cargo(path, given)
    maker = _MAKERS.get(path.suffix)
    if maker is not None:
        return maker(module_name(path), given)
    if path.name == "go.mod":
        return _directory(path.parent, Given((path.parent,), given.display, given.flags, given.cwd))
    if _LIBRARY_NAME.fullmatch(path.name) or _is_elf(path, given):
        return _library(path, given)
    raise _unknown(path, given, found.st_size)


def _directory(path: Path, given: Given) -> Source:
    if (path / "Cargo.toml").exists():
        return _cargo(path / "Cargo.toml", given)
    if (path / "go.mod").exists() or any(path.glob("*.go")):
        return GoSource(identifier(path.name), given)
    what = "this is a directory without a Cargo.toml or Go files"
    todo = "name the source files or the library in it, or give build= and artifact="
    raise SourceError(what, subject=given.display, todo=todo)


def _cargo(path: Path, given: Given) -> Source:
    name = identifier(project_name(path) or path.parent.name)
    return CargoSource(name, Given((path,), given.display, given.flags, given.cwd))


def _library(path: Path, given: Given) -> Source:
    # Flags mean nothing to a ready library; they are those of the module whose source it takes the place of.
    kind = GoPluginSource if is_go_plugin(path) else LibrarySource
    return kind(module_name(path), path, given.display)


def _is_elf(path: Path, given: Given) -> bool:
    return files.read_head(path, len(_ELF), display=given.display) == _ELF


def _unknown(path: Path, given: Given, size: int) -> SourceError:
    if size == 0:
        kind = "the file is empty"
    elif path.suffix in _HEADERS:
        kind = "this is a header, not a source"
    elif path.suffix == ".py":
        kind = "this is a Python source, and those aren't served in this version"
    elif path.suffix:
        kind = f"files that end in {path.suffix} aren't known"
    else:
        kind = "this is neither a source that is known by its name nor a library"
    todo = f"midflight loads {_KNOWN}; for others give build= and artifact="
    return SourceError(kind, subject=given.display, todo=todo)
