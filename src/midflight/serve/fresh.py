"""Keeps cached bytecode from standing in for newer source.

Python takes a .pyc for current if the source has the same size and the same time stamp in whole seconds.  A file that
is saved twice within a second, with as many bytes, would leave a new worker with the old code.  So a source younger
than that is compiled, and its bytecode neither read nor written.
"""

from __future__ import annotations

import time
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_YOUNG_SECONDS = 2.0


def install() -> None:
    """Change how this process imports source files."""
    plain = SourceFileLoader.path_stats

    def path_stats(loader: SourceFileLoader, path: str) -> Mapping[str, float]:
        found = plain(loader, path)
        if time.time() - found["mtime"] < _YOUNG_SECONDS:
            raise OSError("too young for cached bytecode")  # the documented way to have none
        return found

    SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign,assignment]
