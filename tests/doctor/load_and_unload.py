"""Loads a library into this process and unloads it again; prints as JSON what came of it.

Run as a program, with a library's path; a process of its own for each, as some end it.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from pathlib import Path

import midflight
from midflight.artifact.elf import Elf

_FUNCTION_BEGINS = ("Py", "_")


def declaration_of(path: Path) -> str:
    """Return a declaration of any function that it exports, of nothing if it exports none: it has to be given one."""
    exports = Elf(path.read_bytes()).exports
    names = [name for name, symbol in exports.items() if symbol.is_function and name.isidentifier()]
    first = min(names, key=lambda name: (name.startswith(_FUNCTION_BEGINS), name), default=None)
    return f"void {first}(void);" if first else "typedef int nothing;"


def try_it(path: Path) -> dict[str, str]:
    """Load it as a program would that has its header, and unload it."""
    try:
        module = midflight.load(path, interface=declaration_of(path))
    except midflight.MidflightError:
        return {"status": "refused"}
    (version,) = midflight.versions(module)
    midflight.unload(module)
    gc.collect()
    held = re.sub(r"'[^']*' \(\d+\)", "", ", ".join(version.held_by))  # a thread's name and number
    return {"status": version.status, "lane": version.lane, "held by": " ".join(held.split())}


if __name__ == "__main__":
    print(json.dumps(try_it(Path(sys.argv[1]))))  # noqa: T201 - its only purpose
