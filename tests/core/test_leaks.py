"""Catches references and memory that a call, good or bad, leaves behind."""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc

import pytest

from midflight import _core
from midflight._errors import MidflightError
from tests.core.conftest import ADD, param, pointer_to_int, result

ROUNDS = 500


def attempt(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except (MidflightError, LookupError):
        return None


def growth(use):
    """Return by how much memory grows in many rounds, after it has settled."""
    for _ in range(ROUNDS):
        use()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            use()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(ROUNDS):
            use()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


class Broken:
    """Fails to be a number."""

    def __index__(self):
        raise LookupError

    def __float__(self):
        raise LookupError


CALLS = {
    "good": ("add", ADD, None, ((1, 2),)),
    "large": ("add", ADD, None, ((2**30, -(2**30)),)),
    "count": ("add", ADD, None, ((1,),)),
    "type": ("add", ADD, None, (("x", 2),)),
    "range": ("add", ADD, None, ((2**40, 2),)),
    "huge": ("add", ADD, None, ((10**5000, 2),)),
    "broken": ("add", ADD, None, ((1, Broken()),)),
    "stack": ("add8", [param(one, "int64") for one in "abcdefgh"], result("int64"), ((2**62,) + (1,) * 7,)),
    "floats": ("scale", (param("x", "float64"), param("by", "float32")), result("float64"), ((1.5, 2.5), (1, 1e39))),
    "buffer": ("first", [pointer_to_int("p", const=True)], None, ((bytearray(4),), (ctypes.c_int(5),), (b"1234",))),
    "read-only": (
        "store",
        [pointer_to_int("p"), param("x")],
        result("void"),
        ((b"1234", 1), ((ctypes.c_int * 2)(), 1)),
    ),
    "text": (
        "text",
        [param("t", "pointer", item="c", size=1, const=True)],
        result("string"),
        (("größe",), ("a\0b",), ("\udcff",)),
    ),
    "pointer": ("place", (), result("pointer", ctypes.c_int, "int32"), ((),)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_leave_nothing(library, name):
    symbol, params, back, arguments = CALLS[name]
    function, table = library.function(symbol, params, back)
    names = [one[0] for one in params]

    def use():
        for one in arguments:
            attempt(function, *one)
            attempt(function, **dict(zip(names, one, strict=False)))

    counted = [function, table, *(value for one in arguments for value in one), *params]
    gc.collect()
    before = [sys.getrefcount(one) for one in counted]
    assert growth(use) < ROUNDS
    gc.collect()
    # Small integers and interned names belong to the whole process, whose counts move a little; a leak is one a round.
    assert all(sys.getrefcount(one) - count < ROUNDS for one, count in zip(counted, before, strict=True))
    assert (table.inside, table.pointers) == (0, 0)


def test_pointers_leave_nothing(library):
    function, table = library.function("place", (), result("pointer", ctypes.c_int, "int32"))
    first, _ = library.function("first", [pointer_to_int("p", const=True)])
    before = sys.getrefcount(table)

    def use():
        pointer = function()
        assert pointer.contents.value == pointer[0] == first(pointer) == 5
        attempt(pointer.string)
        assert pointer == function()

    assert growth(use) < ROUNDS
    assert (table.pointers, sys.getrefcount(table)) == (0, before)


def test_making_and_failing_to_make_leaves_nothing(library):
    def use():
        for params, back in ((ADD, result()), ((param("a"), param("b", "nonsense")), result()), ((), ("int32", "int"))):
            try:
                table = _core.Table("1", [library.binding("add", params, back)])
            except (ValueError, TypeError):
                continue
            cell = _core.Cell("lib", table)
            _core.switch([(cell, table)])
            assert _core.Function(cell, 0, "add")(1, 2) == 3
            cell.end("over")
        for wrong in ([5], [None, 5]):
            try:
                _core.Table("1", wrong)  # type: ignore[arg-type]
            except TypeError:
                continue

    assert growth(use) < ROUNDS


def test_callbacks_leave_nothing():
    unheard = []
    good, bad = _core.Callback(abs, 0, print), _core.Callback(abs, 0, unheard.append)

    def use():
        assert good(-3) == 3
        assert bad("x") == 0
        unheard.clear()

    assert growth(use) < ROUNDS


def test_slow_calls_leave_nothing(library):
    function, table = library.function("add", ADD, slow=lambda a, b: a // b)

    def use():
        assert function(6, 3) == 2
        assert function(b=3, a=6) == 2
        with pytest.raises(ZeroDivisionError):
            function(1, 0)
        attempt(function, 1)

    assert growth(use) < ROUNDS * 2
    assert table.inside == 0
