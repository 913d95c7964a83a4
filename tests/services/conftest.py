"""Small libraries that call their host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.calls.conftest import build, load, pytest_configure, swapping

if TYPE_CHECKING:
    import pytest

__all__ = ["build", "load", "pytest_configure", "swapping"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lane" in metafunc.fixturenames:
        metafunc.parametrize("lane", ["here"], scope="module")
