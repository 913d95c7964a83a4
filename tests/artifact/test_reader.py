"""Would catch a cache that gives a wrong or damaged interface, or that reads the same library twice."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from midflight.artifact import reader
from midflight.artifact.dwarf import reader as dwarf
from midflight.artifact.interface import Param, Typedef
from midflight.artifact.reader import read_interface

SOURCE = """
struct s { int a; struct s *next; }; enum e { A };
int f(struct s *p, enum e e) { static int n; return p->a + n++; }
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIDFLIGHT_CACHE_DIR", str(tmp_path / "cache"))
    reader.forget()
    yield tmp_path / "cache" / "interfaces"
    reader.forget()


@pytest.fixture
def library(compile_library):
    data = compile_library(SOURCE)
    return data, hashlib.sha256(data).hexdigest()


def no_reading(_):
    pytest.fail("the library was read again")


def test_read_once(cache, library, monkeypatch):
    data, sha256 = library
    first = read_interface(data, sha256=sha256)
    assert first == dwarf.read(data)
    monkeypatch.setattr(dwarf, "read", no_reading)
    assert read_interface(data, sha256=sha256) is first
    reader.forget()
    assert read_interface(data, sha256=sha256) == first
    assert [path.name for path in cache.iterdir()] == [f"{sha256}.msgpack"]


def entry_of(raw):
    return reader._decoder.decode(raw[32:])


def signed(entry):
    """An entry as it would be on the disk, with the digest that belongs to it."""
    payload = msgspec.msgpack.encode(entry)
    return hashlib.sha256(payload).digest() + payload


def changed(raw, **parts):
    return signed(msgspec.structs.replace(entry_of(raw), **parts))


def altered(entry):
    """An entry whose interface refers to a type that isn't there."""
    function = msgspec.structs.replace(entry.interface.functions[0], params=(Param("p", 9999),))
    return msgspec.structs.replace(entry, interface=msgspec.structs.replace(entry.interface, functions=(function,)))


def looped(entry):
    """An entry with a typedef that leads back to itself."""
    types = (*entry.interface.types, Typedef("t", len(entry.interface.types)))
    return msgspec.structs.replace(entry, interface=msgspec.structs.replace(entry.interface, types=types))


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda _: b"\xff" * 100,
        lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:],
        lambda _: signed({"format": reader.FORMAT}),
        lambda _: signed(b"\xff" * 100),
        lambda raw: changed(raw, format=reader.FORMAT + 1),
        lambda raw: changed(raw, sha256="0" * 64),
        lambda raw: signed(altered(entry_of(raw))),
        lambda raw: signed(looped(entry_of(raw))),
    ],
)
def test_damaged_entries_are_rewritten(cache, library, damage):
    data, sha256 = library
    expected = read_interface(data, sha256=sha256)
    path = cache / f"{sha256}.msgpack"
    good = path.read_bytes()
    path.write_bytes(damage(good))
    reader.forget()
    assert read_interface(data, sha256=sha256) == expected
    assert path.read_bytes() == good


def test_a_cache_that_cannot_be_written(cache, library):
    data, sha256 = library
    cache.parent.mkdir()
    cache.write_text("in the way")
    assert read_interface(data, sha256=sha256).functions[0].name == "f"


@pytest.mark.usefixtures("cache")
def test_memory_is_bounded(library):
    data, _ = library
    for number in range(reader._REMEMBERED + 5):
        read_interface(data, sha256=f"{number:064x}")
    assert len(reader._remembered) == reader._REMEMBERED


@pytest.mark.usefixtures("cache")
def test_what_is_declared_wins(library):
    data, sha256 = library
    interface = read_interface(data, sha256=sha256, declared="int f(void *p, int e);")
    assert interface.origin == "declared"
    assert read_interface(data, sha256=sha256).origin == "dwarf"
