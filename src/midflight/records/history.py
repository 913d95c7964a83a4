"""What a program remembers of its earlier runs, as one file; and what the file of a run that has ended adds to it.

Guarantees:
- The file is replaced whole, by one process at a time.
- One that can't be read, or that holds anything else than it should, counts as empty.
- It stays small: so many crashes, modules and versions, the latest of each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from midflight import _core
from midflight._errors import MidflightError
from midflight._signal_names import fault_address, said
from midflight.artifact.backtrace import backtrace
from midflight.build import store
from midflight.records.places import open_private

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_CRASHES, MOST_MODULES, MOST_VERSIONS = 50, 100, 4
_MOST_BYTES = 1 << 20
_MOST_RUNS = 1000
_NAME = "history.json"
RUN = ".run"

Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Line(msgspec.Struct):
    """A version that a run has loaded.  ``family``: the run, and all processes that it has forked."""

    module: str
    sha256: Sha256
    version: int
    family: str


class Crash(msgspec.Struct):
    """One crash.  ``at``: seconds since 1970; ``address``: of a fault, or None."""

    at: float
    module: str
    sha256: Sha256
    version: int
    signal: int
    address: int | None
    backtrace: list[str]

    @property
    def said(self) -> str:
        """Which signal it was, and where."""
        return said(self.signal, self.address)


class Row(msgspec.Struct):
    """Crashes of one version, one after the other.  ``family``: of the last."""

    times: int
    family: str


class Past(msgspec.Struct):
    """What is known of a module: its latest versions, the last one last, and which of them have crashed."""

    versions: list[Sha256] = []
    rows: dict[Sha256, Row] = {}

    def times(self, sha256: str) -> int:
        """Return how often in a row a version has crashed."""
        row = self.rows.get(sha256)
        return row.times if row is not None else 0


class History(msgspec.Struct):
    """All that a program remembers."""

    program: str = ""
    modules: dict[str, Past] = {}
    crashes: list[Crash] = []

    def kept(self) -> frozenset[str]:
        """Return the artifacts that may have to be loaded again."""
        return frozenset(sha256 for past in self.modules.values() for sha256 in past.versions)


# ---- the file -------------------------------------------------------------------------------------------------------


def read(directory: Path) -> History:
    """Return what is remembered."""
    try:
        return msgspec.json.decode(_bytes(directory / _NAME), type=History)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return History()


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[History]:
    """Read what is remembered, and write it when the block has ended.  Raises OSError."""
    lock = open_private(directory / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        history = read(directory)
        yield history
        _write(directory, history)
    finally:
        os.close(lock)


def _write(directory: Path, history: History) -> None:
    history.crashes = history.crashes[-MOST_CRASHES:]
    for name in list(history.modules)[:-MOST_MODULES]:
        del history.modules[name]
    handle, name = tempfile.mkstemp(prefix=".new-", dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(history))
        Path(name).replace(directory / _NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _bytes(path: Path) -> bytes:
    descriptor = open_private(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_MOST_BYTES)


# ---- runs that have ended -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run's file, read.  ``crashed``: the line, or 0: it has ended otherwise."""

    at: int
    lines: list[Line]
    well: bool
    crash: _core.Crash | None
    crashed: int
    image: tuple[int, int, int]


def take_in(directory: Path, history: History) -> None:
    """Add what the runs say whose processes are gone, in the order in which they ended, and remove their files."""
    ended = []
    for path in sorted(directory.glob(f"*{RUN}"))[:_MOST_RUNS]:
        with contextlib.suppress(OSError):
            found = _take(path)
            if found is not None:
                ended.append(found)
    for one in sorted(ended, key=lambda run: run.at):
        _add(history, one)


def _take(path: Path) -> _Ended | None:
    """Read and remove a run's file; None: it says nothing.  Raises OSError while its process lives."""
    try:
        descriptor = open_private(path, os.O_RDONLY)
    except PermissionError:
        path.unlink()
        raise
    with os.fdopen(descriptor, "rb") as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = file.read(_MOST_BYTES)
    path.unlink()
    try:
        ended_at, crashed_at, crash, crashed, image = _core.read_record(data)
        lines = [msgspec.json.decode(text, type=Line) for text in data[_core.RECORD_SIZE :].splitlines()]
    except ValueError:
        return None
    if crash is None or crashed_at <= ended_at:  # what came before a good end was dealt with
        return _Ended(ended_at, lines, ended_at > 0, None, 0, image)
    return _Ended(crashed_at, lines, False, crash, crashed, image)


def _add(history: History, run: _Ended) -> None:
    for line in run.lines:
        past = _past(history, line.module)
        if line.sha256 in past.versions:
            past.versions.remove(line.sha256)
        past.versions = [*past.versions, line.sha256][-MOST_VERSIONS:]
        if run.well:
            past.rows.pop(line.sha256, None)
    if run.crash is not None and 0 < run.crashed <= len(run.lines):
        _add_crash(history, run, run.lines[run.crashed - 1], run.crash)
    for past in history.modules.values():
        past.rows = {sha256: row for sha256, row in past.rows.items() if sha256 in past.versions}


def _past(history: History, module: str) -> Past:
    """Return what is known of a module, which becomes the latest."""
    past = history.modules.pop(module, None) or Past([], {})
    history.modules[module] = past
    return past


def _add_crash(history: History, run: _Ended, line: Line, crash: _core.Crash) -> None:
    past = _past(history, line.module)
    row = past.rows.get(line.sha256)
    # The processes that one run has forked may all crash: that is once.
    if row is None or row.family != line.family:
        past.rows[line.sha256] = Row((row.times if row is not None else 0) + 1, line.family)
    frames = _frames(line.sha256, run.image, crash)
    at = run.at / 1e9
    address = fault_address(*crash[:3])
    history.crashes.append(Crash(at, line.module, line.sha256, line.version, crash[0], address, frames))


def _frames(sha256: str, image: tuple[int, int, int], crash: _core.Crash) -> list[str]:
    try:
        return list(backtrace(store.read(sha256), image, crash[3]))
    except MidflightError:
        return []  # the library isn't in the store any more
