"""midflight.h with every compiler that is there, as C and C++, all warnings as errors; and what it does by itself.

Would catch a construct that one of the standards doesn't have, a warning in somebody's build, and blocks that only work
where midflight is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import midflight

INCLUDE = Path(midflight.__file__).parent / "include"
WARNINGS = ("-pedantic", "-Wall", "-Wextra", "-Werror")

PROGRAM = """
#include <midflight.h>
struct item { int number; double weight; };
struct packet { int length; struct item items[1]; };
struct wide { char bytes[100]; } __attribute__((aligned(128)));
typedef struct item *item_pointer;
MF_RENAMED(item.size, item.weight);
MF_RENAMED(struct thing, struct item); MF_RENAMED(best, record);

static int blocks(void)
{
    struct item *items = MF_NEW(struct item, 3), *none = MF_RESIZE(items, struct item, ~sizeof(int) / 2);
    item_pointer *pointers = MF_NEW(item_pointer, 2);
    int wrong = items == 0 || none != 0 || items[2].number != 0 || pointers[1] != 0;
    items[2].number = 7;
    items = MF_RESIZE(items, struct item, 1000);
    wrong += items[2].number != 7 || items[999].number != 0;
    items = MF_RESIZE(items, struct item, 3);
    wrong += items[2].number != 7;
    MF_FREE(items);
    MF_FREE(pointers);
    MF_FREE(0);
    return wrong;
}

static int others(void)
{
    struct wide *wide = MF_NEW(struct wide, 3);
    struct packet *packet = MF_NEW_FLEX(struct packet, items, 10);
    int wrong = (reinterpret(wide) & 127) != 0 || packet->items[9].number != 0;
    packet->items[9].number = 4;
    packet = MF_RESIZE_FLEX(packet, struct packet, items, 100);
    wrong += packet->items[9].number != 4 || packet->items[99].number != 0;
    MF_FREE(wide);
    MF_FREE(packet);
    return wrong;
}

int midflight_loaded(void) { return 0; }
int midflight_save(void) { return 0; }
int midflight_restore(void) { return 0; }
int midflight_unloading(void) { return 0; }

int main(void)
{
    return blocks() + others() + midflight_should_yield();
}
"""

C = "#define reinterpret(pointer) ((size_t)(pointer))\n" + PROGRAM.replace("items[1];", "items[];")
CXX = "#define reinterpret(pointer) reinterpret_cast<size_t>(pointer)\n" + PROGRAM

ZIG = (sys.executable, "-m", "ziglang")


def _there(command: tuple[str, ...]) -> bool:
    return find_spec("ziglang") is not None if command[:3] == ZIG else shutil.which(command[0]) is not None


C_COMPILERS = list(filter(_there, [("gcc",), ("clang",), (*ZIG, "cc")]))
CXX_COMPILERS = list(filter(_there, [("g++",), ("clang++",), (*ZIG, "c++")]))


def _build(tmp_path: Path, suffix: str, command: tuple[str, ...], *flags: str) -> Path:
    source = tmp_path / f"program{suffix}"
    source.write_text(C if suffix == ".c" else CXX)
    program = tmp_path / "program"
    subprocess.run([*command, *flags, "-O1", f"-I{INCLUDE}", "-o", program, source], check=True)
    return program


@pytest.mark.parametrize("command", C_COMPILERS, ids=lambda command: " ".join(command[-2:]))
@pytest.mark.parametrize("standard", ["c99", "c11", "gnu17"])
def test_c(tmp_path: Path, command: tuple[str, ...], standard: str) -> None:
    subprocess.run([_build(tmp_path, ".c", command, f"-std={standard}", *WARNINGS)], check=True)


@pytest.mark.parametrize("command", CXX_COMPILERS, ids=lambda command: " ".join(command[-2:]))
@pytest.mark.parametrize("standard", ["c++98", "c++17", "c++20"])
def test_cxx(tmp_path: Path, command: tuple[str, ...], standard: str) -> None:
    flags = (f"-std={standard}", *WARNINGS, "-Wold-style-cast")
    subprocess.run([_build(tmp_path, ".cc", command, *flags)], check=True)


def test_sanitized_and_static(tmp_path: Path) -> None:
    """Where nothing could ever define the weak symbol, and where every access is looked at."""
    subprocess.run([_build(tmp_path, ".c", ("cc",), "-static")], check=True)
    subprocess.run([_build(tmp_path, ".c", ("cc",), "-fsanitize=address,undefined")], check=True)


def test_renames_are_texts_in_a_section_of_their_own(tmp_path: Path) -> None:
    from midflight.artifact.elf import Elf

    library = _build(tmp_path, ".c", ("cc",), "-shared", "-fPIC").read_bytes()
    texts = b"item.size\0item.weight\0struct thing\0struct item\0best\0record\0"
    assert Elf(library).section("midflight_renames") == texts
