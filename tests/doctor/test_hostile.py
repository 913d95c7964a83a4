"""Bytes that nobody meant well.

Would catch: an exception or a crash for a damaged file, a verdict that lets one in which `load` refuses, memory or time
out of proportion.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import _core
from midflight.cli.doctor import as_json
from tests.doctor.libraries import ADD, HAZARDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Workshop

MUTANTS, SEED = 150, 20240611
ORIGINALS = ("STB_GNU_UNIQUE", "atexit, destructors", "Rust, thread_local! with Drop", "stripped")


def judge(path: Path, data: bytes) -> midflight.Inspection:
    path.write_bytes(data)
    found = midflight.inspect(path)
    as_json(found)
    return found


def refused(data: bytes) -> bool:
    """Whether `load` would refuse the bytes before any other look at them."""
    try:
        _core.check(data)
    except midflight.MidflightError:
        return True
    return False


@pytest.mark.parametrize("name", ORIGINALS)
def test_mutants_are_judged(name: str, workshop: Workshop) -> None:
    original = HAZARDS[name].build(workshop).read_bytes()
    chance, path = random.Random(SEED), workshop.root / "mutant.so"
    interesting = original.index(b"\x7fELF"), struct.unpack_from("<Q", original, 40)[0]
    for number in range(MUTANTS):
        data = bytearray(original)
        where = (0, interesting[1], chance.randrange(len(data)))[number % 3]
        for _ in range(chance.choice((1, 4, 64))):
            at = min(len(data) - 1, where + chance.randrange(600))
            data[at] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if number % 5 == 0:
            del data[chance.randrange(len(data)) :]
        found = judge(path, bytes(data))
        assert found.verdict == "refused" or not refused(bytes(data)), f"seed {SEED}, mutant {number}"


@pytest.mark.parametrize(
    "section", [".debug_info", ".debug_abbrev", ".debug_str", ".symtab", ".dynsym", ".gnu.version_r"]
)
def test_noise_in_a_section(section: str, workshop: Workshop) -> None:
    from midflight.artifact.elf import Elf

    original = HAZARDS["atexit, destructors"].build(workshop).read_bytes()
    place = Elf(original).sections[section]
    chance = random.Random(SEED)
    for _ in range(20):
        data = bytearray(original)
        data[place.offset : place.offset + place.size] = chance.randbytes(place.size)
        found = judge(workshop.root / "noise.so", bytes(data))
        assert found.verdict == "refused" or not refused(bytes(data))
        if section.startswith(".debug_i"):
            assert found.needs.interface or found.exports.functions or found.verdict == "refused"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\x7fELF", "truncated"),
        (b"not a library", "isn't a shared library"),
        (b"/* GNU ld script */\nGROUP ( /lib/libc.so.6 )", "linker script"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "32-bit"),
        (b"\x7fELF\x02\x02\x01" + bytes(60), "big-endian"),
    ],
)
def test_what_is_no_library(data: bytes, said: str, workshop: Workshop) -> None:
    found = judge(workshop.root / "odd.so", data)
    assert found.verdict == "refused"
    assert said in found.findings[0].what
    assert found.findings[0].mend


def test_a_section_that_claims_to_be_larger_when_inflated(workshop: Workshop) -> None:
    """What decompressing would take is asked for before it is done."""
    path = workshop.library("bomb", HAZARDS["nothing at all"].text, "-gz=zlib")
    from midflight.artifact.elf import Elf

    data = bytearray(path.read_bytes())
    for name, section in Elf(bytes(data)).sections.items():
        if name.startswith(".debug") and section.flags & 0x800:
            struct.pack_into("<Q", data, section.offset + 8, 1 << 31)
    assert judge(path, bytes(data)).verdict == "refused"
    with pytest.raises(midflight.BadLibraryError):
        midflight.load(path)


def test_debug_information_that_is_too_large_when_inflated_is_left_out_and_told(workshop: Workshop) -> None:
    filled = '__asm__(".section .debug_addr,\\"\\",@progbits\\n .zero SIZE\\n .previous");'
    path = workshop.library("packed", filled.replace("SIZE", "1000") + ADD, "-gz=zlib")
    found = midflight.inspect(path)
    assert (found.debug.compressed, found.unread) == ("zlib", ())
    path = workshop.library("bulky", filled.replace("SIZE", str(48 << 20)) + ADD, "-gz=zlib")
    assert path.stat().st_size < 1 << 20
    found = midflight.inspect(path)
    assert "takes 48 MB" in found.unread[0]
    assert (found.verdict, found.needs.interface, found.exports.functions) == ("swappable", False, ())
    assert as_json(found)
    module = midflight.load(path)  # it may take what it takes
    assert module.add(2, 3) == 5
    midflight.unload(module)
