"""Catches variables read or written with the wrong width, through the wrong version, or where there is no memory."""

from __future__ import annotations

import ctypes
import math
import threading

import numpy as np
import pytest

import midflight
from midflight import ArgumentRangeError, ArgumentTypeError, MissingVariableError, Pointer, UnsupportedFunctionError

SOURCE = r"""
#include <stdbool.h>
#include <stdint.h>
typedef struct { int x; double y; } point;
enum color { RED = 1, BLUE = -4 };
typedef union { int i; float f; } either;
int8_t i8 = -128; uint8_t u8 = 255; int16_t i16 = -32768; uint16_t u16 = 65535;
int32_t i32 = -2147483647 - 1; uint32_t u32 = 4294967295u; int64_t i64 = INT64_MIN; uint64_t u64 = UINT64_MAX;
char letter = -3; bool truth = true; float narrow = 0.5f; double wide = -0.25;
enum color color = BLUE;
const char *text = "gr\xc3\xbc\xc3\x9f"; const char *no_text; char buffer[16] = "buffer"; char *writable = buffer;
point place = {1, 2.5}; point places[3] = {{1, 1}, {2, 2}, {3, 3}}; point *chosen = &places[1]; point *nobody;
either one_of = {7};
int numbers[4] = {1, 2, 3, 4}; double grid[2][3];
const int limit = 10; const int primes[3] = {2, 3, 5}; const point origin = {4, 5.5};
static int hidden = 3;
static const int hidden_limit = 30;
_Thread_local int each_threads_own = 5;
long double precise = 1.5L;
int (*operation)(int);
volatile int shared = 1;
extern int get_i32(void); int get_i32(void) { return i32; }
int get_hidden(int by) { return hidden += by * hidden_limit; }
int count(void) { static int calls = 40; return ++calls; }
double get_place(void) { return place.x + place.y; }
int get_own(void) { return each_threads_own; }
int sum(const point *p) { return p->x; }
"""

EDGES = {
    "i8": (-(2**7), 2**7 - 1), "u8": (0, 2**8 - 1), "i16": (-(2**15), 2**15 - 1), "u16": (0, 2**16 - 1),
    "i32": (-(2**31), 2**31 - 1), "u32": (0, 2**32 - 1), "i64": (-(2**63), 2**63 - 1), "u64": (0, 2**64 - 1),
    "letter": (-128, 127), "shared": (-(2**31), 2**31 - 1), "color": (-(2**31), 2**31 - 1),
    "hidden": (-(2**31), 2**31 - 1),
}  # fmt: skip


@pytest.fixture
def lib(build):
    return build(SOURCE)


@pytest.fixture
def values(lib):
    return midflight.variables(lib)


def test_numbers_as_the_library_has_them(values):
    found = {
        name: values[name]
        for name in ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "letter", "narrow", "wide")
    }
    assert found == {
        "i8": -128, "u8": 255, "i16": -32768, "u16": 65535, "i32": -(2**31), "u32": 2**32 - 1, "i64": -(2**63),
        "u64": 2**64 - 1, "letter": -3, "narrow": 0.5, "wide": -0.25,
    }  # fmt: skip
    assert values["truth"] is True
    assert values["hidden"] == 3


@pytest.mark.parametrize("name", EDGES)
def test_integers_are_written_up_to_their_edges(values, name):
    low, high = EDGES[name]
    for number in (low, 0, 1, high):
        values[name] = number
        assert values[name] == number
    for number in (low - 1, high + 1, 10**5000):
        with pytest.raises(ArgumentRangeError, match=f"lib.{name}"):
            values[name] = number
    assert values[name] == high
    for wrong in (1.5, "1", None, [1], np.array([1, 2])):
        with pytest.raises(ArgumentTypeError, match=f"lib.{name}"):
            values[name] = wrong


def test_a_write_touches_its_own_bytes_only(values):
    before = {name: values[name] for name in EDGES if name != "u8"}
    values["u8"] = 0
    assert {name: values[name] for name in EDGES if name != "u8"} == before


def test_the_library_sees_what_is_written(lib, values):
    values["i32"] = np.int64(-77)
    values["hidden"] = 99
    assert (lib.get_i32(), lib.get_hidden(0)) == (-77, 99)


