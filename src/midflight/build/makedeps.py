"""Reads the dependency files that compilers write: make rules, with make's escapes."""

from __future__ import annotations

import re
from pathlib import Path

_CONTINUATION = re.compile(r"\\\r?\n")
# An odd number of backslashes before a space makes it a part of the word.
_WORD = re.compile(r"(?:\\[ #\\:]|[^\s])+")
# Before a space or a #, backslashes are doubled and one is added; elsewhere they stand for themselves.
_ESCAPE = re.compile(r"(?P<doubled>\\*)\\(?P<special>[ #:])|\$\$")
_ENVIRONMENT = re.compile(r"^# env-dep:([^=\n]+)(?:=(.*))?$", re.MULTILINE)


def parse(text: str) -> list[str]:
    """Return the prerequisites of all rules in ``text``, each once, in order."""
    found: dict[str, None] = {}
    for line in _CONTINUATION.sub(" ", text).splitlines():
        if line.startswith("#"):
            continue
        words = _WORD.findall(line)
        colon = next((index for index, word in enumerate(words) if word.endswith(":") and word[-2:] != "\\:"), None)
        if colon is not None:
            found.update(dict.fromkeys(unescape(word) for word in words[colon + 1 :]))
    return list(found)


def paths(text: str, base: Path) -> list[Path]:
    """Return the prerequisites as absolute paths; relative ones are relative to ``base``."""
    return [Path(base, name) for name in parse(text)]


def environment(text: str) -> dict[str, str | None]:
    """Return the environment variables that rustc notes in its dependency files (None: it wasn't set)."""
    return {match[1]: match[2] for match in _ENVIRONMENT.finditer(text)}


def unescape(word: str) -> str:
    """Return a file name without make's escapes."""

    def plain(match: re.Match[str]) -> str:
        if match["special"] is None:
            return "$"
        return match["doubled"][: len(match["doubled"]) // 2] + match["special"]

    return _ESCAPE.sub(plain, word)
