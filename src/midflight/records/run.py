"""This process's own file: which versions it has loaded, and, written by the core, what became of it.

Guarantees:
- It is locked for as long as the process lives, and is its alone: a fork's child makes its own.
- Every function may be called from any thread.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import mmap
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from midflight import _core
from midflight._fork import Lock
from midflight.build import store
from midflight.records import history, places

if TYPE_CHECKING:
    from midflight.build import Artifact
    from midflight.records.history import Crash, History, Past

_MOST_LINES = 4096
_log = logging.getLogger("midflight")


class Run:
    """One run of a program.  Nothing is made before the first version is loaded."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun = False
        self._directory: Path | None = None
        self._file = -1
        self._family = os.urandom(16).hex()
        self._lines: dict[tuple[str, str], int] = {}
        self._texts: list[bytes] = []
        self._before: History | None = None

    def past(self, module: str) -> Past | None:
        """Return what earlier runs have left about a module."""
        with self._lock:
            self._begin()
            return self._before.modules.get(module) if self._before is not None else None

    def last_crash(self, module: str, sha256: str) -> Crash | None:
        """Return the last crash of a version."""
        found = self._before.crashes if self._before is not None else []
        return next((one for one in reversed(found) if (one.module, one.sha256) == (module, sha256)), None)

    def line(self, module: str, artifact: Artifact, version: int) -> int:
        """Write down a version; return its line, counted from 1."""
        with self._lock:
            self._begin()
            if self._file < 0 or self._directory is None:
                return 0
            key = module, artifact.sha256
            if key not in self._lines and len(self._lines) < _MOST_LINES:
                line = history.Line(module, artifact.sha256, version, self._family)
                self._texts.append(msgspec.json.encode(line) + b"\n")
                self._lines[key] = len(self._texts)
                try:
                    self._append(self._texts[-1])
                    store.keep(self._directory.name, artifact.sha256, artifact.path)
                except OSError as error:
                    _log.debug("a version isn't noted: %s", error)
            return self._lines.get(key, 0)

    # ---- the file

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        program = places.program()
        try:
            self._directory = places.directory(program)
            with history.changing(self._directory) as self._before:
                self._before.program = program
                history.take_in(self._directory, self._before)
            store.keep_only(self._directory.name, self._before.kept())
            self._make()
        except OSError as error:
            _log.warning("crashes aren't recorded: %s", error)
            return
        atexit.register(_core.end_record)

    def _make(self) -> None:
        self._file, name = tempfile.mkstemp(suffix=".new", dir=self._directory)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, _core.RECORD_SIZE)
        path = Path(name)
        path.rename(path.with_suffix(history.RUN))  # only now: what isn't locked is taken for a run that has ended
        _core.record_crashes(mmap.mmap(self._file, _core.RECORD_SIZE))

    def _append(self, text: bytes) -> None:
        os.lseek(self._file, 0, os.SEEK_END)
        os.write(self._file, text)

    def after_fork(self) -> None:
        """In the child: the file is the parent's; what is loaded, and what is known, isn't."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        try:
            self._make()
            self._append(b"".join(self._texts))
        except OSError as error:
            _core.record_crashes(None)
            _log.debug("crashes aren't recorded in this child: %s", error)


run = Run()
os.register_at_fork(after_in_child=run.after_fork)
