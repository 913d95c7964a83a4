"""The real libraries that tests/doctor/real_libraries.toml names: where they are, and what of a verdict is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import midflight

if TYPE_CHECKING:
    from midflight.inspection.model import Inspection

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
_FETCHED = ROOT / "build" / "real-libraries"
_PLACES = (
    _FETCHED / "debian" / "usr" / "lib" / "x86_64-linux-gnu",
    _FETCHED / "debian" / "lib" / "x86_64-linux-gnu",
    _FETCHED / "debian" / "usr" / "lib",
)
LIBRARY_PATH = os.pathsep.join(str(place) for place in (*_PLACES, _PLACES[0] / "openblas-pthread"))
"""Where all that Debian's packages need is, so that nothing depends on what this machine has installed."""


class Library(NamedTuple):
    """One library: its name in the golden files, the package that it is from, and where it should be."""

    name: str
    package: str
    pattern: str

    @property
    def path(self) -> Path:
        """Where it is."""
        places = _PLACES if "==" not in self.package else (_FETCHED / "pypi",)
        found = [path for place in places for path in sorted(place.glob(self.pattern))]
        assert found, f"{self.package} has no {self.pattern} (any more)"
        return found[0]

    @property
    def golden(self) -> Path:
        """The file that says what was judged."""
        return GOLDEN / f"{self.name}.json"


def listed() -> list[Library]:
    """Return all libraries of the list."""
    wanted = tomllib.loads((Path(__file__).parent / "real_libraries.toml").read_text())
    return [
        Library(_name(package, pattern), package, pattern)
        for kind in ("debian", "wheels")
        for package, patterns in wanted[kind].items()
        for pattern in ([patterns] if isinstance(patterns, str) else patterns)
    ]


def _name(package: str, pattern: str) -> str:
    """Return libz for libz.so.1, and numpy-_multiarray_umath for an extension in a wheel."""
    stem = re.split(r"\.so|\.\*|_\*|\.abi3", pattern.rpartition("/")[2])[0]
    wheel, pinned, _ = package.partition("==")
    return f"{wheel}-{stem}" if pinned else stem


def fetch() -> None:
    """Fetch them, if they aren't there."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "real_libraries"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def kept(found: Inspection) -> dict[str, Any]:
    """Return what of an inspection stays the same when a distribution mends a bug in a library."""
    return {
        "verdict": found.verdict,
        "kind": found.kind,
        "machine": f"{found.machine}, {found.bits} bits",
        "findings": {one.name: one.severity for one in found.findings},
        "needs interface": found.needs.interface,
        "needs from the program": list(found.needs.provides),
        "not found": sorted(one.name for one in found.needed if one.path is None),
        "needs libraries": sorted(one.name for one in found.needed if not one.by),
        "debug information": found.debug.state if found.debug is not None else "none",
        "has thread-local data": found.data.thread_local > 0,
        "has constructors": bool(found.constructors),
        "relro": found.hardening.relro if found.hardening is not None else "none",
    }


def loaded(library: Library) -> dict[str, str]:
    """Load it and unload it in a process of its own, and return what came of it."""
    program = Path(__file__).parent / "load_and_unload.py"
    environment = {**os.environ, "LD_LIBRARY_PATH": LIBRARY_PATH, "MIDFLIGHT_PROBE": "off"}
    done = subprocess.run(
        [sys.executable, program, library.path], env=environment, capture_output=True, text=True, check=False
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"status": f"ended the process ({done.returncode}): {done.stderr.strip()[-200:]}"}


def differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what isn't as it was judged, a line each."""
    found = []
    for key in dict.fromkeys([*was, *now]):
        if was.get(key) != now.get(key):
            found += [f"{key}: {line}" for line in _told(was.get(key), now.get(key))]
    return found


def _told(was: Any, now: Any) -> list[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [key for key in dict.fromkeys([*was, *now]) if was.get(key) != now.get(key)]
        return [f"{key} was {was.get(key, 'not there')}, is {now.get(key, 'not there')}" for key in keys]
    if isinstance(was, list) and isinstance(now, list):
        return [f"{one} is gone" for one in was if one not in now] + [f"{one} is new" for one in now if one not in was]
    return [f"was {was!r}, is {now!r}"]


def write(path: Path, judged: dict[str, Any]) -> None:
    """Write a golden file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(judged, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write all golden files anew."""
    fetch()
    os.environ["LD_LIBRARY_PATH"] = LIBRARY_PATH
    for library in listed():
        write(library.golden, {**kept(midflight.inspect(library.path)), "loaded": loaded(library)})


if __name__ == "__main__":
    main()
