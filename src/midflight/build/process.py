"""Runs compilers and build commands: their output as text, their words in English, nothing read from the terminal."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight._errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")

# These would make a compiler write files that nobody asked it for, or colours.
_UNWANTED = ("DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "GCC_COLORS", "CLICOLOR_FORCE", "CARGO_TERM_COLOR")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a process said and how it ended (a negative ``status`` is the number of a signal)."""

    command: tuple[str, ...]
    cwd: Path
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that it said."""
        return self.stdout + self.stderr

    def ending(self) -> str:
        """Say how it ended."""
        return f"was killed by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, subject: str = "") -> Outcome:
    """Run ``command`` to its end.  Raises `BuildError` if it can't be started."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except (OSError, ValueError) as error:
        what = f"the command {command[0]} can't be started: {error}"
        raise BuildError(what, output="", command=command, subject=subject, todo="check the command") from error
    return Outcome(tuple(command), cwd, done.returncode, _text(done.stdout), _text(done.stderr))


@dataclass(frozen=True, slots=True)
class RawOutcome:
    """What a process wrote, as bytes, and how it ended."""

    status: int
    stdout: bytes
    stderr: bytes


def run_bytes(command: Sequence[str], *, cwd: Path, subject: str = "") -> RawOutcome:
    """Run a program of ours to its end; its output isn't text.  Raises `BuildError` if it can't be started."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment({}), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except (OSError, ValueError) as error:
        what = f"the command {command[0]} can't be started: {error}"
        todo = "see that it is there, and that files may be run where it is"
        raise BuildError(what, output="", command=command, subject=subject, todo=todo) from error
    return RawOutcome(done.returncode, done.stdout, done.stderr)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment as a compiler should see it."""
    env = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    # Diagnostics are parsed, so they have to be in English; names in them may still be in any script.
    return {**env, "LC_ALL": "C.UTF-8", **extra}


def _text(data: bytes) -> str:
    return _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
