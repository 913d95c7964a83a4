"""Makes C declarations, as text or a header file, readable for a parser that knows standard C only.

Comments go, simple directives are followed here, and anything more is left to the compiler's own preprocessor.
Attributes that change a record's layout are kept, as pragmas inside the record; all others are dropped.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight._errors import InterfaceError

if TYPE_CHECKING:
    from pathlib import Path

_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_]\w*')
_DIRECTIVE = re.compile(r"^\s*#\s*(\w*)\s*(.*)$")
_BUILT_IN_HEADERS = frozenset({
    "stdint.h", "inttypes.h", "stddef.h", "stdbool.h", "stdarg.h", "sys/types.h", "uchar.h", "wchar.h", "stdalign.h",
    "cstdint", "cstddef", "cstdarg",
})  # fmt: skip
_PREPROCESSORS = ("cc", "gcc", "clang")
_SECONDS = 30
_MOST_EXPANSIONS = 20
_LARGEST = 16 << 20
_LINE_MARKER = re.compile(r'^#\s+(\d+)\s+"((?:\\.|[^"\\])*)"[ \d]*$')
_STANDARD_ATTRIBUTE = re.compile(r"\[\[[^\[\]]*\]\]")
_ATTRIBUTE = re.compile(r"\b(?:__attribute__|__attribute|__asm__|__asm|asm|__declspec)\s*\(")
_ALIGNED = re.compile(r"\b(?:__)?aligned(?:__)?\s*(?:\(\s*(\d+)\s*\))?")
_PACKED = re.compile(r"\b(?:__)?packed(?:__)?\b")
_REFUSED = re.compile(r"\b(?:__)?(?:vector_size|mode|ms_struct|scalar_storage_order|transparent_union)(?:__)?\b")
_BIGGEST_ALIGNMENT = 16

_PLAIN_WORDS = {
    "__extension__": "", "__restrict": "restrict", "__restrict__": "restrict", "__inline": "inline",
    "__inline__": "inline", "__const": "const", "__const__": "const", "__volatile__": "volatile",
    "__volatile": "volatile", "__signed__": "signed", "__signed": "signed", "_Noreturn": "", "noreturn": "",
    "__typeof__": "typeof", "__complex__": "_Complex", "__alignof__": "_Alignof", "_Thread_local": "",
    "thread_local": "", "__thread": "", "alignas": "_Alignas", "alignof": "_Alignof", "static_assert": "_Static_assert",
    "_Float32": "float", "_Float64": "double", "_Float32x": "double", "_Float64x": "long double", "nullptr": "0",
    "constexpr": "const", "_Float128": "long double", "__float128": "long double",
}  # fmt: skip


@dataclass(slots=True)
class _Conditions:
    """The ``#if`` blocks that a line lies in: for each whether it is read, and whether some branch was."""

    stack: list[tuple[bool, bool]] = field(default_factory=list)

    @property
    def reading(self) -> bool:
        return all(taken for taken, _ in self.stack)


class _NeedsCompilerError(Exception):
    """A directive that only a real preprocessor follows."""


def preprocess(text: str, name: str, path: Path | None) -> str:
    """Return declarations that a parser of plain C understands; lines keep their numbers by line markers."""
    if len(text) > _LARGEST:
        what = f"{len(text)} characters are too much for declarations"
        raise InterfaceError(what, subject=name, todo="declare only what you call")
    bare = _without_comments(text)
    try:
        expanded = _follow(bare, {})
        expanded = f'# 1 "{name}"\n{expanded}'
    except _NeedsCompilerError as error:
        expanded = _run_preprocessor(text, name, path, str(error))
    return _without_attributes(_STANDARD_ATTRIBUTE.sub(" ", _plain_words(expanded)), name)


