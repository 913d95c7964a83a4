"""The libraries that get damaged: from C, C++ and Rust, linked and described in the ways that toolchains do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parent / "libraries"

_COMPILERS = {
    ".c": ("cc", "-fPIC", "-shared", "-O2", "-g"),
    ".cc": ("c++", "-std=c++17", "-fPIC", "-shared", "-O2", "-g"),
    ".rs": ("rustc", "-g", "--crate-type=cdylib", "-Aunsafe-code"),
}
_RUST_SHARE = 8  # a Rust library is a hundred times as large as a C one: fewer of its copies take as long to read

_MADE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("c", "counter.c", ()),
    ("cxx", "shapes.cc", ()),
    ("c-lazy-two-hashes", "counter.c", ("-Wl,-z,lazy,--hash-style=both",)),
    ("c-bound-at-once", "counter.c", ("-Wl,-z,now,-z,relro,-z,separate-code", "-fno-plt")),
    ("c-compressed", "counter.c", ("-gz=zlib", "-O0")),
    ("cxx-types-apart", "shapes.cc", ("-gdwarf-4", "-fdebug-types-section", "-O0")),
    ("c-packed-relocations", "counter.c", ("-Wl,-z,pack-relative-relocs", "-Wl,--hash-style=sysv")),
)
_RUST: tuple[tuple[str, str, tuple[str, ...]], ...] = (("rust", "words.rs", ()),) if shutil.which("rustc") else ()


class Original(NamedTuple):
    """A library as its toolchain made it."""

    name: str
    data: bytes


def make(directory: Path) -> list[Original]:
    """Compile all of them; the same toolchain gives the same bytes, wherever that is."""
    return [_compile(directory, *one) for one in (*_MADE, *_RUST)]


def small(directory: Path) -> Original:
    """Compile the smallest."""
    return _compile(directory, *_MADE[0])


def pick(originals: list[Original], index: int) -> Original:
    """Return the original that a number stands for."""
    if _RUST and index % _RUST_SHARE == 0:
        return originals[-1]
    return originals[index % len(_MADE)]


def _compile(directory: Path, name: str, source: str, flags: tuple[str, ...]) -> Original:
    path = SOURCES / source
    output = directory / f"{name}.so"
    prefix = "--remap-path-prefix=" if path.suffix == ".rs" else "-ffile-prefix-map="
    command = [*_COMPILERS[path.suffix], *flags, f"{prefix}{directory}=.", "-o", str(output), str(path)]
    subprocess.run(command, check=True, cwd=SOURCES)
    return Original(name, output.read_bytes())
