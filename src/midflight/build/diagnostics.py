"""Reads compilers' messages: gcc, clang, their linkers, zig (one line each) and rustc (two lines)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from midflight._errors import Diagnostic

if TYPE_CHECKING:
    from pathlib import Path

_MESSAGE = re.compile(
    r"(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? "
    r"(?P<severity>fatal error|error|warning|note): (?P<message>.+)"
)
_LINKER_AT = re.compile(
    r"(?:\S*ld\S*: )?(?P<file>[^\s:][^:\n]*):(?P<line>\d+): "
    r"(?P<message>(?:undefined reference to|multiple definition of|relocation ).+)"
)
_LINKER = re.compile(
    r"\S*(?:ld|lld|gold|mold)(?:\.\w+)?: (?:error: )?(?P<message>(?:cannot|undefined|duplicate|unable).+)"
)
_DRIVER = re.compile(r"\S*(?:gcc|g\+\+|cc|c\+\+|clang|cc1|cc1plus|rustc|zig)\S*: (?:fatal )?error: (?P<message>.+)")
_RUST_HEAD = re.compile(r"(?P<severity>error|warning)(?P<code>\[\w+\])?: (?P<message>.+)")
_RUST_PLACE = re.compile(r"\s*--> (?P<file>.+?):(?P<line>\d+):(?P<column>\d+)")
_RUST_REACH = 3


def parse(output: str, base: Path) -> tuple[Diagnostic, ...]:
    """Return the messages that can be read from ``output``, in order; files named in it are relative to ``base``."""
    found: list[Diagnostic] = []
    lines = output.splitlines()
    for number, line in enumerate(lines):
        diagnostic = _one_line(line) or _rust(line, lines[number + 1 : number + 1 + _RUST_REACH])
        if diagnostic is not None and diagnostic not in found[-1:]:
            found.append(diagnostic)
    return tuple(_absolute(diagnostic, base) for diagnostic in found)


def warnings(output: str, base: Path) -> tuple[str, ...]:
    """Return the warnings in ``output``, one line each."""
    return tuple(show(diagnostic) for diagnostic in parse(output, base) if diagnostic.severity == "warning")


def show(diagnostic: Diagnostic) -> str:
    """Return a diagnostic as one line, as gcc writes it."""
    place = f"{diagnostic.file}:{diagnostic.line}:" if diagnostic.file else ""
    column = f"{diagnostic.column}:" if diagnostic.column else ""
    return f"{place}{column} {diagnostic.severity}: {diagnostic.message}".lstrip()


def _absolute(diagnostic: Diagnostic, base: Path) -> Diagnostic:
    path = base / diagnostic.file
    return replace(diagnostic, file=str(path)) if diagnostic.file and path.is_file() else diagnostic


def _one_line(line: str) -> Diagnostic | None:
    if match := _MESSAGE.fullmatch(line.rstrip()):
        severity = match["severity"].removeprefix("fatal ")
        return Diagnostic(match["file"], int(match["line"]), int(match["column"] or 0), severity, match["message"])
    if match := _LINKER_AT.fullmatch(line.rstrip()):
        return Diagnostic(match["file"], int(match["line"]), 0, "error", match["message"])
    if match := _LINKER.fullmatch(line.rstrip()) or _DRIVER.fullmatch(line.rstrip()):
        return Diagnostic("", 0, 0, "error", match["message"])
    return None


def _rust(line: str, following: list[str]) -> Diagnostic | None:
    match = _RUST_HEAD.fullmatch(line.rstrip())
    if match is None:
        return None
    message = f"{match['message']} {match['code']}" if match["code"] else match["message"]
    for place in (_RUST_PLACE.match(candidate) for candidate in following):
        if place is not None:
            return Diagnostic(place["file"], int(place["line"]), int(place["column"]), match["severity"], message)
    return None
