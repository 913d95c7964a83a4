"""``hardened=True``: the checked bytes are in sealed memory.

Would catch a lane that maps or runs anything else, memory that can still be changed, a file that is left for others to
change, a needed library that somebody else could exchange.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from pathlib import Path

import pytest

import midflight
from midflight import _directory
from midflight._errors import MidflightError
from midflight._sealed import sealed
from tests.hardened.conftest import STRANGER, sha256

ALL = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
GO = """package main

//export Value
func Value() int { return 5 }
func main() {}
"""


def mapped(name, pid="self"):
    """Return what a process has mapped whose path has ``name`` in it."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if name in line}


def open_memory(name, pid="self"):
    """Return descriptors of sealable memory called so, of this process or another."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(link.readlink()).startswith(f"/memfd:{name}"):
                found.append(link)
        except FileNotFoundError:
            pass
    return found


def seals(path):
    """Return whether nothing about a file in memory can be changed, as the kernel says."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & ALL == ALL
    finally:
        os.close(descriptor)


def mapped_is_sealed(name, pid="self"):
    """Tell whether all that is mapped under a name is sealed memory, by looking at what is mapped itself."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = [line.split()[0] for line in lines if name in line]
    return bool(ranges) and all(seals(f"/proc/{pid}/map_files/{one}") for one in ranges)


def assert_sealed(path):
    """Nothing about it can be changed: the kernel says so, and lets nobody."""
    assert seals(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(descriptor).st_size
        for change in (
            lambda: os.pwrite(descriptor, b"x", 0),
            lambda: os.ftruncate(descriptor, 1),
            lambda: os.ftruncate(descriptor, size + 1),
            lambda: mmap.mmap(descriptor, 1, mmap.MAP_SHARED, mmap.PROT_WRITE),
        ):
            with pytest.raises(OSError, match=r"Operation not permitted") as refusal:
                change()
            assert refusal.value.errno == errno.EPERM
    finally:
        os.close(descriptor)


# ---- lanes ----------------------------------------------------------------------------------------------------------


def test_in_this_process(library):
    path = library("sealedhere", 1)
    module = midflight.load(path, hardened=True, expect=sha256(path))
    assert module.value() == 1
    (place,) = mapped("sealedhere")
    assert place.startswith("/memfd:midflight:sealedhere")
    assert mapped_is_sealed("sealedhere")
    assert not open_memory("midflight:sealedhere")  # mapped, and closed
    assert not list(Path(_directory.private.new_path("x")).parent.glob("sealedhere*"))
    library("sealedhere", 2)
    midflight.swap(module)  # the option holds for later versions
    assert module.value() == 2
    assert all(place.startswith("/memfd:") for place in mapped("sealedhere"))
    midflight.rollback(module)
    assert module.value() == 1
    last = midflight.unload(module)
    assert last.status == "unloaded"
    assert not mapped("sealedhere")


@pytest.mark.parametrize("sandbox", [False, True])
def test_in_a_worker(library, sandbox):
    path = library("sealedthere", 1)
    module = midflight.load(path, hardened=True, lane="worker", sandbox=sandbox, expect=sha256(path))
    assert module.value() == 1
    process = midflight.versions(module)[0].path.rpartition(" ")[2]
    assert all(place.startswith("/memfd:") for place in mapped("sealedthere", process))
    assert mapped_is_sealed("sealedthere", process)
    held = open_memory("midflight:sealedthere")
    assert len(held) == 1
    assert_sealed(held[0])
    assert held[0].read_bytes() == path.read_bytes()
    midflight.unload(module)


def test_a_go_program(workshop):
    workshop.write("sealedgo/main.go", GO)
    module = midflight.load(workshop.root / "sealedgo", hardened=True)
    assert module.Value() == 5
    process = midflight.versions(module)[0].path.rpartition(" ")[2]
    program = Path(f"/proc/{process}/exe")
    assert str(program.readlink()).startswith("/memfd:midflight:sealedgo")
    assert seals(program)
    midflight.unload(module)


# ---- what a library needs beside itself ---------------------------------------------------------------------------


@pytest.fixture
def family(workshop):
    """A library that looks for another one beside itself."""
    workshop.library("libbrother", "int brother(void) { return 40; }", "-Wl,-soname,libbrother.so")
    text = "int brother(void); int value(void) { return brother() + 2; }"
    return workshop.library("needy", text, f"-L{workshop.root}", "-lbrother", "-Wl,-rpath,$ORIGIN")


@pytest.mark.parametrize("lane", ["here", "worker"])
def test_a_library_beside_it(family, lane):
    module = midflight.load(family, hardened=True, lane=lane)
    assert module.value() == 42
    process = "self" if lane == "here" else midflight.versions(module)[0].path.rpartition(" ")[2]
    places = {place for place in mapped("needy", process) if "needy" in place}
    assert places
    assert all(place.startswith("/memfd:") for place in places)
    assert midflight.unload(module).status == "unloaded"


@pytest.mark.parametrize("lane", ["here", "worker"])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda root: os.chown(root / "libbrother.so", STRANGER, 0), f"another user (number {STRANGER})"),
        (lambda root: (root / "libbrother.so").chmod(0o666), "others may write to it"),
        (lambda root: os.chown(root, STRANGER, 0), f"another user (number {STRANGER})"),
        (lambda root: root.chmod(0o777), "others may write to it"),
        (lambda root: root.chmod(0o1777), "everybody may put files there"),
    ],
    ids=["foreign file", "everybody's file", "foreign directory", "everybody's directory", "shared directory"],
)
def test_a_library_beside_it_that_others_can_exchange(family, workshop, lane, spoil, why, refused_for_integrity):
    assert midflight.load(family, lane=lane).value() == 42  # not hardened
    spoil(workshop.root)
    with refused_for_integrity("somebody else could put one there", why, "-Wl,-rpath"):
        midflight.load(family, hardened=True, lane=lane, expect=sha256(family))


@pytest.mark.parametrize(
    ("run_path", "why"),
    [
        ("/tmp", "everybody may put files there"),
        ("/tmp/midflight-isnt-there/lib", "isn't there, and everybody could make it"),
        ("lib", "looked for in the working directory"),
        ("", "looked for in the working directory"),
    ],
)
def test_a_run_path_where_others_can_write(workshop, run_path, why, refused_for_integrity):
    path = workshop.library("needy", "int value(void) { return 1; }", f"-Wl,-rpath,/usr/lib:{run_path}")
    assert midflight.load(path).value() == 1
    with refused_for_integrity(why):
        midflight.load(path, hardened=True)


def test_a_run_path_of_the_systems(workshop):
    path = workshop.library("needy", "int value(void) { return 1; }", "-Wl,-rpath,/usr/lib:/usr/lib/nowhere")
    assert midflight.load(path, hardened=True).value() == 1


def test_a_swap_to_one_that_others_can_exchange(family, library, refused_for_integrity):
    module = midflight.load(library("calc", 1), hardened=True)
    family.with_name("libbrother.so").chmod(0o666)
    with refused_for_integrity("libbrother.so", "version 1 of calc goes on running"):
        midflight.swap(module, family)
    assert module.value() == 1


# ---- the memory itself ----------------------------------------------------------------------------------------------


def test_sealed_memory():
    descriptor = sealed("midflight:test", b"some bytes")
    assert_sealed(f"/proc/self/fd/{descriptor}")
    assert os.pread(descriptor, 100, 0) == b"some bytes"
    assert not os.fstat(descriptor).st_mode & stat.S_IXUSR  # it is no program
    os.close(descriptor)


def test_sealed_memory_that_is_to_be_run():
    descriptor = sealed("midflight:test", Path("/bin/true").read_bytes(), program=True)
    assert_sealed(f"/proc/self/fd/{descriptor}")
    assert os.fstat(descriptor).st_mode & stat.S_IXUSR
    os.close(descriptor)


def test_an_older_kernel(monkeypatch):
    """One that doesn't know whether memory is to be run."""
    create = os.memfd_create

    def older(name, flags):
        if flags & ~(os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING):
            raise OSError(errno.EINVAL, "Invalid argument")
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    descriptor = sealed("midflight:test", b"some bytes")
    assert_sealed(f"/proc/self/fd/{descriptor}")
    os.close(descriptor)


def test_memory_that_was_written_to_before_it_was_sealed(monkeypatch):
    """As another program of the same user could, by way of /proc."""
    real = fcntl.fcntl

    def written_then_sealed(descriptor, command, argument):
        os.pwrite(descriptor, b"evil", 0)
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", written_then_sealed)
    with pytest.raises(MidflightError, match="no sealed memory can be had"):
        sealed("midflight:test", b"good bytes")
    monkeypatch.undo()
    assert not open_memory("midflight:test")
