"""`midflight demo`: runs the example game server, from the installed package or from a checkout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import midflight
from midflight._errors import SourceNotFoundError
from midflight.cli import program

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = Path("gameserver", "demo.py")


def demo(arguments: Sequence[str]) -> None:
    """Run it; its exit code is ours."""
    program.run_script(str(_find()), arguments)


def _find() -> Path:
    package = Path(midflight.__file__).resolve().parent
    installed = package / "_examples" / _SCRIPT
    checkout = package.parent.parent / "examples" / _SCRIPT
    for script in (installed, checkout):
        if script.is_file():
            return script
    todo = f"install midflight again, or run {Path('examples') / _SCRIPT} of a checkout with {sys.executable}"
    raise SourceNotFoundError("the demo isn't part of this installation", subject=str(installed), todo=todo)
