"""Go packages for the tests: written, loaded, and unloaded at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType
    from typing import Any


class Packages:
    """Writes Go packages into a directory of the test's own and loads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._loaded: list[ModuleType] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file; a Go file without a package clause is one of package main."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_bare = path.suffix == ".go" and not any(line.startswith("package ") for line in text.splitlines())
        path.write_text(f"package main\n{text}" if is_bare else text)
        return path

    def load(self, source: Path, **options: Any) -> Any:
        """Load a file or a directory."""
        module = midflight.load(source, **options)
        self._loaded.append(module)
        return module

    def make(self, text: str, *, name: str = "greet.go", **options: Any) -> Any:
        """Write a file and load it."""
        return self.load(self.write(name, text), **options)

    def unload(self) -> None:
        """Unload all."""
        for module in self._loaded:
            midflight.unload(module)


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Packages]:
    """A place for Go packages."""
    packages = Packages(tmp_path)
    yield packages
    packages.unload()
