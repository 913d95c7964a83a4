"""Small libraries that call their host, in both lanes."""

from __future__ import annotations

from tests.calls.conftest import build, load, pytest_configure, pytest_generate_tests, swapping

__all__ = ["build", "load", "pytest_configure", "pytest_generate_tests", "swapping"]
