"""Small libraries, each compiled once for all tests of its module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import midflight
from tests.lanes import load, pytest_configure, pytest_generate_tests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

__all__ = ["load", "pytest_configure", "pytest_generate_tests"]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, load: Callable[..., ModuleType]) -> Callable[..., ModuleType]:
    """Return a function that writes a source and loads it."""

    def write_and_load(text: str, name: str = "lib.c", **options) -> ModuleType:
        path = tmp_path_factory.mktemp("source") / name
        path.write_text(text)
        return load(path, **options)

    return write_and_load


@pytest.fixture
def swapping(tmp_path, load: Callable[..., ModuleType]) -> Iterator[Callable[..., ModuleType]]:
    """Return a function that loads a source the first time, and swaps to it from then on."""
    modules: list[ModuleType] = []

    def put(text: str, *, suffix: str = ".c", **options) -> ModuleType:
        path = tmp_path / f"lib{suffix}"
        path.write_text(text)
        if not modules:
            modules.append(load(path, **options))
        else:
            midflight.swap(modules[0], **options)
        return modules[0]

    yield put
    modules.clear()
