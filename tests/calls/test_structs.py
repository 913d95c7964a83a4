"""Catches structs whose fields C sees elsewhere than Python does: by pointer, by value, and from before a swap."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import midflight
from midflight import ArgumentTypeError, UnsupportedFunctionError

PLAYER = """
struct player { int id; double x, y; char name[8]; };
double weigh(const struct player *one) { return one->id + one->x * 10 + one->y * 100; }
void move_all(struct player *all, long count, double by) { for (long i = 0; i < count; i++) all[i].x += by; }
double total(const struct player *all, long count)
{ double s = 0; for (long i = 0; i < count; i++) s += weigh(&all[i]); return s; }
"""

BY_POINTER = (
    PLAYER
    + """
#include <stdint.h>
typedef struct player player_t;
typedef struct { float r, g, b; } color;
typedef union { int32_t i; float f; } word;
struct node { int value; struct node *next; };
struct flags { unsigned low : 3; unsigned high : 5; };
struct outer { char tag; struct { short a, b; } inner; color colors[2]; };
double weigh_typedef(player_t *one) { return weigh(one); }
float green(const color *one) { return one->g; }
int32_t word_bits(word *one) { return one->i; }
int sum_list(const struct node *node) { int s = 0; for (; node; node = node->next) s += node->value; return s; }
int flag_sum(struct flags *flags) { return flags->low + 10 * flags->high; }
float deep(const struct outer *one) { return one->tag + one->inner.b + one->colors[1].b; }
"""
)

BY_VALUE = """
#include <stdint.h>
#include <stdbool.h>
typedef struct { int8_t a; } one_byte;
typedef struct { int a, b; } two_ints;
typedef struct { float a, b, c; } three_floats;
typedef struct { double a; int b; } mixed;
typedef struct { long a; float b; float c; } mixed_other;
typedef struct { double a, b, c; int d; } large;
typedef struct { two_ints first; three_floats second; } nested;
typedef struct { char text[16]; } text16;
typedef struct { char text[40]; } text40;
typedef struct { float items[3]; } floats;
typedef struct { double items[2]; } doubles;
typedef struct { int *place; long count; } span;
enum level { LOW, HIGH };
one_byte same_byte(one_byte s) { s.a++; return s; }
two_ints same_ints(two_ints s) { int t = s.a; s.a = s.b; s.b = t; return s; }
three_floats same_floats(three_floats s) { s.a += 0.5f; s.c -= 0.5f; return s; }
mixed same_mixed(mixed s) { s.a *= 2; s.b *= 3; return s; }
mixed_other same_other(mixed_other s) { s.a++; s.b++; s.c++; return s; }
large same_large(large s) { s.a++; s.d--; return s; }
nested same_nested(nested s) { s.first.b += 7; s.second.a += 7; return s; }
text16 same_text16(text16 s) { s.text[15] = 'Z'; return s; }
text40 same_text40(text40 s) { s.text[39] = 'Z'; return s; }
floats same_array(floats s) { s.items[2] = 9; return s; }
doubles same_doubles(doubles s) { s.items[1] = 9; return s; }
int through(span s) { int t = 0; for (long i = 0; i < s.count; i++) t += s.place[i]; return t; }
double many(int i, large a, double d, two_ints b, float f, mixed c, int8_t tiny, bool flag, three_floats e,
            uint64_t wide)
{ return i + a.a + a.d + d + b.b + f + c.a + c.b + tiny + flag + e.c + (double)wide; }
int8_t small_back(two_ints s, int8_t back) { return s.a ? back : 0; }
enum level level_back(two_ints s, enum level back) { (void)s; return back; }
const char *text_back(two_ints s, const char *back) { (void)s; return back; }
int *pointer_back(span s) { return s.place; }
bool truth(two_ints s) { return s.a > s.b; }
float narrow(two_ints s, float number) { return s.a + number; }
void into(two_ints s, int *out) { *out = s.a + s.b; }
two_ints make(int a, int b) { return (two_ints){a, b}; }
int add(int a, int b) { return a + b; }
union either { int i; float f; };
struct bits { int low : 3; int high : 5; };
struct __attribute__((packed)) packed { char c; double d; };
struct with_long_double { long double d; };
struct with_union { union either e; };
int by_union(union either e) { return e.i; }
int by_bits(struct bits b) { return b.high; }
double by_packed(struct packed p) { return p.d; }
double by_long_double(struct with_long_double p) { return (double)p.d; }
int by_with_union(struct with_union p) { return p.e.i; }
union either back_union(int i) { return (union either){i}; }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(BY_POINTER)


