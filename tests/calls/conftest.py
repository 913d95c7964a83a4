"""Small libraries, each compiled once for all tests of its module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModuleType]:
    """Return a function that writes a source and loads it."""

    def load(text: str, name: str = "lib.c", **options) -> ModuleType:
        path = tmp_path_factory.mktemp("source") / name
        path.write_text(text)
        return midflight.load(path, **options)

    return load


@pytest.fixture
def swapping(tmp_path) -> Iterator[Callable[..., ModuleType]]:
    """Return a function that loads a source the first time, and swaps to it from then on."""
    modules: list[ModuleType] = []

    def put(text: str, *, suffix: str = ".c", **options) -> ModuleType:
        path = tmp_path / f"lib{suffix}"
        path.write_text(text)
        if not modules:
            modules.append(midflight.load(path, **options))
        else:
            midflight.swap(modules[0], **options)
        return modules[0]

    yield put
    modules.clear()
