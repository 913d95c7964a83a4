"""A cache of its own for each test, and a record of the builds that ran."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from midflight.build import progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Rust isn't among what a machine must have.  What its users get without it is tested everywhere (test_compilers.py).
collect_ignore = [] if shutil.which("cargo") and shutil.which("rustc") else ["test_rust.py"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own cache directory."""
    path = tmp_path / "own cache"
    monkeypatch.setenv("MIDFLIGHT_CACHE_DIR", str(path))
    return path


@pytest.fixture
def builds() -> Iterator[list[str]]:
    """What was really built, in order: one entry for each time that a compiler or command ran."""
    record: list[str] = []
    stop = progress.listen(lambda event: record.append(event.display) if isinstance(event, progress.Started) else None)
    yield record
    stop()