@pytest.fixture(scope="module")
def value(build):
    return build(BY_VALUE, "value.c")


# ---- by pointer


def test_an_instance_and_an_array_of_them(lib):
    player = midflight.types(lib).player
    one = player(1, 2.0, 3.0)
    assert lib.weigh(one) == 321.0
    assert lib.weigh(ctypes.pointer(one)) == 321.0
    assert lib.weigh(one=one) == 321.0
    lib.move_all(one, 1, 0.5)
    assert one.x == 2.5
    several = (player * 3)(player(1), player(2), player(3))
    lib.move_all(several, 3, 4.0)
    assert [each.x for each in several] == [4.0, 4.0, 4.0]
    assert lib.weigh(several[1]) == 42.0
    grid = ((player * 2) * 2)()
    lib.move_all(grid, 4, 1.0)
    assert grid[1][1].x == 1.0


def test_a_typedef_is_the_same_struct(lib):
    assert lib.weigh_typedef(midflight.types(lib).player(1, 2.0, 3.0)) == 321.0
    assert midflight.types(lib).player_t is midflight.types(lib).player
    assert lib.green(midflight.types(lib).color(0.25, 0.5, 0.75)) == 0.5


@pytest.mark.here_only("structs that point to each other")
def test_unions_bit_fields_lists_and_nested_structs(lib):
    types = midflight.types(lib)
    assert lib.word_bits(types.word(f=1.0)) == 0x3F800000
    last = types.node(3)
    assert lib.sum_list(types.node(1, ctypes.pointer(types.node(2, ctypes.pointer(last))))) == 6
    assert lib.sum_list(None) == 0
    flags = types.flags(low=5, high=17)
    assert lib.flag_sum(flags) == 175
    outer = types.outer()
    outer.tag, outer.inner.b, outer.colors[1].b = b"\x01", 20, 0.5
    assert lib.deep(outer) == 21.5


def test_a_struct_of_the_users_own_with_the_same_fields(lib):
    class Mine(ctypes.Structure):
        _fields_ = (("id", ctypes.c_int), ("x", ctypes.c_double), ("y", ctypes.c_double), ("name", ctypes.c_char * 8))

    assert lib.weigh(Mine(1, 2.0, 3.0)) == 321.0
    assert lib.weigh((Mine * 2)(Mine(5))) == 5.0
    assert lib.weigh(ctypes.pointer(Mine(5))) == 5.0


