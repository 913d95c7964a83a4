"""What all tests share: a cache of their own, and a way to write, build and load small libraries."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
from pathlib import Path  # noqa: TC003 - pytest reads the annotations

import pytest

# Set before anything of midflight is imported, so that no test sees the user's cache or state.
_cache = tempfile.mkdtemp(prefix="midflight-tests-")
os.environ["MIDFLIGHT_CACHE_DIR"] = _cache
os.environ["XDG_STATE_HOME"] = f"{_cache}/state"
# They swap by the thousand.  tests/probe turns it on.
os.environ["MIDFLIGHT_PROBE"] = "off"


def pytest_sessionfinish() -> None:
    """Remove the cache."""
    shutil.rmtree(_cache, ignore_errors=True)


class Workshop:
    """Writes sources and builds libraries in a directory of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def library(self, name: str, text: str, *flags: str, suffix: str = ".c") -> Path:
        """Compile a source into ``name``.so, as somebody else's build would."""
        source = self.write(f"{name}-source{suffix}", text)
        output = self.root / f"{name}.so"
        compiler = {".c": ["cc"], ".cc": ["c++", "-std=c++17"]}[suffix]
        command = [*compiler, "-g", "-O2", "-fPIC", "-shared", "-o", str(output), str(source), *flags]
        subprocess.run(command, check=True)
        return output


@pytest.fixture
def alone() -> None:
    """Let what earlier tests have dropped be unloaded first, for a test that counts what is mapped."""
    from midflight import _retire

    gc.collect()
    _retire.settle()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A place to make libraries."""
    return Workshop(tmp_path)
