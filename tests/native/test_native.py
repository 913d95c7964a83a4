"""Runs the C tests of the Python-free core, built with AddressSanitizer and UBSan.

Would catch what Python can't see: reads past a file's end, leaks, undefined behaviour, calls with a misaligned stack.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
WARNINGS = ["-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries that the tests load, as another compiler run would make them."""
    directory = tmp_path_factory.mktemp("libraries")
    for source in (HERE / "libraries").iterdir():
        compiler = "c++" if source.suffix == ".cc" else "cc"
        output = directory / f"{source.stem}.so"
        subprocess.run([compiler, "-g", "-O1", "-fPIC", "-shared", "-o", output, source], check=True)
    return directory


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole core, compiled once, as a library that tests are linked with."""
    directory = tmp_path_factory.mktemp("core")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: _compile(source, directory / f"{source.stem}.o"), NATIVE.glob("*.c")))
    subprocess.run(["ar", "rcs", directory / "core.a", *objects], check=True)
    return directory / "core.a"


def _compile(source: Path, output: Path) -> Path:
    subprocess.run(["cc", *WARNINGS, *SANITIZERS, "-iquote", NATIVE, "-c", "-o", output, source], check=True)
    return output


@pytest.mark.parametrize("test", sorted(HERE.glob("*_test.c")), ids=lambda path: path.stem)
def test_with_sanitizers(test: Path, libraries: Path, core: Path, tmp_path: Path) -> None:
    """Every C test ends with 0 and no report."""
    program = tmp_path / test.stem
    # All of it: what registers itself at the start is named by nobody.
    everything = ["-Wl,--whole-archive", core, "-Wl,--no-whole-archive"]
    made = _compile(test, tmp_path / "test.o")
    subprocess.run(["cc", *SANITIZERS, "-o", program, made, *everything, "-ldl", "-lpthread"], check=True)
    run = subprocess.run([program, libraries], capture_output=True, text=True, env=dict(os.environ), check=False)
    assert run.returncode == 0, run.stdout + run.stderr
