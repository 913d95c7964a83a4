"""Reads a value as people write it: ``3``, ``0x1f``, ``red``, ``"text"``, ``1, 2, 3``, ``{x: 1, y: 2}``, ``8*0``.

What comes out is a small tree; what its words mean depends on the type that is wanted (see arguments.py).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TypeAlias

from midflight._errors import ArgumentTypeError


@dataclass(frozen=True, slots=True)
class Word:
    """A number or a name, as written."""

    text: str


@dataclass(frozen=True, slots=True)
class String:
    """A text in quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Values in braces or brackets; a named one is a member of a struct."""

    items: tuple[tuple[str, Literal], ...]


Literal: TypeAlias = Word | String | Group

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<repeat>\d+)\*
      | (?P<word>[^\s,{}\[\]:="']+(?:::[^\s,{}\[\]:="']+)*)
      | (?P<sign>[,{}\[\]:=])
    )""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "[": "]"}
_DEEPEST = 32
_LONGEST = 1 << 20


def parse(text: str) -> Group:
    """Return the values in ``text``, which are separated by commas.  Raises `ArgumentTypeError`."""
    return Group(_Parser(text).items(""))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def items(self, closing: str) -> tuple[tuple[str, Literal], ...]:
        """Read values up to ``closing`` ("": the end)."""
        found: list[tuple[str, Literal]] = []
        while not self._take(closing):
            if found and not self._take(","):
                raise self._wrong("a comma is missing")
            if found and self._take(closing):
                break
            name = self._name()
            repeat = self._next("repeat")
            count = int(repeat) if repeat is not None else 1
            if count > _LONGEST or len(found) + count > _LONGEST:
                raise self._wrong("this is too long")
            found.extend([(name, self._value())] * count)
        return tuple(found)

    def _value(self) -> Literal:
        if (string := self._next("string")) is not None:
            try:
                return String(str(ast.literal_eval(string)))
            except (SyntaxError, ValueError):
                raise self._wrong("this text can't be read") from None
        if (word := self._next("word")) is not None:
            return Word(word)
        for opening, closing in _CLOSING.items():
            if self._take(opening):
                return self._group(closing)
        raise self._wrong("a value is missing")

    def _group(self, closing: str) -> Group:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("this is nested too deeply")
        items = self.items(closing)
        self._depth -= 1
        return Group(items)

    def _name(self) -> str:
        """Read the name of a member, if one is given."""
        start = self._at
        word = self._next("word")
        if word is not None and (self._take(":") or self._take("=")):
            return word
        self._at = start
        return ""

    def _next(self, kind: str) -> str | None:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match[kind] is None:
            return None
        self._at = match.end()
        return str(match[kind])

    def _take(self, sign: str) -> bool:
        """Step over a sign, or over the end of the text, if that is what comes next."""
        if not sign:
            return not self._text[self._at :].strip()
        match = _TOKEN.match(self._text, self._at)
        if match is None or match["sign"] != sign:
            return False
        self._at = match.end()
        return True

    def _wrong(self, what: str) -> ArgumentTypeError:
        rest = self._text[self._at :].strip()
        return ArgumentTypeError(f"{what} {f'before {rest[:20]!r}' if rest else 'at the end'}", subject=self._text[:40])
