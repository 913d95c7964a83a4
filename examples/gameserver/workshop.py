"""Where the rules are written: a directory of its own, so that the demo's edits never touch the example's files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent / "rules"

TITLES: Final = {1: "the open field", 2: "distance matters", 3: "cover"}
_FILES: Final = {1: "1-open-field.cpp", 2: "2-distance.cpp", 3: "3-cover.cpp"}


class Workshop:
    """A programmer's working directory.  ``source`` is the file that the server has loaded."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "rules.cpp"
        self.library = directory / "rules.so"
        for name in ("game.h", "ground.hpp"):
            shutil.copy(_HERE / name, directory)

    def save(self, number: int) -> None:
        """Save one version of the rules."""
        self.source.write_text(_text(number), encoding="utf-8")

    def save_with_a_typo(self, number: int) -> None:
        """Save one that doesn't compile: a semicolon is gone."""
        self._save_changed(number, "const vec from = mover.at;", "const vec from = mover.at")

    def save_without_look(self, number: int) -> None:
        """Save one that compiles, but lacks a function that the server calls."""
        self._save_changed(number, "void look(world *w", "void look_around(world *w")

    def copy_half(self, library: bytes) -> None:
        """Leave a library whose copying broke off half-way."""
        self.library.write_bytes(library[: len(library) // 2])

    def _save_changed(self, number: int, good: str, bad: str) -> None:
        text = _text(number)
        if good not in text:
            message = f"rules {number} don't contain {good!r}"
            raise ValueError(message)
        self.source.write_text(text.replace(good, bad), encoding="utf-8")


def _text(number: int) -> str:
    return (_HERE / _FILES[number]).read_text(encoding="utf-8")