def test_floats_and_bools(values):
    for number in (1.5, 3, -0.0, math.inf, np.float32(0.5)):
        values["wide"] = number
        assert values["wide"] == number
    values["narrow"] = 0.1
    assert values["narrow"] == ctypes.c_float(0.1).value
    for name, number in (("narrow", 1e39), ("wide", 10**400)):
        with pytest.raises(ArgumentRangeError):
            values[name] = number
    with pytest.raises(ArgumentTypeError):
        values["wide"] = "1.5"
    values["truth"] = False
    assert values["truth"] is False
    values["truth"] = 1
    assert values["truth"] is True
    with pytest.raises(ArgumentRangeError):
        values["truth"] = 2


def test_enums(lib, values):
    color = midflight.types(lib).color
    assert values["color"] is color.BLUE
    values["color"] = color.RED
    assert values["color"] is color.RED
    values["color"] = 9
    assert values["color"] == 9


@pytest.mark.here_only("Pointer.contents")
def test_text_and_pointers(lib, values):
    assert (values["text"], values["no_text"], values["writable"]) == ("grüß", None, "buffer")
    assert type(values["chosen"]) is Pointer
    assert values["chosen"].contents.x == 2
    assert lib.sum(values["chosen"]) == 2
    assert values["nobody"] is None
    assert values["operation"] is None
    for name in ("text", "chosen", "operation"):
        with pytest.raises(ArgumentTypeError, match="can't be written from Python"):
            values[name] = None


@pytest.mark.here_only("views of the variables themselves")
def test_structs_unions_and_arrays_are_views(lib, values):
    values["place"].x = 10
    assert lib.get_place() == 12.5
    values["numbers"][3] = 40
    assert list(values["numbers"]) == [1, 2, 3, 40]
    assert values["buffer"].value == b"buffer"
    assert values["places"][2].y == 3.0
    values["one_of"].f = 1.0
    assert values["one_of"].i == 0x3F800000
    array = np.ctypeslib.as_array(values["grid"])
    array[1, 2] = 7.5
    assert values["grid"][1][2] == 7.5
    assert array.shape == (2, 3)


def test_structs_and_arrays_are_written_whole(lib, values):
    values["place"] = midflight.types(lib).point(3, 0.5)
    assert lib.get_place() == 3.5
    values["place"] = (5, 1.5)
    assert lib.get_place() == 6.5
    values["place"] = bytes(values["place"])
    values["numbers"] = [9, 8, 7, 6]
    assert list(values["numbers"]) == [9, 8, 7, 6]
    values["buffer"] = b"sixteen bytes...\0"[:16]
    assert bytes(values["buffer"]) == b"sixteen bytes..."
    for name, wrong in (
        ("place", b"short"), ("place", (1, 2, 3)), ("place", ("a", 1)), ("place", 5), ("numbers", [1] * 5),
        ("numbers", ["a"]),
        ("buffer", b"too short"), ("place", None),
    ):  # fmt: skip
        with pytest.raises(ArgumentTypeError, match=f"lib.{name}"):
            values[name] = wrong


@pytest.mark.parametrize("name", ["limit", "primes", "origin", "hidden_limit"])
def test_constants_are_read_only(values, name):
    if name not in values and name == "hidden_limit":
        return  # folded into the code: it has no place in memory
    with pytest.raises(ArgumentTypeError, match="const"):
        values[name] = 1


def test_constant_structs_and_arrays_are_copies(values):
    copy = values["primes"]
    copy[0] = 99
    assert list(values["primes"]) == [2, 3, 5]
    values["origin"].x = 99
    assert values["origin"].x == 4


def test_a_static_variable_in_a_function(lib, values):
    assert values["calls"] == 40
    assert lib.count() == 41
    values["calls"] = 99
    assert lib.count() == 100


def test_thread_local_variables_are_explained(lib, values):
    for use in (lambda: values["each_threads_own"], lambda: values.__setitem__("each_threads_own", 1)):
        with pytest.raises(UnsupportedFunctionError, match=r"thread_local"):
            use()
    assert "each_threads_own" in values
    assert "each_threads_own" not in list(values)
    assert lib.get_own() == 5


