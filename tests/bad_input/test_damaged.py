"""Libraries with wild offsets: each of thousands of damaged copies is refused, or the system's loader survives it.

Would catch: a check that lets something through that ends the process inside the loader (a signal, or one of its
assertions), a check that refuses what real toolchains make.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import midflight
from midflight import _core

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
MUTANTS = 4000
LARGE = 1 << 20  # bytes; of a large library fewer copies, for the time it takes

C = """
#include <pthread.h>
#include <stdio.h>
static __thread int counter = 3;
__thread int shared;
static void *run(void *argument) { return argument; }
int count(void) { return ++counter + ++shared; }
int start(void) { pthread_t t; pthread_create(&t, 0, run, 0); return pthread_join(t, 0); }
int say(const char *text) { return printf("%s", text); }
"""
CXX = (HERE.parent / "native" / "libraries" / "unique.cc").read_text()
RUST = '#[no_mangle] pub extern "C" fn say(n: i32) -> usize { format!("{n}").len() }'


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    """The program that damages copies and has the loader load them."""
    program = tmp_path_factory.mktemp("mutants") / "mutants"
    warnings = ["-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1"]
    sources = sorted(NATIVE.glob("*.c"))
    command = ["cc", *warnings, "-iquote", NATIVE, "-o", program, HERE / "mutants.c", *sources, "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return program


def rust(workshop) -> Path:
    output = workshop.root / "rust.so"
    subprocess.run(["rustc", "-g", "--crate-type=cdylib", "-o", output, workshop.write("rust.rs", RUST)], check=True)
    return output


MAKERS = {
    "C": lambda workshop: workshop.library("c", C),
    "C, lazy, two hash tables": lambda workshop: workshop.library("c", C, "-Wl,-z,lazy,--hash-style=both"),
    "C, bound at once": lambda workshop: workshop.library("c", C, "-Wl,-z,now,-z,relro", "-fno-plt"),
    "C++": lambda workshop: workshop.library("cxx", CXX, suffix=".cc"),
    **({"Rust": rust} if shutil.which("rustc") else {}),
}


@pytest.mark.parametrize("made", MAKERS)
def test_the_loader_survives_what_the_check_lets_through(mutants, workshop, made):
    path = MAKERS[made](workshop)
    wanted = MUTANTS if path.stat().st_size < LARGE else MUTANTS // 8
    run = subprocess.run([mutants, path, "20261121", str(wanted)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    made_of, refused, loaded, _, died = map(int, run.stdout.split())
    assert (made_of, died) == (wanted, 0)
    assert refused > wanted // 4
    assert loaded > wanted // 100  # so that something was tried


def test_the_check_lets_real_libraries_through():
    """Among them C's, C++'s and Python's own, with all that their toolchains do."""
    paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    checked = [path for path in paths if path.startswith("/") and Path(path).is_file()]
    assert len(checked) > 5
    for path in checked:
        _core.check(Path(path).read_bytes())


MOVED = {"say": "outside of its code", "kept": "outside of its data", "shared": "outside of its threads' data"}


@pytest.mark.parametrize("name", MOVED)
def test_a_symbol_that_lies_elsewhere(workshop, name):
    """What is bound to it would write into somebody else's memory, if there is any at that place."""
    data = bytearray(workshop.library("c", C + "int kept;").read_bytes())
    table = ELFFile(io.BytesIO(bytes(data))).get_section_by_name(".dynsym")
    found = next(number for number, symbol in enumerate(table.iter_symbols()) if symbol.name == name)
    value = table["sh_offset"] + found * table["sh_entsize"] + 8
    data[value + 2] ^= 4  # 256 KiB on
    with pytest.raises(midflight.BadLibraryError, match=f"{name} lies {MOVED[name]}"):
        _core.check(bytes(data))


def test_a_damaged_library_changes_nothing(workshop, refused, running):
    path = workshop.library("c", C)
    data = bytearray(path.read_bytes())
    data[64:120] = bytes(range(56))  # the first program header
    path.write_bytes(data)
    with refused(midflight.BadLibraryError, "c.so"):
        midflight.swap(running, path)
