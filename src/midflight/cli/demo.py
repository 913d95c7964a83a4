"""`midflight demo`: runs the examples, from the installed package or from a checkout.

First a module in Go, where Go is to be had, then the game server.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import midflight
from midflight._errors import CompilerNotFoundError, SourceNotFoundError
from midflight.build.compiler import find_compiler
from midflight.cli import program
from midflight.cli.console import out

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAME = Path("gameserver", "demo.py")
_GREETER = Path("go-greeter", "main.py")


def demo(arguments: Sequence[str]) -> None:
    """Run them; the exit code of the game server is ours."""
    game = _find(_GAME)
    if not arguments:  # who asks for something asks the game server
        _greet(_find(_GREETER))
    program.run_script(str(game), arguments)


def _greet(script: Path) -> None:
    """Show the module in Go, in a process of its own."""
    try:
        find_compiler("go")
    except CompilerNotFoundError as error:
        out().print(f"Without Go: {error.todo} to see a Go module swapped too.", highlight=False)
        return
    out().print("A Go module is built, swapped while an object of it lives, and swapped away:", highlight=False)
    subprocess.run([sys.executable, str(script)], check=False)
    out().print()


def _find(script: Path) -> Path:
    package = Path(midflight.__file__).resolve().parent
    installed = package / "_examples" / script
    checkout = package.parent.parent / "examples" / script
    for found in (installed, checkout):
        if found.is_file():
            return found
    todo = f"install midflight again, or run {Path('examples') / script} of a checkout with {sys.executable}"
    raise SourceNotFoundError("the demo isn't part of this installation", subject=str(installed), todo=todo)