def test_types_that_python_cant_hold(values):
    with pytest.raises(UnsupportedFunctionError, match="long double"):
        values["precise"]
    with pytest.raises(ArgumentTypeError):
        values["precise"] = 1.5
    assert values["wide"] == -0.25


def test_the_mapping(values):
    assert {"i8", "place", "hidden"} <= set(values)
    assert len(values) == len(list(values))
    assert "nowhere" not in values
    assert values.get("nowhere") is None
    assert values.get("u8") == 255
    assert "u8" in repr(values)
    with pytest.raises(MissingVariableError, match=r"no variable 'nowhere'; it has i8") as caught:
        values["nowhere"]
    assert isinstance(caught.value, KeyError)
    with pytest.raises(MissingVariableError):
        values["nowhere"] = 1


# ---- across swaps


COUNTER = "int speed = 1; struct { int a[4]; } state; int get(void) { return speed; }"


def test_a_mapping_follows_the_swap(swapping):
    lib = swapping(COUNTER)
    values = midflight.variables(lib)
    swapping(COUNTER.replace("speed = 1", "speed = 2"))
    assert values["speed"] == 2
    assert midflight.versions(lib)[0].status == "unloaded"


def test_a_view_keeps_its_version_loaded(swapping):
    lib = swapping(COUNTER)
    values = midflight.variables(lib)
    inner = values["state"].a
    swapping(COUNTER.replace("speed = 1", "speed = 2"))
    assert midflight.versions(lib)[0].held_by == ("1 pin",)
    inner[3] = 5
    assert (inner[3], values["state"].a[3]) == (5, 0)
    del inner
    assert midflight.versions(lib)[0].status == "unloaded"


@pytest.mark.here_only("Pointer.contents")
def test_a_pointer_in_a_variable_keeps_its_version_loaded(swapping):
    text = "struct p { int x; } it = {1}; struct p *chosen = &it; int f(void) { return 1; }"
    lib = swapping(text)
    pointer = midflight.variables(lib)["chosen"]
    swapping(text.replace("return 1", "return 2"))
    assert midflight.versions(lib)[0].held_by == ("1 pointer",)
    assert pointer.contents.x == 1
    del pointer
    assert midflight.versions(lib)[0].status == "unloaded"


def test_reading_leaves_no_hold(swapping):
    lib = swapping(COUNTER)
    values = midflight.variables(lib)
    for name in ("speed", "state"):
        values[name]
    for use in (
        lambda: values["nowhere"],
        lambda: values.__setitem__("speed", "x"),
        lambda: values.__setitem__("speed", 2**40),
    ):
        with pytest.raises(midflight.MidflightError):
            use()
    swapping(COUNTER.replace("speed = 1", "speed = 2"))
    assert midflight.versions(lib)[0].status == "unloaded"


def test_a_pinned_view_has_the_pinned_versions_variables(swapping):
    lib = swapping(COUNTER)
    with midflight.pin(lib) as pinned:
        values = midflight.variables(pinned)
        swapping(COUNTER.replace("speed = 1", "speed = 2"))
        assert (values["speed"], midflight.variables(lib)["speed"]) == (1, 2)
        assert pinned.get() == 1


def test_a_mapping_taken_from_a_pin_before_a_swap_stays_there(swapping):
    lib = swapping(COUNTER)
    with midflight.pin(lib) as pinned:
        values = midflight.variables(pinned)
        values["speed"] = 50
        swapping(COUNTER.replace("speed = 1", "speed = 2"))
        assert values["speed"] == pinned.get() == 50


def test_threads_read_while_versions_change(swapping):
    lib = swapping(COUNTER)
    values = midflight.variables(lib)
    started, done = threading.Barrier(3), threading.Event()
    wrong = []

    def read():
        started.wait()
        while not done.is_set():
            if values["speed"] not in {1, 2} or len(values["state"].a) != 4:
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        started.wait()
        swapping(COUNTER.replace("speed = 1", "speed = 2"))
        for number in range(30):
            swapping(COUNTER.replace("speed = 1", f"speed = {1 + number % 2}"))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
