"""A module, new versions of it that do wrong, and a look at what probes have left."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import midflight
from midflight.probing import process
from midflight.probing.pool import pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.conftest import Workshop

SOURCE = """
static int kept = 7;
void put(int value) { kept = value; }
int get(void) { return kept; }
int add(int a, int b) { return a + b; }
"""


@pytest.fixture(autouse=True)
def _probed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Probe, as programs do: the other folders' tests turn it off."""
    monkeypatch.delenv("MIDFLIGHT_PROBE")
    yield
    pool.settle()


@pytest.fixture(scope="session", autouse=True)
def _end() -> Iterator[None]:
    """Leave no process to the other folders' tests."""
    yield
    process.end_all()


class Calc:
    """A module under way, with data that the program has changed, and libraries that could replace it."""

    def __init__(self, workshop: Workshop, suffix: str = ".c", **options: Any) -> None:
        self.workshop = workshop
        self.suffix = suffix
        with pytest.MonkeyPatch.context() as patch:  # the first version is no test's business here
            patch.setenv("MIDFLIGHT_PROBE", "off")
            self.module: ModuleType = midflight.load(self.library("first", ""), name="calc", compat="any", **options)
        self.module.put(41)

    def library(self, name: str, text: str, *flags: str, source: str = SOURCE) -> Path:
        """Build a version that has some more code than the first."""
        if self.suffix == ".cc":
            source = f'extern "C" {{\n{source}\n}}\n'
        return self.workshop.library(name, f"{source}\n{text}", *flags, suffix=self.suffix)

    def swap(self, library: Path, **options: Any) -> midflight.Report:
        """Swap."""
        return midflight.swap(self.module, library, **options)

    def refused(
        self, library: Path, kind: type[midflight.MidflightError] = midflight.ProbeError, **options: Any
    ) -> Any:
        """Swap to a version that must be refused by its probe, and see to it that nothing has changed."""
        (before,) = (one.number for one in midflight.versions(self.module) if one.status == "current")
        with pytest.raises(kind) as caught:
            self.swap(library, **options)
        (after,) = (one.number for one in midflight.versions(self.module) if one.status == "current")
        assert after == before
        assert self.module.get() == 41
        assert self.module.add(2, 2) == 4
        assert caught.value.stage == "probe"
        assert f"version {before} of calc goes on running" in str(caught.value)
        assert caught.value.todo
        return caught.value


@pytest.fixture
def calc(workshop: Workshop) -> Calc:
    """A module from C."""
    return Calc(workshop)


def probing_processes() -> set[int]:
    """Return the numbers of this process's probing processes, also of those that nobody has waited for."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and (b"midflight.probing" in command or fields[0] == "Z"):
            found.add(int(path.parent.name))
    return found


def ended(pid: int) -> bool:
    """Wait for the end of a process that is no child of ours."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False
