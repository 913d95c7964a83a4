"""Every fact of FACTS.md about loading: what plain dlopen does, and that midflight doesn't.

Would catch: old code under a new name, a process that dies of what was done to a file, a limit on the number of
versions, a load in memory that leaves something behind.
"""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import midflight
from midflight._directory import private
from tests.hazards.conftest import is_mapped

SOURCE = "static volatile int kept = {number}; int value(void) {{ return kept; }} int set(int n) {{ return kept = n; }}"


@pytest.fixture
def number(workshop):
    """Make a library whose value() is a number."""
    return lambda n: workshop.library(f"number{n}", SOURCE.format(number=n))


@pytest.fixture
def no_directory(monkeypatch):
    """Let there be no private directory, so that copies are in memory."""
    monkeypatch.setattr(private, "new_path", lambda _stem: None)


# ---- same path, new bytes -------------------------------------------------------------------------------------------


def test_a_path_with_new_bytes(number, plain, tmp_path):
    path, new = number(1), number(2)
    again = tmp_path / "again.so"
    again.write_bytes(path.read_bytes())
    script = """
    one = dlopen(arguments[0])
    os.replace(arguments[1], arguments[0])
    two = dlopen(arguments[0])
    print(one.value(), two.value())
    """.replace("\n    ", "\n")
    spare = tmp_path / "spare.so"
    spare.write_bytes(new.read_bytes())
    assert plain(script, again, spare).words == ["1", "1"]  # the old code, and nobody is told

    module = midflight.load(path)
    assert module.value() == 1
    new.replace(path)
    assert midflight.swap(module).changed
    assert module.value() == 2


def test_bytes_that_are_written_over_in_place(number):
    path = number(1)
    module = midflight.load(path)
    path.write_bytes(number(2).read_bytes())
    midflight.swap(module)
    assert module.value() == 2


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_another_name_of_a_file(number, plain, tmp_path, link):
    path, other = number(1), tmp_path / "other.so"
    link(path, other)
    script = "one, two = map(dlopen, arguments); one.set(7); print(two.value())"
    assert plain(script, path, other).words == ["7"]  # one library, so one set of data

    one, two = midflight.load(path), midflight.load(other)
    one.set(7)
    assert (one.value(), two.value()) == (7, 1)


def test_a_symbolic_link_that_is_turned(number, plain, tmp_path):
    path, new, link = number(1), number(2), tmp_path / "current.so"
    link.symlink_to(path)
    script = """
    one = dlopen(arguments[0])
    os.unlink(arguments[0]); os.symlink(arguments[1], arguments[0])
    print(one.value(), dlopen(arguments[0]).value())
    """.replace("\n    ", "\n")
    assert plain(script, link, new).words == ["1", "1"]
    link.unlink()
    link.symlink_to(path)

    module = midflight.load(link)
    link.unlink()
    link.symlink_to(new)
    midflight.swap(module)
    assert module.value() == 2


@pytest.mark.usefixtures("no_directory")
def test_a_reused_descriptor(number, plain):
    script = """
    file = os.open(arguments[0], os.O_RDONLY)
    one = dlopen(f"/proc/self/fd/{file}")
    os.close(file)
    assert os.open(arguments[1], os.O_RDONLY) == file
    print(one.value(), dlopen(f"/proc/self/fd/{file}").value())
    """.replace("\n    ", "\n")
    assert plain(script, number(1), number(2)).words == ["1", "1"]

    modules = [midflight.load(number(n)) for n in (1, 2, 3)]  # each in memory, by the same descriptor
    assert [module.value() for module in modules] == [1, 2, 3]


# ---- what is done to a file that is loaded --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    ["os.truncate(path, 0)", "os.pwrite(os.open(path, os.O_WRONLY), bytes(os.path.getsize(path)), 0)"],
    ids=["truncate", "zero"],
)
def test_damage_to_a_loaded_file(number, plain, tmp_path, damage):
    path, copy = number(1), tmp_path / "copy.so"
    copy.write_bytes(path.read_bytes())
    script = f"path = arguments[0]; one = dlopen(path); one.value(); {damage}; one.value()"
    assert plain(script, copy).code in {-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGILL}

    module = midflight.load(path)
    exec(damage, {"path": path, "os": os})  # noqa: S102 - the very same damage
    assert module.value() == 1
    path.unlink()
    assert module.value() == 1