def fields(**kinds):
    return type("Mine", (ctypes.Structure,), {"_fields_": list(kinds.items())})


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (fields(id=ctypes.c_int, x=ctypes.c_double, y=ctypes.c_double), "has 32 bytes now, and 24 are given"),
        (
            fields(id=ctypes.c_int, x=ctypes.c_double, y=ctypes.c_double, nick=ctypes.c_char * 8),
            "other fields now: name, nick",
        ),
        (fields(id=ctypes.c_int, y=ctypes.c_double, x=ctypes.c_double, name=ctypes.c_char * 8), "in another order"),
        (fields(id=ctypes.c_uint, x=ctypes.c_double, y=ctypes.c_double, name=ctypes.c_char * 8), "field 'id'.*differs"),
        (fields(id=ctypes.c_int, x=ctypes.c_double, y=ctypes.c_int64, name=ctypes.c_char * 8), "field 'y'.*differs"),
        (fields(id=ctypes.c_int, x=ctypes.c_double, y=ctypes.c_double, name=ctypes.c_int * 2), "field 'name'"),
        (ctypes.Union, "isn't player"),
        (ctypes.c_double * 4, "c_double|format"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_another_struct_is_refused_with_the_difference(lib, kind, why):
    if kind is ctypes.Union:
        kind = type("Mine", (ctypes.Union,), {"_fields_": [("bytes", ctypes.c_char * 32)]})
    for given in (kind(), (kind * 2)()):
        with pytest.raises(ArgumentTypeError, match=f"'one' is const struct player .*({why})"):
            lib.weigh(given)


def test_a_struct_with_its_bytes_in_another_order(lib):
    class Big(ctypes.BigEndianStructure):
        _fields_ = (("r", ctypes.c_float), ("g", ctypes.c_float), ("b", ctypes.c_float))

    with pytest.raises(ArgumentTypeError, match="order"):
        lib.green(Big())


def test_the_wrong_struct_for_the_parameter(lib):
    types = midflight.types(lib)
    for wrong in (types.node(), types.color(), ctypes.c_int(), ctypes.pointer(types.node()), 5, "player", types.player):
        with pytest.raises(ArgumentTypeError, match="'one'"):
            lib.weigh(wrong)


def test_raw_bytes_in_whole_structs(lib):
    one = midflight.types(lib).player(1, 2.0, 3.0)
    assert lib.weigh(bytes(one)) == 321.0
    data = bytearray(bytes(one) * 2)
    lib.move_all(data, 2, 1.0)
    assert lib.total(data, 2) == 331.0 * 2
    assert lib.weigh(np.frombuffer(bytes(one), dtype="u1")) == 321.0
    for wrong in (b"", bytes(31), bytearray(33)):
        with pytest.raises(ArgumentTypeError, match="whole number of structs of 32"):
            lib.weigh(wrong)
    with pytest.raises(ArgumentTypeError, match="read-only"):
        lib.move_all(bytes(one), 1, 1.0)


def test_numpy_structured_arrays(lib):
    kind = np.dtype([("id", "i4"), ("x", "f8"), ("y", "f8"), ("name", "S8")], align=True)
    players = np.zeros(3, dtype=kind)
    players["id"] = [1, 2, 3]
    lib.move_all(players, 3, 2.0)
    assert players["x"].tolist() == [2.0, 2.0, 2.0]
    assert lib.total(players, 3) == 66.0
    color = np.zeros(1, dtype=[("r", "f4"), ("g", "f4"), ("b", "f4")])
    color["g"] = 0.5
    assert lib.green(color) == 0.5
    outer = np.zeros(1, dtype=np.dtype([("tag", "i1"), ("inner", [("a", "i2"), ("b", "i2")]),
                                        ("colors", [("r", "f4"), ("g", "f4"), ("b", "f4")], (2,))],
                                       align=True))  # fmt: skip
    outer["colors"]["b"] = [[1.0, 2.0]]
    assert lib.deep(outer) == 2.0


@pytest.mark.parametrize(
    "kind",
    [
        [("r", "f4"), ("g", "f4")],
        [("r", "f4"), ("g", "i4"), ("b", "f4")],
        [("r", "f4"), ("g", ">f4"), ("b", "f4")],
        [("r", "f8"), ("g", "f4")],
        [("all", "f4", (4,))],
        [("all", "U3")],
    ],
    ids=repr,
)
def test_structured_arrays_with_other_numbers_are_refused(lib, kind):
    with pytest.raises(ArgumentTypeError, match="format"):
        lib.green(np.zeros(2, dtype=kind))


# ---- across a swap


OLDER = PLAYER + "int version(void) { return 1; }"


def test_an_instance_from_an_older_version_with_the_same_layout(swapping):
    lib = swapping(OLDER)
    one = midflight.types(lib).player(1, 2.0, 3.0)
    several = (type(one) * 2)(one, one)
    swapping(OLDER.replace("return 1", "return 2"))
    assert lib.version() == 2
    assert lib.weigh(one) == 321.0
    assert lib.total(several, 2) == 642.0
    assert lib.weigh(ctypes.pointer(one)) == 321.0


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("double x, y;", "double x, y, z;", "has 40 bytes now, and 32 are given"),
        ("double x, y;", "double y, x;", "other fields now: in another order"),
        ("int id;", "float id;", "field 'id' of player differs"),
        ("char name[8];", "char nick[8];", "other fields now: name, nick"),
    ],
)
def test_an_instance_from_an_older_version_with_another_layout_is_refused(swapping, old, new, why):
    lib = swapping(OLDER)
    one = midflight.types(lib).player(1, 2.0, 3.0)
    swapping(OLDER.replace(old, new), compat="any")
    for given in (one, (type(one) * 1)(one), ctypes.pointer(one)):
        with pytest.raises(ArgumentTypeError, match=f"'one' is const struct player.*{why}"):
            lib.weigh(given)
    assert lib.weigh(midflight.types(lib).player(id=4)) == 4.0


def test_a_swap_keeps_the_classes_while_the_types_stay(swapping):
    lib = swapping(OLDER)
    before = midflight.types(lib).player
    swapping(OLDER.replace("return 1", "return 2"))
    assert isinstance(before(), midflight.types(lib).player)


# ---- by value


def test_small_structs(value):
    types = midflight.types(value)
    assert value.same_byte(types.one_byte(-5)).a == -4
    swapped = value.same_ints(types.two_ints(1, 2))
    assert (swapped.a, swapped.b) == (2, 1)
    floats = value.same_floats(types.three_floats(1.0, 2.0, 3.0))
    assert (floats.a, floats.b, floats.c) == (1.5, 2.0, 2.5)
    mixed = value.same_mixed(types.mixed(1.5, 2))
    assert (mixed.a, mixed.b) == (3.0, 6)
    other = value.same_other(types.mixed_other(1, 2.0, 3.0))
    assert (other.a, other.b, other.c) == (2, 3.0, 4.0)
    assert type(other) is types.mixed_other


