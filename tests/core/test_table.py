"""Catches a version that is closed while something holds it, or that stays although nothing does."""

from __future__ import annotations

import ctypes
import gc
import weakref

import pytest

from midflight import _core
from midflight._errors import (
    ArgumentRangeError,
    ArgumentTypeError,
    MissingFunction,
    UnloadedError,
    UnsupportedFunctionError,
)
from tests.core.conftest import ADD, param, pointer_to_int, result


def callback(table, seen):
    """Describe a parameter that is a callback, and look at the table from inside."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    made = []

    def maker(value):
        def inner(x):
            seen.append((table[0].inside, table[0].close(), table[0].entered_here()))
            return value(x)

        made.append(prototype(_core.Callback(inner, 0, seen.append)))
        return ctypes.cast(made[-1], ctypes.c_void_p).value

    return param("function", "callback", item="o", type="int (*)(int)", extra=maker, target="int32 (int32)")


# ---- making them


@pytest.mark.parametrize(
    "arguments", [(), ("1",), (1, []), ("1", 5), ("1", [5]), ("1", [None, "x"]), ("1", None)], ids=repr
)
def test_tables_of_the_wrong_things(arguments):
    with pytest.raises(TypeError):
        _core.Table(*arguments)


@pytest.mark.parametrize("arguments", [(), ("lib",), ("lib", None), (1, None), ("lib", 5)], ids=repr)
def test_cells_of_the_wrong_things(arguments):
    with pytest.raises(TypeError):
        _core.Cell(*arguments)


def test_functions_of_the_wrong_things():
    cell = _core.Cell("lib", _core.Table("1", []))
    for arguments in ((), (cell,), (cell, 0), (None, 0, "f"), (cell, "0", "f"), (cell, 0, 5)):
        with pytest.raises(TypeError):
            _core.Function(*arguments)
    with pytest.raises(ValueError, match="negative"):
        _core.Function(cell, -1, "f")
    with pytest.raises(TypeError):
        _core.Pointer()


@pytest.mark.parametrize("pairs", [5, [5], [()], [(1, 2)], [("cell", "table")]], ids=repr)
def test_switching_the_wrong_things(pairs):
    with pytest.raises(TypeError):
        _core.switch(pairs)


def test_a_failed_switch_stores_nothing():
    one, two = _core.Table("1", []), _core.Table("2", [])
    cell = _core.Cell("lib", one)
    with pytest.raises(TypeError):
        _core.switch([(cell, two), (cell, None)])
    assert cell.current is one
    _core.switch([])


# ---- slots


def test_put(library):
    table = _core.Table("1", [library.binding("add", ADD), None])
    function = _core.Function(_core.Cell("lib", table), 1, "later")
    with pytest.raises(MissingFunction, match="version 1 has no function 'later'"):
        function()
    assert function._available is False
    table.put(1, library.binding("add", ADD))
    assert function(2, 3) == 5
    for slot in (0, 1, -1):
        with pytest.raises(ValueError, match="taken"):
            table.put(slot, library.binding("add", ADD))
    for arguments in ((), (2,), (2, None), ("2", library.binding("add", ADD))):
        with pytest.raises(TypeError):
            table.put(*arguments)
    table.put(50, library.binding("add", ADD))
    assert _core.Function(_core.Cell("lib", table), 50, "far")(1, 1) == 2
    with pytest.raises(MissingFunction):
        _core.Function(_core.Cell("lib", table), 2**40, "nowhere")()
    with pytest.raises((MemoryError, OverflowError)):
        table.put(2**60, library.binding("add", ADD))


# ---- counting


def test_a_call_is_counted_while_it_runs(library):
    seen = []
    tables = []
    function, table = library.function("call", (callback(tables, seen), param("x")))
    tables.append(table)
    assert function(lambda x: x + 1, 41) == 42
    assert seen == [(1, False, True)]
    assert (table.inside, table.entered_here()) == (0, False)
    assert function(lambda x: function(lambda y: y * 2, x), 4) == 8
    assert [count for count, _, _ in seen[1:]] == [1, 2]
    assert table.inside == 0


@pytest.mark.parametrize("wrong", [("x", 1), (1,), (1, 2, 3), (2**31, 1), (1, None)], ids=repr)
def test_failed_calls_leave_no_count(library, wrong):
    function, table = library.function("add", ADD)
    for _ in range(3):
        with pytest.raises((ArgumentTypeError, ArgumentRangeError)):
            function(*wrong)
    assert table.inside == 0
    assert table.close() is True


def test_exceptions_of_all_origins_leave_no_count(library):
    class Broken:
        def __index__(self):
            raise LookupError

        def __float__(self):
            raise LookupError

    seen, tables = [], []
    add, add_table = library.function("add", ADD)
    wide, wide_table = library.function("add8", [param(one, "int64") for one in "abcdefgh"])
    scale, scale_table = library.function("scale", (param("x", "float64"), param("by", "float32")), result("float64"))
    call, call_table = library.function("call", (callback(tables, seen), param("x")))
    tables.append(call_table)
    slow, slow_table = library.function("add", ADD, slow=lambda a, b: a / b)
    unusable, unusable_table = library.function("add", (), unusable="it is strange")

    def fail(_):
        raise LookupError

    for use in (
        lambda: add(1, Broken()), lambda: wide(1, 2, 3, 4, 5, 6, 7, Broken()), lambda: scale(Broken(), 1.0),
        lambda: call(fail, 1), lambda: call(abs, Broken()),
    ):  # fmt: skip
        with pytest.raises(LookupError):
            use()
    with pytest.raises(ZeroDivisionError):
        slow(1, 0)
    with pytest.raises(UnsupportedFunctionError, match="it is strange"):
        unusable(1)
    for table in (add_table, wide_table, scale_table, call_table, slow_table, unusable_table):
        assert (table.inside, table.pins, table.pointers) == (0, 0, 0)
        assert table.close() is True


def test_a_conversion_runs_inside(library):
    function, table = library.function("add", ADD)
    seen = []

    class Looking:
        def __index__(self):
            seen.append((table.inside, table.entered_here(), table.close()))
            return 1

    assert function(Looking(), 1) == 2
    assert seen == [(1, True, False)]


def test_pins(library):
    _, table = library.function("add", ADD)
    table.pin()
    table.pin()
    assert (table.pins, table.close()) == (2, False)
    table.unpin()
    table.unpin()
    assert (table.close(), table.closed) == (True, True)
    assert table.close() is True
    with pytest.raises(UnloadedError):
        table.pin()


def test_pointers_hold(library):
    function, table = library.function("place", (), result("pointer", ctypes.c_int, "int32"))
    pointer = function()
    view = pointer.contents
    assert (table.pointers, table.close()) == (1, False)
    assert (view.value, pointer[1]) == (5, 6)
    del pointer
    assert (table.pointers, table.close()) == (1, False), "the view keeps the pointer"
    del view
    assert (table.pointers, table.close()) == (0, True)


def test_on_idle(library):
    seen = []
    tables = []
    function, table = library.function("call", (callback(tables, seen), param("x")))
    tables.append(table)
    idle = []
    table.on_idle = lambda: idle.append(table.inside)
    function(lambda x: x, 1)
    assert idle == [0]
    function(lambda x: function(lambda y: y, x), 1)
    assert idle == [0, 0], "not when an inner call leaves"
    table.pin()
    function(lambda x: x, 1)
    assert idle == [0, 0]
    table.unpin()
    assert idle == [0, 0, 0]
    with pytest.raises(ArgumentTypeError):
        function(lambda x: x, "1")
    assert idle == [0] * 4
    assert table.close() is True
    assert table.on_idle is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_on_idle_that_fails_harms_no_call(library):
    function, table = library.function("add", ADD)
    table.on_idle = lambda: 1 / 0  # type: ignore[assignment]
    assert function(1, 2) == 3
    table.on_idle = None
    assert table.inside == 0


# ---- cells


def test_switch_and_end(library):
    one, two = (_core.Table(str(n), [library.binding("add", ADD)]) for n in (1, 2))
    cell = _core.Cell("lib", one)
    function = _core.Function(cell, 0, "add")
    _core.switch([(cell, two)])
    assert cell.current is two
    assert function(1, 2) == 3
    with pytest.raises(TypeError):
        cell.end(5)  # type: ignore[arg-type]
    cell.end("it was time")
    assert cell.current is None
    with pytest.raises(UnloadedError, match="it was time; add can't be called"):
        function(1, 2)
    assert (function._available, function._address, function.__doc__) == (False, 0, None)
    assert cell.name == function.__module__ == "lib"


def test_a_cell_keeps_its_owner_and_dies_with_its_functions():
    class Owner:
        pass

    owner = Owner()
    kept = weakref.ref(owner)
    cell = _core.Cell("lib", _core.Table("1", []), owner=owner)
    weak = weakref.ref(cell)
    function = _core.Function(cell, 0, "f")
    owner.function = function  # type: ignore[attr-defined] # a cycle
    del owner, cell
    gc.collect()
    assert weak() is not None
    assert kept() is not None
    del function
    gc.collect()
    assert weak() is None
    assert kept() is None


def test_explicit_names(library):
    function, _ = library.function("first", [pointer_to_int("p", const=True)])
    assert function(p=None) == -1
    with pytest.raises(ArgumentTypeError, match="no parameter 'q'"):
        function(q=None)
    with pytest.raises(ArgumentTypeError, match="two values"):
        function(None, p=None)