def test_a_corrupt_file(number, plain, tmp_path):
    path, corrupt = number(1), tmp_path / "corrupt.so"
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        dynamic = ELFFile(file).get_section_by_name(".dynamic")
        place = next(i for i, tag in enumerate(dynamic.iter_tags()) if tag["d_tag"] == "DT_RELACOUNT")
        struct.pack_into("<Q", data, dynamic["sh_offset"] + 16 * place + 8, 1 << 30)
    corrupt.write_bytes(data)
    # A signal, or a failed assertion of the loader's, which ends the process with 127.
    assert plain("dlopen(arguments[0])", corrupt).code in {-signal.SIGSEGV, -signal.SIGBUS, 127}

    module = midflight.load(path)
    with pytest.raises(midflight.BadLibraryError) as caught:
        midflight.swap(module, corrupt)
    assert caught.value.stage == "inspect"
    assert module.value() == 1


# ---- how many -------------------------------------------------------------------------------------------------------


def test_namespaces_run_out_and_versions_do_not(number, plain):
    script = """
    libc = ctypes.CDLL(None)
    libc.dlmopen.restype = ctypes.c_void_p
    opened = 0
    while libc.dlmopen(ctypes.c_long(-1), arguments[0].encode(), os.RTLD_NOW):
        opened += 1
    print(opened)
    """.replace("\n    ", "\n")
    path = number(1)
    assert int(plain(script, path).words[0]) <= 15

    modules = [midflight.load(path) for _ in range(200)]
    for n, module in enumerate(modules):
        module.set(n)
    assert [module.value() for module in modules] == list(range(200))
    assert {midflight.unload(module).status for module in modules} == {"unloaded"}


@pytest.mark.usefixtures("no_directory")
def test_copies_in_memory_leave_nothing(number):
    paths = [number(1), number(2)]
    module = midflight.load(paths[0])
    midflight.swap(module, paths[1])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for n in range(100):
        report = midflight.swap(module, paths[n % 2])
        assert report.old.status == "unloaded"
        assert module.value() == n % 2 + 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    lines = Path("/proc/self/maps").read_text().splitlines()
    assert sum("memfd:midflight" in line and "r-xp" in line for line in lines) == 1


@pytest.mark.usefixtures("no_directory")
def test_a_copy_in_memory_is_out_of_reach(number):
    module = midflight.load(number(1))
    version = midflight.versions(module)[0]
    assert "/fd/" in version.path
    with pytest.raises(OSError, match=r"."):
        os.open(version.path, os.O_RDWR)  # its descriptor is closed: nobody can reach it by name


# ---- names that libraries have for each other -----------------------------------------------------------------------


def test_a_private_copy_answers_to_no_soname(workshop, plain):
    engine = workshop.library("engine", "int engine(void) { return 1; }", "-Wl,-soname,libonlyhere.so")
    stub = workshop.library("stub", "int engine(void) { return 9; }", "-Wl,-soname,libonlyhere.so")
    user = workshop.library("user", "int engine(void); int use(void) { return engine(); }", str(stub))
    # Whoever needs that name gets whatever version happens to be loaded.
    assert plain("dlopen(arguments[0]); print(dlopen(arguments[1]).use())", engine, user).words == ["1"]

    module = midflight.load(engine)
    with pytest.raises(midflight.MissingLibraryError) as caught:
        midflight.load(user)
    assert "libonlyhere.so" in str(caught.value)
    assert module.engine() == 1


def test_two_versions_with_one_soname(workshop):
    text = "int engine(void) {{ return {0}; }} int twice(void) {{ return 2 * engine(); }}"
    paths = [workshop.library(f"e{n}", text.format(n), "-Wl,-soname,libengine.so") for n in (1, 2)]
    module = midflight.load(paths[0])
    with midflight.pin(module) as old:
        midflight.swap(module, paths[1])
        assert (old.twice(), module.twice()) == (2, 4)


def test_the_map_is_asked_not_the_loader(number):
    module = midflight.load(number(1))
    path = midflight.versions(module)[0].path
    assert is_mapped(path)
    assert midflight.unload(module).status == "unloaded"
    assert not is_mapped(path)
    assert not Path(path).exists()
