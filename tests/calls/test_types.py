"""Catches types that have other names, fields or values than the library's."""

from __future__ import annotations

import ctypes
from enum import IntEnum

import pytest

import midflight

SOURCE = r"""
typedef struct player { int id; char name[16]; struct { float x, y; } at; unsigned alive : 1; } player_t;
typedef union { int i; float f; } word;
enum color { RED, GREEN = 5 };
typedef enum { OFF, ON } toggle;
typedef int (*operation)(int, int);
int use(player_t *p, word *w, enum color c, toggle t, operation o) { return p->id + w->i + (int)c + (int)t + o(1, 2); }
"""


@pytest.fixture(scope="module")
def types(build):
    return midflight.types(build(SOURCE))


def test_structs_and_unions(types):
    assert issubclass(types.player, ctypes.Structure)
    assert issubclass(types.word, ctypes.Union)
    assert types.player_t is types.player
    assert ctypes.sizeof(types.player) == 32
    one = types.player(7, b"ann")
    one.at.x = 1.5
    one.alive = 1
    assert (one.id, one.name, one.at.x, one.alive) == (7, b"ann", 1.5, 1)
    assert types.word(f=1.0).i == 0x3F800000


def test_enums(types):
    assert issubclass(types.color, IntEnum)
    assert (types.color.GREEN, types.toggle.ON) == (5, 1)
    assert list(types.color) == [0, 5]


def test_callback_types(types):
    function = types.operation(lambda a, b: a * b)
    assert function(6, 7) == 42


def test_all_of_it_goes_into_a_call(build):
    lib = build(SOURCE)
    types = midflight.types(lib)
    assert lib.use(types.player(1), types.word(2), types.color.GREEN, types.toggle.ON, types.operation(max)) == 11


def test_each_name_is_listed(types):
    assert {"player", "player_t", "word", "color", "toggle", "operation"} <= set(vars(types))
    with pytest.raises(AttributeError):
        types.nothing  # noqa: B018 - reading it is the test
