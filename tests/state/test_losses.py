"""Would catch a value that is lost in silence, and a message that doesn't say which value was lost, or where."""

from __future__ import annotations

import ctypes
import struct

import pytest

from midflight import _core
from midflight.state import losses

_HEADERS = "#include <stdint.h>\n#include <stdbool.h>\n#include <pthread.h>\n"
_PLAYER = "struct player {{ struct {{ {0} count; }} items[2]; {1} }} v[3];"


def _run(migration, data: bytes, mapping=None):
    source = ctypes.create_string_buffer(data, migration.from_size)
    target = ctypes.create_string_buffer(b"\xee" * migration.to_size, migration.to_size)
    loss = migration.plan().run(ctypes.addressof(source), ctypes.addressof(target), 1, mapping)
    return loss, target.raw


LOSSES = [
    ("int v;", "int8_t v;", struct.pack("i", 300), "v: 300 does not fit int8_t"),
    ("int v;", "unsigned v;", struct.pack("i", -1), "v: -1 does not fit unsigned int"),
    ("double v;", "float v;", struct.pack("d", 0.1), "v: 0.1 can't be held exactly by float"),
    ("double v;", "int v;", struct.pack("d", 1.5), "v: 1.5 can't be held exactly by int"),
    ("int v;", "bool v;", struct.pack("i", 2), "v: 2 does not fit bool"),
    ("struct {unsigned a:3;} v;", "struct {bool a;} v;", b"\x05", "v.a: 5 does not fit bool"),
    ("struct {int a:4;} v;", "struct {unsigned a:4;} v;", b"\x0f", "v.a: -1 does not fit unsigned int : 4"),
    ("enum e {A, B} v;", "enum e {A} v;", struct.pack("i", 1), "v: B (1) is no enumerator of enum e"),
    ("enum e {A, B} v;", "enum e {B, A} v;", struct.pack("i", 7), "v: 7 is no enumerator of enum e"),
    ("int v[3];", "int v[1];", struct.pack("3i", 1, 0, 3),
     "v[1…2]: there is something in the part that the new version has no room for"),
    ("char v[8];", "char v[4];", b"goblin\0\0",
     "v: there is something in the part that the new version has no room for"),
    (_PLAYER.format("int", ""), _PLAYER.format("int8_t", ""), struct.pack("6i", 1, 2, 3, 4, 5, 600),
     "v[2].items[1].count: 600 does not fit int8_t"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "data", "message"), LOSSES)
def test_what_is_lost_is_told(pair, old, new, data, message):
    migration = pair(_HEADERS + old, _HEADERS + new).migration("v")
    loss, _ = _run(migration, data)
    assert losses.spell(loss, migration, "v") == message


KEPT = [
    ("int v;", "int8_t v;", struct.pack("i", -128), b"\x80"),
    ("struct {unsigned a:3;} v;", "struct {bool a;} v;", b"\x01", b"\xef"),
    ("struct {bool a;} v;", "struct {unsigned a:3;} v;", b"\x01", b"\xe9\xee\xee\xee"),
    ("enum e {A, B} v;", "enum e {Z, B = 9} v;", struct.pack("i", 1), struct.pack("i", 9)),
    ("int v[3];", "int v[2];", struct.pack("3i", 1, 2, 0), struct.pack("2i", 1, 2)),
    ("char v[8];", "char v[4];", b"orc\0\0\0\0\0", b"orc\0"),
    ("short v[2];", "int v[3];", struct.pack("2h", 5, -6), struct.pack("2i", 5, -6) + b"\xee" * 4),
]


@pytest.mark.parametrize(("old", "new", "data", "result"), KEPT)
def test_what_fits_is_kept(pair, old, new, data, result):
    loss, target = _run(pair(_HEADERS + old, _HEADERS + new).migration("v"), data)
    assert loss is None
    assert target == result


def test_a_pointer_that_leads_nowhere_is_told(pair):
    migration = pair("struct {int n; void (*f)(int);} v;", "struct {void (*f)(int); int n;} v;").migration("v")
    mapping = _core.Mapping(0x1000, 0x2000, [(0x1010, 0x5010)])
    loss, _ = _run(migration, struct.pack("qQ", 1, 0x1020), mapping)
    assert losses.spell(loss, migration, "v") == "v.f points to 0x1020, which the new version doesn't have"
    said = losses.spell(loss, migration, "v", describe=lambda address: f"the function {address - 0x1020}")
    assert said == "v.f points to the function 0, which the new version doesn't have"
    loss, target = _run(migration, struct.pack("qQ", 1, 0x1010), mapping)
    assert loss is None
    assert struct.unpack_from("Q", target)[0] == 0x5010


def test_a_lock_that_is_held_is_told(pair):
    text = _HEADERS + "struct {{ {} pthread_mutex_t lock; }} v;"
    migration = pair(text.format("int a;"), text.format("long a, b;")).migration("v")
    memory = bytearray(migration.from_size)
    assert _run(migration, bytes(memory))[0] is None
    struct.pack_into("i", memory, 8, 1)
    loss, _ = _run(migration, bytes(memory))
    assert losses.spell(loss, migration, "v") == "v.lock is locked"


def test_an_element_of_a_block_has_its_number(pair):
    migration = pair("struct {int hp;} v;", "struct {int8_t hp;} v;".replace("int8_t", "signed char")).migration("v")
    source = (ctypes.c_int * 20)()
    source[17] = 300
    target = ctypes.create_string_buffer(20)
    loss = migration.plan().run(ctypes.addressof(source), ctypes.addressof(target), 20)
    assert losses.spell(loss, migration, "players", block=True) == "players[17].hp: 300 does not fit signed char"