def _without_comments(text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        token = found.group()
        return token if token[0] in "\"'" else " " + "\n" * token.count("\n")

    return _COMMENT.sub(replaced, text.replace("\\\r\n", " \n").replace("\\\n", " \n"))


def _follow(text: str, macros: dict[str, str]) -> str:
    """Follow include guards, ``#ifdef`` and macros that stand for a constant or a word."""
    conditions = _Conditions()
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        found = _DIRECTIVE.match(line)
        if found is None:
            lines.append(_expand(line, macros) if conditions.reading else "")
            continue
        kept = _directive(found.group(1), found.group(2).strip(), macros, conditions, number)
        lines.append(line if kept else "")
    return "\n".join(lines)


def _directive(word: str, rest: str, macros: dict[str, str], conditions: _Conditions, number: int) -> bool:
    """Follow one directive; tell whether its line stays for the parser."""
    if word in {"ifdef", "ifndef", "if", "elif", "else", "endif"}:
        _condition(word, rest, macros, conditions, number)
        return False
    if not conditions.reading:
        return False
    if word == "define":
        _define(rest, macros, number)
    elif word == "undef":
        macros.pop(rest, None)
    elif word == "include":
        if rest.strip('<>" ') not in _BUILT_IN_HEADERS:
            message = f"line {number}: #include {rest}"
            raise _NeedsCompilerError(message)
    elif word == "error":
        what = f"line {number}: #error {rest}"
        raise InterfaceError(what, todo="give the header with what it wants to be defined, or only what you call")
    return word == "pragma" and rest.startswith("pack")


def _condition(word: str, rest: str, macros: dict[str, str], conditions: _Conditions, number: int) -> None:
    stack = conditions.stack
    if word in {"ifdef", "ifndef", "if"}:
        taken = _holds(rest, macros, number) if word == "if" else (rest in macros) == (word == "ifdef")
        stack.append((taken, taken))
        return
    if not stack:
        what = f"line {number}: #{word} without #if"
        raise InterfaceError(what, todo="correct the declarations")
    _, done = stack.pop()
    if word == "elif":
        taken = not done and _holds(rest, macros, number)
        stack.append((taken, done or taken))
    elif word == "else":
        stack.append((not done, True))


def _holds(expression: str, macros: dict[str, str], number: int) -> bool:
    found = re.fullmatch(r"(!?)\s*defined\s*\(?\s*(\w+)\s*\)?", expression)
    if found is not None:
        return (found.group(2) in macros) != bool(found.group(1))
    value = _expand(expression, macros).strip()
    if re.fullmatch(r"\d+", value):
        return bool(int(value))
    message = f"line {number}: #if {expression}"
    raise _NeedsCompilerError(message)


def _define(rest: str, macros: dict[str, str], number: int) -> None:
    found = re.fullmatch(r"(\w+)(\(?)(.*)", rest, re.DOTALL)
    if found is None or found.group(2):
        message = f"line {number}: #define {rest}"
        raise _NeedsCompilerError(message)
    macros[found.group(1)] = found.group(3).strip()


def _expand(line: str, macros: dict[str, str]) -> str:
    if not macros:
        return line
    for _ in range(_MOST_EXPANSIONS):
        expanded = _WORD.sub(lambda found: macros.get(found.group(), found.group()), line)
        if expanded == line or len(expanded) > _LARGEST:
            break
        line = expanded
    return line


def _run_preprocessor(text: str, name: str, path: Path | None, why: str) -> str:
    """Run the compiler's preprocessor over a header, or over text as if it lay in the current directory."""
    command = _preprocessor()
    if command is None:
        what = f"{why} needs a C compiler's preprocessor, and there is none"
        raise InterfaceError(what, subject=name, todo="install a C compiler, or write the declarations out")
    arguments = [*command, "-E", "-x", "c", "-std=gnu17", "-D_FORTIFY_SOURCE=0", *([str(path)] if path else ["-"])]
    try:
        done = subprocess.run(
            arguments, input=None if path else text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        what = f"{shlex.join(command)} couldn't preprocess it ({error})"
        raise InterfaceError(
            what, subject=name, todo="see that the compiler works, or declare what you call"
        ) from error
    if done.returncode:
        what = f"the preprocessor refused it: {done.stderr.strip()}"
        raise InterfaceError(what, subject=name, todo="correct the header")
    return done.stdout if path else done.stdout.replace('"<stdin>"', f'"{name}"')


def _preprocessor() -> list[str] | None:
    wanted = shlex.split(os.environ.get("CC", ""))
    if wanted and shutil.which(wanted[0]):
        return wanted
    return next(([found] for candidate in _PREPROCESSORS if (found := shutil.which(candidate))), None)


def _plain_words(text: str) -> str:
    return _WORD.sub(lambda found: _PLAIN_WORDS.get(found.group(), found.group()), text)


def _without_attributes(text: str, name: str) -> str:
    """Drop attributes; those that change a record's layout become pragmas inside the record's braces."""
    pieces: list[str] = []
    at = 0
    while (found := _ATTRIBUTE.search(text, at)) is not None:
        end = _closing(text, found.end())
        content = text[found.end() : end - 1]
        pieces.append(text[at : found.start()])
        at = end
        is_system = _place(text, found.start(), name)[1].startswith("/usr/")
        if _REFUSED.search(content) and not is_system:
            raise _refusal(text, found.start(), content, name)
        pragmas = _layout_pragmas(content)
        if not pragmas:
            pieces.append("\n" * content.count("\n"))
            continue
        inserted = "".join(f"\n#pragma midflight {pragma}\n" for pragma in pragmas)
        pieces = ["".join(pieces)]
        tail = pieces[0].rstrip()
        if tail.endswith("}"):  # struct s { … } __attribute__((packed))
            pieces = [f"{tail[:-1]}{inserted}{_marker(text, found.start(), name)}}}"]
            continue
        head = re.compile(r"\s*\w*\s*\{").match(text, at)
        if head is None or not re.search(r"\b(?:struct|union)$", tail[-8:]):
            if is_system:
                continue
            raise _refusal(text, found.start(), content, name)
        pieces.append(f"{head.group()}{inserted}{_marker(text, head.end(), name)}")
        at = head.end()
    return "".join((*pieces, text[at:]))


def _layout_pragmas(content: str) -> list[str]:
    found = ["packed"] if _PACKED.search(content) else []
    return [*found, *(f"aligned {one.group(1) or _BIGGEST_ALIGNMENT}" for one in _ALIGNED.finditer(content))]


def _refusal(text: str, at: int, content: str, name: str) -> InterfaceError:
    line, file = _place(text, at, name)
    what = f"line {line}: the attribute {content.strip('() ')} isn't understood here"
    return InterfaceError(what, subject=file, todo="build the library with -g instead, so that its layouts are known")


def _closing(text: str, at: int) -> int:
    depth = 1
    while at < len(text) and depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


def _place(text: str, at: int, name: str) -> tuple[int, str]:
    """Return the line and file of a place, by the last line marker before it."""
    start = text.rfind("\n# ", 0, at) + 1
    while start and _LINE_MARKER.match(text[start : text.find("\n", start)]) is None:
        start = text.rfind("\n# ", 0, start - 1) + 1
    marker = _LINE_MARKER.match(text[start : text.find("\n", start)])
    if marker is None:
        return text.count("\n", 0, at) + 1, name
    return int(marker.group(1)) + text.count("\n", start, at) - 1, marker.group(2)


def _marker(text: str, at: int, name: str) -> str:
    line, file = _place(text, at, name)
    return f'# {line} "{file}"\n'
