"""A restart when the workers' source files change, by the same observer that swaps modules on save."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from midflight.triggers.observer import Subscription, observer
from midflight.triggers.runner import Runner

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from midflight.serve.supervisor import Supervisor

_SETTLE_SECONDS = 0.05


class FileWatch:
    """What the runner of the triggers takes for a module: the application of a supervisor.

    Guarantees: a restart is asked for when the content of a file differs from what it was when it was last looked at,
    whatever the time stamps say; `learn` and `stop` are called in the supervisor's thread, all else in the runner's.
    """

    def __init__(self, supervisor: Supervisor, loop: asyncio.AbstractEventLoop) -> None:
        self.name = supervisor.options.target
        self.alive = True
        self._supervisor = supervisor
        self._loop = loop
        env_file = supervisor.options.env_file
        self._always = frozenset() if env_file is None else frozenset({Path(env_file).absolute()})
        self._seen: dict[Path, bytes | None] = {path: _digest(path) for path in self._always}
        self._runner = Runner(self)
        self._runner.acquire()
        self._subscription = Subscription(self._runner, _SETTLE_SECONDS)
        observer.add(self._subscription)

    def learn(self, paths: Iterable[str]) -> None:
        """Watch these files, which workers have just read."""
        wanted = {*map(Path, paths), *self._always}
        if wanted <= self._seen.keys():
            return
        self._seen = {path: self._seen[path] if path in self._seen else _digest(path) for path in wanted} | self._seen
        observer.refresh()

    def stop(self) -> None:
        """Watch no more."""
        self.alive = False
        observer.remove(self._subscription)
        self._runner.release()

    def inputs(self) -> frozenset[Path]:
        """Return the files to watch."""
        return frozenset(self._seen)

    def missing(self) -> frozenset[Path]:
        """Return nothing: an application may well go on without a file that it had."""
        return frozenset()

    def changed(self) -> bool:
        """Tell whether a file's content differs."""
        return any(_digest(path) != digest for path, digest in tuple(self._seen.items()))

    def swap(self) -> None:
        """Ask for a restart."""
        seen = self._seen
        for path in tuple(seen):
            seen[path] = _digest(path)
        self._loop.call_soon_threadsafe(self._supervisor.ask_restart)


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
