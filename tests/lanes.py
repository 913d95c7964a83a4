"""One suite, several lanes: the fixture ``lane`` names the lane, and what uses it runs once in each.

A test of this process's own memory says so with ``@pytest.mark.here_only(reason)``; tests/worker has its counterpart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

LANES = ("here", "worker")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "here_only(reason): it is about this process's memory")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lane" in metafunc.fixturenames:
        here_only = metafunc.definition.get_closest_marker("here_only")
        assert here_only is None or here_only.args, "say why"
        metafunc.parametrize("lane", LANES if here_only is None else LANES[:1], scope="module")


@pytest.fixture(scope="module")
def load(lane: str) -> Callable[..., ModuleType]:
    """`midflight.load`, in the test's lane."""

    def into_lane(*arguments, **options) -> ModuleType:
        return midflight.load(*arguments, lane=lane, **options)

    return into_lane


def is_there(path: str) -> bool:
    """Whether the code of a version is somewhere, by its ``path``: in the memory map, or in a process that runs."""
    kind, _, number = path.partition(" ")
    if kind == "process":
        return Path("/proc", number).exists()
    return path in Path("/proc/self/maps").read_text()
