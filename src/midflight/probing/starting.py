"""Starting the program of a probing process: a fresh interpreter, never a fork of this one."""

from __future__ import annotations

import json
import os
import re
import sys
from multiprocessing import util

from midflight import _core
from midflight._errors import MidflightError
from midflight.probing.job import environment

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from midflight.probing.main import main; main()"
)
_PYTHON = re.compile("python|pypy", re.IGNORECASE)
"""What is called otherwise is a program with Python in it: to start it again would be to start that program."""


class CannotStartError(Exception):
    """There is no probing process to be had, for a reason that has nothing to do with the candidate."""

    todo = "see why no Python process can be started here, or go on without, with probe=False"


class NoInterpreterError(CannotStartError):
    """`sys.executable` isn't Python."""

    todo = "let sys.executable name an interpreter of this Python that can import midflight, or go on with probe=False"


def start(connection: int, note: int, words: int, mark: bytes) -> tuple[int, int]:
    """Start one, in a session of its own; return its number and a descriptor of it.  Raises `CannotStartError`.

    ``mark``: by which all that it starts can be told; see `midflight.probing.leftovers`.
    """
    _check_interpreter()
    arguments = [sys.executable, *util._args_from_interpreter_flags(), "-P", "-c", _BOOTSTRAP]  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing starts its own
    arguments.append(json.dumps([entry for entry in sys.path if isinstance(entry, str)]))
    try:
        program = os.open(sys.executable, os.O_RDONLY | os.O_CLOEXEC)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CannotStartError(str(error)) from None
    try:
        return _core.spawn(
            program,
            tuple(os.fsencode(argument) for argument in arguments),
            tuple(name + b"=" + value for name, value in environment(mark).items()),
            (nothing, words, words),
            (connection, note),
        )
    except (MidflightError, ValueError) as error:
        raise CannotStartError(str(error)) from None
    finally:
        os.close(program)
        os.close(nothing)


def _check_interpreter() -> None:
    if not sys.executable:
        what = "this program has Python in it and doesn't say which interpreter could be started (no sys.executable)"
        raise NoInterpreterError(what)
    if getattr(sys, "frozen", False):
        raise NoInterpreterError(
            f"{sys.executable} (sys.executable) is this program, frozen, and no Python interpreter"
        )
    if not _PYTHON.search(os.path.basename(sys.executable)):  # noqa: PTH119
        raise NoInterpreterError(f"{sys.executable} (sys.executable) isn't a Python interpreter")
