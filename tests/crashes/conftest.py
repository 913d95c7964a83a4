"""A library whose functions crash in every way that there is, and programs that load it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from midflight.records import history, places
from tests.conftest import Workshop

SOURCE = Path(__file__).with_name("crashing.c").read_text()
PROJECT = Path(__file__).parents[2]


@dataclass
class Crashing:
    """Versions of one library that differ in the number that whoami() returns; each is compiled once."""

    root: Path
    made: dict[tuple[int, str, str], Path] = field(default_factory=dict)

    def make(self, version: int = 1, text: str = "", name: str = "crashing") -> Path:
        """Return a version's library."""
        key = version, text, name
        if key not in self.made:
            place = Workshop(self.root / str(len(self.made)))
            source = f"#define VERSION {version}\n{SOURCE}{text}"
            place.root.mkdir()
            self.made[key] = place.library(f"{name}{version}", source, "-O1")
        return self.made[key]


@pytest.fixture(scope="session")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Crashing:
    """Make versions of the library that crashes."""
    return Crashing(tmp_path_factory.mktemp("crashing"))


@dataclass
class Ended:
    """How a program has ended.  ``signal``: by which one; 0: by itself."""

    signal: int
    status: int
    out: str
    err: str


@dataclass
class Programs:
    """Programs of their own, with a state directory of their own."""

    root: Path

    @property
    def state(self) -> Path:
        """Where they keep their records of crashes."""
        return self.root / "state"

    def run(self, text: str, *arguments: object, name: str = "program.py", options: tuple[str, ...] = ()) -> Ended:
        """Run a program to its end."""
        path = self.root / name
        path.write_text(f"import os, sys\nimport midflight\n{text}")
        return self.call(*options, path, *arguments)

    def call(self, *words: object) -> Ended:
        """Run Python with these words."""
        environment = dict(os.environ, XDG_STATE_HOME=str(self.state), PYTHONFAULTHANDLER="")
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=self.root, timeout=60, check=False
        )
        code = done.returncode
        return Ended(-code if code < 0 else 0, max(code, 0), done.stdout, done.stderr)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """A place for programs."""
    return Programs(tmp_path)


def remembered(programs: Programs, name: str = "program.py") -> history.History:
    """Return what a program knows at its next start."""
    os.environ["XDG_STATE_HOME"], before = str(programs.state), os.environ["XDG_STATE_HOME"]
    try:
        directory = places.directory(os.path.realpath(programs.root / name))
        with history.changing(directory) as found:
            history.take_in(directory, found)
        return found
    finally:
        os.environ["XDG_STATE_HOME"] = before
