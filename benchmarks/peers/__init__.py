"""Builds the peers into build/bench-peers (once for the same sources and tools) and loads them."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent
_PACKAGES = ("cffi", "nanobind", "pybind11")
_CFFI_DECLARATIONS = "int add(int a, int b); double total(double *values, long count);"


@dataclass(frozen=True)
class Peers:
    """What was built."""

    directory: Path
    nanobind: Any
    pybind11: Any
    cffi: Any

    @property
    def functions(self) -> Path:
        """The source of the functions that every peer calls."""
        return SOURCES / "functions.c"

    def ctypes(self) -> Any:
        """Return the functions by ctypes, with their types declared."""
        library = ctypes.CDLL(str(self.directory / "libplain.so"))
        library.add.argtypes = [ctypes.c_int, ctypes.c_int]
        library.add.restype = ctypes.c_int
        library.total.argtypes = [ctypes.POINTER(ctypes.c_double), ctypes.c_long]
        library.total.restype = ctypes.c_double
        return library

    def versions(self) -> tuple[Path, Path]:
        """Return two versions of one small library."""
        return self.directory / "libversion_1.so", self.directory / "libversion_2.so"

    def stateful(self, *names: str) -> tuple[Path, ...]:
        """Return versions of a library that has data: ``1``, ``2``, ``moved``, ``linked_1``, ``linked_2``."""
        return tuple(self.directory / f"libstate_{name}.so" for name in names)


def build(directory: Path) -> Peers:
    """Build what isn't built yet, and load it."""
    stamp = directory / "stamp"
    identity = _identity()
    if not stamp.exists() or stamp.read_text("utf-8") != identity:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        _build_with_cmake(directory)
        _build_with_cffi(directory)
        stamp.write_text(identity, "utf-8")
    load = {name: _import(f"{name}_peer", directory) for name in ("nanobind", "pybind11", "cffi")}
    return Peers(directory, **load)


def _identity() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(SOURCES.iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    for package in _PACKAGES:
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()


def _build_with_cmake(directory: Path) -> None:
    search = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    cmake = shutil.which("cmake", path=search)
    if cmake is None:
        message = "cmake isn't there; `make bench` installs it"
        raise SystemExit(message)
    generator = ("-G", "Ninja") if shutil.which("ninja", path=search) else ()
    configure = (
        *(cmake, "-S", str(SOURCES), "-B", str(directory), *generator, "-DCMAKE_BUILD_TYPE=Release"),
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dnanobind_DIR={_answer('nanobind', '--cmake_dir')}",
        f"-Dpybind11_DIR={_answer('pybind11', '--cmakedir')}",
    )
    environment = {**os.environ, "PATH": search}
    _run(*configure, environment=environment)
    _run(cmake, "--build", str(directory), "--config", "Release", environment=environment)


def _answer(module: str, option: str) -> str:
    return subprocess.run(
        (sys.executable, "-m", module, option), check=True, capture_output=True, text=True
    ).stdout.strip()


def _run(*command: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        message = f"the peers can't be built: {' '.join(command)}\n{done.stdout}"
        raise SystemExit(message)


def _build_with_cffi(directory: Path) -> None:
    import cffi  # noqa: PLC0415 - needed for building only

    builder = cffi.FFI()
    builder.cdef(_CFFI_DECLARATIONS)
    builder.set_source(
        "cffi_peer",
        '#include "functions.h"',
        sources=[str(SOURCES / "functions.c")],
        include_dirs=[str(SOURCES)],
        extra_compile_args=["-O3"],
    )
    builder.compile(tmpdir=str(directory / "cffi"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    shutil.copy(next((directory / "cffi").rglob(f"cffi_peer{suffix}")), directory)


def _import(name: str, directory: Path) -> Any:
    path = directory / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = f"{path} can't be imported"
        raise SystemExit(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
