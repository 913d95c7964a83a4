"""Sorts a user's compiler flags: which go where, and which name files whose contents matter."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from midflight._errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LINK_PREFIXES = ("-l", "-L", "-Wl,")
_LINK_WITH_VALUE = ("-Xlinker", "-T", "-z", "-u", "-framework")
_COMPILE_WITH_VALUE = ("-x", "-include", "-imacros")
_LINK_FILES = (".a", ".o", ".so", ".lib")
_NOT_OURS = ("-c", "-S", "-E", "-o", "-M", "-MM", "-MF")
_SEPARATORS = re.compile(r"[,=]")


class Sorted(NamedTuple):
    """``compile``: for every step; ``link``: libraries and linker options, which have to follow the sources.

    ``also_link``: those of ``compile`` that a link step without sources needs too.
    """

    compile: tuple[str, ...]
    link: tuple[str, ...]
    also_link: tuple[str, ...]


def normalise(flags: str | Sequence[str], subject: str) -> tuple[str, ...]:
    """Return flags as a tuple of words: a string is split as a shell does.  Raises `SourceError`."""
    try:
        words = tuple(shlex.split(flags) if isinstance(flags, str) else flags)
    except ValueError as error:
        raise SourceError(f"the flags can't be read ({error})", subject=subject, todo="check the quotes") from error
    except TypeError as error:
        raise _not_words(subject) from error
    if not all(isinstance(word, str) and "\0" not in word for word in words):
        raise _not_words(subject)
    for word in words:
        if word in _NOT_OURS:
            what = f"flags= contains {word}, but where the compiler's output goes is midflight's part"
            raise SourceError(what, subject=subject, todo=f"leave {word} out, or use build= and artifact=")
    return words


def _not_words(subject: str) -> SourceError:
    return SourceError("flags= is not a sequence of strings", subject=subject, todo='write flags=["-O3", "-lm"]')


def sort(flags: Sequence[str]) -> Sorted:
    """Tell linker flags and libraries from the others."""
    compiling: list[str] = []
    linking: list[str] = []
    also: list[str] = []
    words = iter(flags)
    for word in words:
        if word in _LINK_WITH_VALUE or word in ("-l", "-L"):
            linking += [word, *_value(words)]
        elif word.startswith(_LINK_PREFIXES) or (not word.startswith("-") and _is_link_file(word)):
            linking.append(word)
        elif word in _COMPILE_WITH_VALUE:
            compiling += [word, *_value(words)]
        else:
            compiling.append(word)
            also.append(word)
    return Sorted(tuple(compiling), tuple(linking), tuple(also))


def files_named(flags: Sequence[str], cwd: Path) -> tuple[Path, ...]:
    """Return the files that flags name (``libx.a``, ``@options``, ``-Wl,--version-script=x``)."""
    found: dict[Path, None] = {}
    for word in flags:
        for part in (word.removeprefix("@"), *_SEPARATORS.split(word)):
            path = Path(cwd, part)
            if part and len(part) < 4096 and path.is_file():  # noqa: PLR2004 - PATH_MAX
                found[path] = None
    return tuple(found)


def _value(words: Iterator[str]) -> list[str]:
    value = next(words, None)
    return [] if value is None else [value]


def _is_link_file(word: str) -> bool:
    return word.endswith(_LINK_FILES) or ".so." in word
