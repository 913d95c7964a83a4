"""Loads a greeter written in Go, replaces it, and shows who serves which object."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import midflight

HERE = Path(__file__).parent


def main() -> None:
    """Greet by two versions."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(shutil.copy(HERE / "greeter.go", directory))
        greet = midflight.load(source)
        old = greet.NewGreeter()
        print("version 1:", old.Greet(), greet.G.Greet())

        source.write_text(source.read_text().replace("Hello", "Good evening"))
        midflight.swap(greet)
        print("version 2:", greet.NewGreeter().Greet(), greet.G.Greet())
        print("the old object:", old.Greet())
        print("versions:", midflight.versions(greet))

        del old
        print("after it is gone:", midflight.versions(greet))
        midflight.unload(greet)


if __name__ == "__main__":
    main()