def test_large_nested_and_array_structs(value):
    types = midflight.types(value)
    large = value.same_large(types.large(1.0, 2.0, 3.0, 4))
    assert (large.a, large.b, large.c, large.d) == (2.0, 2.0, 3.0, 3)
    nested = value.same_nested(types.nested(types.two_ints(1, 2), types.three_floats(3.0, 4.0, 5.0)))
    assert (nested.first.a, nested.first.b, nested.second.a, nested.second.c) == (1, 9, 10.0, 5.0)
    assert value.same_text16(types.text16(b"abc")).text == b"abc"
    assert bytes(value.same_text16(types.text16(b"x" * 16))) == b"x" * 15 + b"Z"
    assert bytes(value.same_text40(types.text40(b"x" * 40))) == b"x" * 39 + b"Z"
    assert list(value.same_array(types.floats((1, 2, 3))).items) == [1.0, 2.0, 9.0]
    assert list(value.same_doubles(types.doubles((1, 2))).items) == [1.0, 9.0]


def test_structs_between_other_arguments(value):
    types = midflight.types(value)
    result = value.many(1, types.large(2, 0, 0, 3), 4.5, types.two_ints(0, 5), 6.5, types.mixed(7.5, 8), -9, True,
                        types.three_floats(0, 0, 10.5), 2**40)  # fmt: skip
    assert result == 1 + 2 + 3 + 4.5 + 5 + 6.5 + 7.5 + 8 - 9 + 1 + 10.5 + 2**40


def test_the_caller_keeps_his_own(value):
    one = midflight.types(value).two_ints(1, 2)
    value.same_ints(one)
    assert (one.a, one.b) == (1, 2)


@pytest.mark.here_only("a struct that points to memory of this process")
def test_other_arguments_and_results_obey_the_same_rules(value):
    types = midflight.types(value)
    pair = types.two_ints(3, 4)
    assert value.small_back(pair, -128) == -128
    assert value.level_back(pair, 1) is types.level.HIGH
    assert value.text_back(pair, "größe") == "größe"
    assert value.text_back(pair, None) is None
    assert value.truth(types.two_ints(2, 1)) is True
    assert value.narrow(pair, 0.1) == pytest.approx(3.1)
    out = ctypes.c_int()
    assert value.into(pair, out) is None
    assert out.value == 7
    numbers = (ctypes.c_int * 3)(1, 2, 3)
    span = types.span(ctypes.cast(numbers, ctypes.POINTER(ctypes.c_int)), 3)
    assert value.through(span) == 6
    assert value.pointer_back(span).address == ctypes.addressof(numbers)
    assert value.pointer_back(types.span()) is None
    with pytest.raises(midflight.ArgumentRangeError, match="'back'"):
        value.small_back(pair, 128)
    with pytest.raises(midflight.ArgumentRangeError, match="'number'"):
        value.narrow(pair, 1e39)
    with pytest.raises(ArgumentTypeError, match="'out'"):
        value.into(pair, np.zeros(1))
    made = value.make(5, 6)
    assert (made.a, made.b) == (5, 6)


def test_what_is_no_such_struct(value):
    types = midflight.types(value)
    for wrong in (types.large(), (1, 2), 5, None, b"12345678", ctypes.pointer(types.two_ints()), types.two_ints):
        with pytest.raises(ArgumentTypeError, match=r"parameter 's' is two_ints.*make one with midflight\.types"):
            value.same_ints(wrong)


def test_by_value_from_an_older_version(swapping):
    text = "typedef struct { int a, b; } pair; int sum(pair p) { return p.a + p.b; }"
    lib = swapping(text)
    one = midflight.types(lib).pair(1, 2)
    swapping(text.replace("p.a + p.b", "p.a - p.b"))
    assert lib.sum(one) == -1
    swapping(text.replace("int a, b", "int a, b, c"), compat="any")
    with pytest.raises(ArgumentTypeError, match="12 bytes now"):
        lib.sum(one)


@pytest.mark.parametrize(
    ("name", "why"),
    [("by_union", "union"), ("by_bits", "bit-fields"), ("by_packed", "packed"),
     ("by_long_double", "long double|bits than"), ("by_with_union", "union"), ("back_union", "union")],
)  # fmt: skip
def test_what_ctypes_would_pass_wrongly_is_refused_with_the_reason(value, name, why):
    with pytest.raises(UnsupportedFunctionError, match=f"by value: .*({why})"):
        getattr(value, name)(0)
    assert value.add(2, 3) == 5
