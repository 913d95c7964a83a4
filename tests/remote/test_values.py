"""Catches values that change on their way to another process and back, or that are judged by other rules than here."""

from __future__ import annotations

import array
import ctypes
import functools

import numpy as np
import pytest

import midflight
from midflight import ArgumentRangeError, ArgumentTypeError, UnsupportedFunctionError
from tests.remote.conftest import SOURCE


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same module in this process, to compare with."""
    path = tmp_path_factory.mktemp("local") / "lib.c"
    path.write_text(SOURCE)
    return midflight.load(path)


EDGES = [
    ("tiny", -128, 127),
    ("small", 0, 255),
    ("shorter", -(2**15), 2**15 - 1),
    ("word", 0, 2**32 - 1),
    ("wide", -(2**63), 2**63 - 1),
    ("widest", 0, 2**64 - 1),
    ("letter", -128, 127),
]


def test_it_is_another_process(lib, server):
    assert lib.process() == server.process.pid


@pytest.mark.parametrize(("name", "low", "high"), EDGES)
def test_integers_at_their_edges(lib, local, name, low, high):
    function = getattr(lib, name)
    assert function(low) == low
    assert function(high) == high
    for beyond in (low - 1, high + 1, 10**30):
        with pytest.raises(ArgumentRangeError) as theirs:
            function(beyond)
        with pytest.raises(ArgumentRangeError) as ours:
            getattr(local, name)(beyond)
        assert str(theirs.value) == str(ours.value)


def test_other_numbers(lib):
    assert lib.add(np.int32(2), True) == 3
    assert lib.twice(1) == 2.0
    assert lib.twice(float("inf")) == float("inf")
    assert str(lib.twice(float("nan"))) == "nan"
    assert lib.single(0.1) == ctypes.c_float(0.1).value
    assert lib.flip(False) is True
    assert type(lib.add(1, 2)) is int


def test_enums_are_members_of_one_class(lib):
    color = midflight.types(lib).color
    assert lib.next(1) is color.BLUE
    assert lib.next(color.BLUE) is color.RED
    assert lib.as_number(color.BLUE) == 4
    assert lib.as_color(77) == 77


def test_text(lib):
    assert lib.echo("grüß 🎈") == "grüß 🎈"
    assert lib.echo(b"bytes") == "bytes"
    assert lib.echo(None) is None
    assert lib.length("") == 0
    assert lib.length(None) == 999
    assert lib.raw().encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", 3, 2.5, [1]])
def test_what_is_no_text_is_refused_as_here(lib, local, wrong):
    with pytest.raises(ArgumentTypeError) as theirs:
        lib.echo(wrong)
    with pytest.raises(ArgumentTypeError) as ours:
        local.echo(wrong)
    assert str(theirs.value) == str(ours.value)


def test_buffers_go_and_come_back(lib):
    items = array.array("i", [0] * 1000)
    lib.ramp(items, 1000)
    assert list(items) == list(range(1000))
    assert lib.total(items, 1000) == sum(range(1000))
    grid = np.zeros((3, 4), dtype=np.int32)
    lib.ramp(grid, 12)
    assert grid.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert lib.total((ctypes.c_int * 3)(1, 2, 3), 3) == 6
    data = bytearray(5)
    lib.mark(data, 3)
    assert data == b"ZZZ\0\0"
    text = ctypes.create_string_buffer(20)
    lib.copy(text, "copied")
    assert text.value == b"copied"


def test_a_large_buffer(lib):
    numbers = np.arange(1_000_000, dtype=np.float64)
    assert lib.sum(numbers, len(numbers)) == numbers.sum()


def test_const_memory_is_not_written_back(lib):
    frozen = np.arange(4, dtype=np.int32)
    frozen.flags.writeable = False
    assert lib.total(frozen, 4) == 6


def test_the_same_memory_twice_stays_the_same(lib):
    items = array.array("i", [1, 2])
    assert lib.same(items, items) is True
    assert lib.same(items, array.array("i", [1, 2])) is False


def test_wrong_buffers_are_refused_as_here(lib, local):
    for wrong in (array.array("d", [1.0]), b"12345678", np.zeros((2, 2), dtype=np.int32).T, object()):
        with pytest.raises(ArgumentTypeError) as theirs:
            lib.ramp(wrong, 1)
        with pytest.raises(ArgumentTypeError) as ours:
            local.ramp(wrong, 1)
        assert str(theirs.value) == str(ours.value)


def test_the_number_of_arguments_and_their_names(lib, local):
    assert lib.add(b=1, a=2) == 3
    for call in (lambda m: m.add(1), lambda m: m.add(1, 2, 3), lambda m: m.add(1, c=2), lambda m: m.add(1, a=2)):
        with pytest.raises(ArgumentTypeError) as theirs:
            call(lib)
        with pytest.raises(ArgumentTypeError) as ours:
            call(local)
        assert str(theirs.value) == str(ours.value)


def test_structs_by_value_and_by_pointer(lib, local):
    point = midflight.types(lib).point
    one = lib.moved(point(1, 2.5), 3)
    assert (type(one), one.x, one.y) == (point, 4, 5.5)
    lib.shift(one)
    assert (one.x, one.y) == (5, 11.0)
    several = (point * 3)(point(0, 1), point(0, 2), point(0, 3))
    assert lib.all_y(several, 3) == 6.0
    records = np.zeros(2, dtype=[("x", "i4"), ("pad", "V4"), ("y", "f8")])
    assert lib.all_y(bytes(several), 3) == 6.0
    assert records.itemsize == ctypes.sizeof(point)
    foreign = midflight.types(local).point(1, 1.0)
    assert lib.moved(foreign, 1).x == 2
    with pytest.raises(ArgumentTypeError, match="point"):
        lib.moved((1, 2.5), 3)


def test_structs_with_addresses_do_not_travel(lib):
    node = midflight.types(lib).node
    one = node(5)
    assert lib.value_of(one) == 5
    assert lib.depth(one) == 1
    other = node(6, ctypes.pointer(one))
    with pytest.raises(ArgumentTypeError, match="addresses of this process"):
        lib.value_of(other)
    with pytest.raises(UnsupportedFunctionError, match="the call was made"):
        lib.link_it(one)
    with pytest.raises(UnsupportedFunctionError, match="addresses"):
        lib.by_value()


def test_addresses_of_this_process_are_refused(lib, local):
    number = ctypes.c_int(3)
    for wrong in (ctypes.pointer(number), ctypes.c_void_p(ctypes.addressof(number)), local.corner()):
        with pytest.raises(ArgumentTypeError, match="means nothing in the other one"):
            lib.total(wrong, 1)


def test_pointers_are_opaque_and_can_be_passed_back(lib):
    corner = lib.corner()
    assert lib.x_of(corner) == 7
    assert corner == lib.corner()
    assert hash(corner) == hash(lib.corner())
    assert corner != lib.push(None, 1)
    assert lib.is_secret(lib.secret()) is True
    assert lib.name().string() == "a name"
    with pytest.raises(UnsupportedFunctionError, match="doesn't point to text"):
        corner.string()
    for wrong in (lambda: corner.contents, lambda: corner[0], lambda: corner.address):
        with pytest.raises(UnsupportedFunctionError, match="in another process"):
            wrong()
    stack = functools.reduce(lib.push, range(5), None)
    assert lib.depth(stack) == 5
    with pytest.raises(ArgumentTypeError, match="pointer of type"):
        lib.depth(corner)


def test_what_cannot_be_called_says_why(lib):
    with pytest.raises(UnsupportedFunctionError, match="long double"):
        lib.strange(1.0)
    with pytest.raises(UnsupportedFunctionError, match="variadic"):
        lib.dotted("x")


def test_help_and_signature(lib):
    import inspect

    assert str(inspect.signature(lib.add)) == "(a: int, b: int) -> int"
    assert "int add(int a, int b)" in lib.add.__doc__


def test_variables(lib):
    values = midflight.variables(lib)
    assert values["counter"] == 5
    values["counter"] = 6
    assert values["counter"] == 6
    assert lib.counter == 6
    values["ratio"] = 1
    assert values["ratio"] == 1.0
    assert values["paint"] is midflight.types(lib).color.RED
    values["paint"] = 4
    assert values["paint"] is midflight.types(lib).color.BLUE
    assert values["title"] == "grüß"
    assert (values["origin"].x, values["origin"].y) == (1, 2.5)
    values["origin"] = midflight.types(lib).point(3, 4.5)
    assert values["origin"].y == 4.5
    assert list(values["numbers"]) == [1, 2, 3, 4]
    values["numbers"] = (4, 3, 2, 1)
    assert list(values["numbers"]) == [4, 3, 2, 1]
    assert values["fixed"] == 9
    for name, wrong, kind in (
        ("counter", 2**31, ArgumentRangeError),
        ("counter", "x", ArgumentTypeError),
        ("fixed", 1, ArgumentTypeError),
        ("title", "x", ArgumentTypeError),
        ("origin", b"123", ArgumentTypeError),
    ):
        with pytest.raises(kind):
            values[name] = wrong
    with pytest.raises(KeyError):
        values["nothing"]
    assert values["counter"] == 6
