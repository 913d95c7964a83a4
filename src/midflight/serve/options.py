"""How to serve: what the command's options say."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._errors import ServeError
from midflight.serve.messages import Job

if TYPE_CHECKING:
    from midflight.serve.messages import SocketFile

_NOT_PASSED_ON = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET")


@dataclass(frozen=True, kw_only=True)
class Options:
    """All times are in seconds."""

    target: str
    control: str
    directory: str
    binds: tuple[str, ...] = ()
    kind: str = "auto"
    workers: int = 1
    batch: int = 1
    ready_timeout: float = 30.0
    drain_timeout: float = 30.0
    kill_timeout: float = 5.0
    keep_alive: float = 5.0
    backlog: int = 2048
    env_file: str | None = None
    watch: bool = False

    def job(self, worker: int, generation: int, listeners: list[int], files: list[SocketFile]) -> Job:
        """Return what a worker is to do."""
        return Job(
            target=self.target,
            kind=self.kind,
            directory=self.directory,
            listeners=listeners,
            worker=worker,
            generation=generation,
            backlog=self.backlog,
            keep_alive=self.keep_alive,
            drain_timeout=self.drain_timeout,
            kill_timeout=self.kill_timeout,
            watch=self.watch,
            files=files,
        )


def working_directory() -> str:
    """Return this directory by the name that the user gave it.

    A deployment exchanges a symbolic link, which the kernel's name for the directory doesn't go through.
    """
    actual = str(Path.cwd())
    named = os.environ.get("PWD", "")
    try:
        return named if named.startswith("/") and Path(named).samefile(actual) else actual
    except OSError:
        return actual


def environment(env_file: str | None) -> dict[str, str]:
    """Return the environment for a new worker.  Raises `ServeError` for a file that can't be read."""
    found = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    if env_file is None:
        return found
    try:
        text = Path(env_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        todo = "give a text file that this user may read"
        raise ServeError(f"can't read the environment: {error}", subject=env_file, todo=todo) from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ServeError(f"line {number}: {error}", subject=env_file, todo="write it as NAME=value") from None
        if not words:
            continue
        name, equals, value = words[0].partition("=")
        if len(words) != 1 or not equals or not name.isidentifier():
            raise ServeError(f"line {number} isn't NAME=VALUE", subject=env_file, todo="put quotes around a value")
        found[name] = value
    return found
