"""Catches memory handed to C that isn't what the parameter says: wrong items, gaps, bytes that may not be written."""

from __future__ import annotations

import array
import ctypes
import mmap
from contextlib import suppress

import numpy as np
import pytest

from midflight import ArgumentTypeError

SOURCE = r"""
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
double sum(const double *items, long count) { double s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
float sum_float(const float *items, long count)
{ float s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
void scale(double *items, long count, double by) { for (long i = 0; i < count; i++) items[i] *= by; }
long sum_int(const int *items, long count) { long s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
long sum_uint(const unsigned *items, long count)
{ long s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
long sum_long(const long long *items, long count)
{ long s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
long sum_short(const int16_t *items, long count)
{ long s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
long count_true(const bool *items, long count) { long s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
long sum_bytes(const uint8_t *items, long count)
{ long s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
void fill(uint8_t *items, long count, int with) { memset(items, with, (size_t)count); }
void fill_void(void *items, long count, int with) { memset(items, with, (size_t)count); }
unsigned first_byte(const void *memory) { return *(const unsigned char *)memory; }
bool is_null(const double *items) { return items == 0; }
size_t length(const char *text) { return text ? strlen(text) : 999; }
long sum_chars(const char *text, long count)
{ long s = 0; for (long i = 0; i < count; i++) s += (unsigned char)text[i]; return s; }
int shout(char *text) { int n = 0; for (; *text; text++, n++) if (*text >= 'a' && *text <= 'z') *text -= 32; return n; }
const char *same_text(const char *text) { return text; }
const char *latin(void) { return "gr\xfc\xdf"; }
const char *greeting(void) { return "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x8d"; }
const char *no_text(void) { return 0; }
double trace(const double matrix[3][3]) { return matrix[0][0] + matrix[1][1] + matrix[2][2]; }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


# ---- text


@pytest.mark.parametrize("text", ["", "plain", "größe", "日本語", "🐍" * 50, "x" * 10000, "a\n\t\x01"])
def test_text_goes_as_utf8_and_comes_back(lib, text):
    assert lib.length(text) == len(text.encode())
    assert lib.same_text(text) == text


def test_text_results(lib):
    assert lib.greeting() == "grüß 🐍"
    assert lib.no_text() is None
    assert lib.latin() == "gr\udcfc\udcdf"
    assert lib.latin().encode("utf-8", "surrogateescape") == b"gr\xfc\xdf"


def test_none_is_the_null_pointer(lib):
    assert lib.length(None) == 999
    assert lib.same_text(None) is None
    assert lib.is_null(None) is True
    assert lib.is_null(np.zeros(1)) is False


def test_text_that_c_would_see_differently_is_refused(lib):
    with pytest.raises(ArgumentTypeError, match="NUL"):
        lib.length("a\0b")
    with pytest.raises(ArgumentTypeError, match="surrogates"):
        lib.length("\udcfc")


def test_text_goes_to_constant_characters_only(lib):
    for call in (lambda: lib.shout("abc"), lambda: lib.sum("abc", 1), lambda: lib.first_byte("abc")):
        with pytest.raises(ArgumentTypeError, match="a str can be passed to a `const char \\*` only"):
            call()


def test_bytes(lib):
    assert lib.length(b"abc") == 3
    assert lib.length(b"a\0c") == 1
    assert lib.sum_chars(b"\x01\0\xff", 3) == 256
    assert lib.sum_bytes(b"\x01\x02\x03", 3) == 6
    assert lib.first_byte(b"\x07") == 7


def test_a_subclass_of_bytes(lib):
    class Name(bytes):
        __slots__ = ()

    assert lib.length(Name(b"four")) == 4


# ---- memory that is written to


def test_bytearray_memoryview_and_mmap_are_written_in_place(lib):
    data = bytearray(b"hello")
    assert lib.shout(data) == 5
    assert data == b"HELLO"
    lib.fill(memoryview(data)[1:3], 2, 46)
    assert data == b"H..LO"
    with mmap.mmap(-1, 4096) as memory:
        lib.fill(memory, 4096, 1)
        assert lib.sum_bytes(memory, 4096) == 4096


def test_a_bytearray_can_be_resized_again_after_the_call(lib):
    data = bytearray(b"abc")
    lib.shout(data)
    with pytest.raises(ArgumentTypeError):
        lib.scale(data, 1, 2.0)
    data += b"more"
    assert data == b"ABCmore"


@pytest.mark.parametrize(
    "constant", [b"abc", memoryview(b"abc"), np.frombuffer(b"abc", dtype="u1")], ids=lambda one: type(one).__name__
)
def test_what_is_read_only_isnt_given_to_be_written(lib, constant):
    assert lib.sum_bytes(constant, 3) == 294
    with pytest.raises(ArgumentTypeError, match=r"'items'.*read-only"):
        lib.fill(constant, 3, 0)
    with pytest.raises(ArgumentTypeError, match="read-only"):
        lib.fill_void(constant, 3, 0)


def test_a_numpy_array_that_is_locked(lib):
    items = np.ones(3)
    items.flags.writeable = False
    assert lib.sum(items, 3) == 3.0
    with pytest.raises(ArgumentTypeError, match="read-only"):
        lib.scale(items, 3, 2.0)
    assert items.tolist() == [1.0, 1.0, 1.0]


# ---- items


def test_arrays_of_the_right_items(lib):
    assert lib.sum(np.array([1.5, 2.5]), 2) == 4.0
    assert lib.sum(array.array("d", [1.5, 2.5]), 2) == 4.0
    assert lib.sum((ctypes.c_double * 2)(1.5, 2.5), 2) == 4.0
    assert lib.sum(memoryview(array.array("d", [1.5, 2.5])), 2) == 4.0
    assert lib.sum_float(np.array([1.5, 2.5], dtype="f4"), 2) == 4.0
    assert lib.sum_int(np.array([-1, 5], dtype=np.int32), 2) == 4
    assert lib.sum_uint(array.array("I", [2**32 - 1]), 1) == 2**32 - 1
    assert lib.sum_long(np.array([-1, 5]), 2) == 4
    assert lib.sum_long(array.array("l", [-1, 5]), 2) == 4
    assert lib.sum_long(array.array("q", [-1, 5]), 2) == 4
    assert lib.sum_short(np.array([-1, 5], dtype=np.int16), 2) == 4
    assert lib.count_true(np.array([True, False, True]), 3) == 2
    assert lib.count_true((ctypes.c_bool * 2)(True, True), 2) == 2


def test_one_number_by_reference(lib):
    number = ctypes.c_double(21.0)
    lib.scale(number, 1, 2.0)
    assert number.value == 42.0
    lib.scale(ctypes.pointer(number), 1, 2.0)
    assert number.value == 84.0
    with pytest.raises(ArgumentTypeError, match=r"without ctypes\.byref"):
        lib.scale(ctypes.byref(number), 1, 2.0)
    wide = ctypes.c_longlong(5)
    assert lib.sum_long(ctypes.pointer(wide), 1) == 5


@pytest.mark.parametrize(
    "items",
    [
        np.ones(3, dtype="f4"), np.ones(3, dtype="i8"), np.ones(3, dtype=">f8"), np.ones(3, dtype="c16"),
        np.ones(3, dtype=bool), np.ones(3, dtype="u1"), np.ones(3, dtype="S8"), np.ones(3, dtype=[("x", "f8")]),
        array.array("f", [1]), array.array("q", [1]), (ctypes.c_float * 3)(), ctypes.c_long(3),
        bytearray(24), b"12345678",
        np.array([None, None]), ctypes.c_double.__ctype_be__(1.0),
    ],
    ids=repr,
)  # fmt: skip
def test_items_of_another_type_are_refused(lib, items):
    with pytest.raises(ArgumentTypeError, match=r"lib\.sum: parameter 'items' is const double \*.*format"):
        lib.sum(items, 0)


def test_integers_of_another_sign_or_width_are_refused(lib):
    for wrong in ("u4", "i8", "i2", ">i4", "f4"):
        with pytest.raises(ArgumentTypeError, match="'items'"):
            lib.sum_int(np.ones(2, dtype=wrong), 2)
    with pytest.raises(ArgumentTypeError):
        lib.count_true(np.ones(2, dtype="u1"), 2)


def test_single_bytes_are_alike(lib):
    for kind in ("u1", "i1"):
        assert lib.sum_bytes(np.frombuffer(b"\x01\x02", dtype=kind), 2) == 3
    assert lib.sum_bytes((ctypes.c_char * 2)(1, 2), 2) == 3
    assert lib.sum_chars(array.array("b", [1, 2]), 2) == 3


@pytest.mark.parametrize("memory", [np.full(3, 7, dtype="u1"), array.array("i", [7]), (ctypes.c_int * 2)(7), b"\x07",
                                    bytearray(b"\x07"),
                                    np.array([7], dtype=">i2").byteswap(), ctypes.c_int(7)], ids=repr)  # fmt: skip
def test_void_takes_any_memory(lib, memory):
    assert lib.first_byte(memory) == 7


@pytest.mark.parametrize(
    "wrong", [5, 1.5, [1.0], (1.0,), {}, object(), "text", lambda: None, ctypes.c_double], ids=repr
)
def test_what_has_no_memory_to_share(lib, wrong):
    with pytest.raises(ArgumentTypeError, match="'items'"):
        lib.sum(wrong, 0)


# ---- shapes


def test_items_with_gaps_are_refused(lib):
    grid = np.arange(12.0).reshape(3, 4)
    for view in (grid[:, 1], grid[::2, ::2], np.arange(6.0)[::-1], np.asfortranarray(grid), grid.T):
        with pytest.raises(ArgumentTypeError, match=r"contiguous.*ascontiguousarray"):
            lib.sum(view, 1)
    assert lib.sum(np.ascontiguousarray(grid.T), 12) == 66.0
    assert lib.sum(grid[1], 4) == 22.0
    assert lib.sum(grid, 12) == 66.0
    with pytest.raises(ArgumentTypeError, match="contiguous"):
        lib.sum_bytes(memoryview(b"abcdef")[::2], 3)


def test_shapes_at_the_edge(lib):
    assert lib.sum(np.array(4.5), 1) == 4.5
    assert lib.sum(np.zeros(0), 0) == 0.0
    assert lib.sum(np.zeros((0, 5)), 0) == 0.0
    assert lib.sum(np.full((1, 1, 1), 2.5)[:, ::-1], 1) == 2.5
    assert lib.sum_bytes(b"", 0) == 0
    assert lib.sum_bytes(bytearray(), 0) == 0


def test_a_parameter_of_several_dimensions(lib):
    assert lib.trace(np.eye(3)) == 3.0
    assert lib.trace(((ctypes.c_double * 3) * 3)((1, 0, 0), (0, 2, 0), (0, 0, 3))) == 6.0
    with pytest.raises(ArgumentTypeError):
        lib.trace(np.eye(3, dtype="f4"))


def test_memory_is_let_go_of_after_the_call(lib):
    for function, more in ((lib.sum_bytes, (3,)), (lib.length, ()), (lib.sum, (0,))):
        data = bytearray(b"abc")
        with suppress(ArgumentTypeError):
            function(data, *more)
        data.append(1)
        assert len(data) == 4
