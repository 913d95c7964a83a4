"""What a user gets for a file that is no library of this machine, row by row.

Would catch: a crash or a bare traceback for somebody's broken file, a refusal that leaves something behind, an error
that doesn't say what, where and what to do.
"""

from __future__ import annotations

import os
import struct
import subprocess

import pytest

import midflight
from midflight import _core

E_MACHINE, E_CLASS, E_DATA, E_TYPE = 18, 4, 5, 16


def patched(path, offset, value, form="<H"):
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, value)
    made = path.with_name("patched.so")
    made.write_bytes(data)
    return made


@pytest.fixture(params=["load", "swap"])
def attempt(request, running):
    """Both ways in: a first load, and a swap of a module that runs."""
    return midflight.load if request.param == "load" else lambda path: midflight.swap(running, path)


def test_a_missing_file(attempt, refused, tmp_path):
    with refused(midflight.SourceNotFoundError, "gone.so", "check the path", builtin=FileNotFoundError):
        attempt(tmp_path / "gone.so")


def test_a_directory(attempt, refused, tmp_path):
    with refused(midflight.SourceError, str(tmp_path), "name the source files", builtin=ValueError):
        attempt(tmp_path)


@pytest.mark.parametrize("name", ["empty.so", "empty"])
def test_an_empty_file(attempt, refused, tmp_path, name):
    (tmp_path / name).touch()
    error = midflight.BadLibraryError if name.endswith(".so") else midflight.SourceError
    with refused(error, name, "empty", builtin=ValueError):
        attempt(tmp_path / name)


def test_a_text_file(attempt, refused, tmp_path):
    path = tmp_path / "words.so"
    path.write_text("These are no instructions.\n" * 100)
    with refused(midflight.BadLibraryError, "words.so", "isn't a shared library"):
        attempt(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_could_be_read_for_ever(attempt, refused, tmp_path, make):
    path = tmp_path / "endless.so"
    make(path)
    with refused(midflight.SourceError, "endless.so", "pipe, socket or device"):
        attempt(path)


@pytest.mark.parametrize(
    ("offset", "form", "value", "words"),
    [
        (E_MACHINE, "<H", 243, "another processor (ELF machine 243)"),
        (E_CLASS, "<B", 1, "32-bit"),
        (E_DATA, "<B", 2, "big-endian"),
    ],
    ids=["machine", "32-bit", "big-endian"],
)
def test_a_library_for_another_machine(attempt, refused, good, offset, form, value, words):
    path = patched(good(1), offset, value, form)
    with refused(midflight.WrongMachineError, "patched.so", words, builtin=ValueError):
        attempt(path)


@pytest.mark.parametrize(("kind", "words"), [(1, "object file"), (2, "program"), (4, "core dump"), (77, "unknown")])
def test_an_elf_file_that_is_no_library(attempt, refused, good, kind, words):
    with refused(midflight.BadLibraryError, words):
        attempt(patched(good(1), E_TYPE, kind))


def test_a_program(attempt, refused, tmp_path):
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    program = tmp_path / "program.so"
    subprocess.run(["cc", "-pie", "-fPIE", "-o", program, source], check=True)
    with refused(midflight.BadLibraryError, "it is a program"):
        attempt(program)


def test_every_truncation(good, running, refused):
    path = good(1)
    data = path.read_bytes()
    lengths = [*range(1, 200, 7), *range(200, len(data), len(data) // 60), len(data) - 1]
    for length in lengths:
        with pytest.raises(midflight.BadLibraryError):
            _core.check(data[:length])
    for length in lengths[::12]:
        path.write_bytes(data[:length])
        with refused(midflight.BadLibraryError, "good1.so", "version 1 of running goes on running"):
            midflight.swap(running, path)


def test_a_refusal_says_what_goes_on(running, tmp_path):
    path = tmp_path / "words.so"
    path.write_text("words")
    with pytest.raises(midflight.BadLibraryError) as caught:
        midflight.swap(running, path)
    error = caught.value
    assert (error.stage, error.subject) == ("inspect", str(path))
    assert error.unchanged == "version 1 of running goes on running"


def test_a_note_may_end_without_padding(workshop):
    """What every compiler makes that marks its code for control-flow protection: notes aligned to 8."""
    path = workshop.library("protected", "int f(void) { return 3; }", "-fcf-protection=full")
    assert midflight.load(path).f() == 3


def test_what_works_after_a_file_is_gone(good):
    path = good(5)
    module = midflight.load(path)
    path.unlink()
    assert module.answer(1) == 6
    with pytest.raises(midflight.SourceNotFoundError):
        midflight.swap(module)
    assert module.answer(1) == 6


def test_two_loads_of_one_file_are_two_modules(workshop):
    path = workshop.library("counting", "static int count; int next(void) { return ++count; }")
    one, two = midflight.load(path), midflight.load(path)
    assert (one.next(), one.next(), two.next()) == (1, 2, 1)
    midflight.unload(one)
    assert two.next() == 2
