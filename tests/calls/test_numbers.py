"""Catches numbers that change on their way into C or back: wrong width, sign, rounding, or silently cut off."""

from __future__ import annotations

import ctypes
import math
import re
import struct
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import numpy as np
import pytest

from midflight import ArgumentRangeError, ArgumentTypeError

INTEGERS = {
    "signed char": (-(2**7), 2**7 - 1),
    "unsigned char": (0, 2**8 - 1),
    "short": (-(2**15), 2**15 - 1),
    "unsigned short": (0, 2**16 - 1),
    "int": (-(2**31), 2**31 - 1),
    "unsigned int": (0, 2**32 - 1),
    "long": (-(2**63), 2**63 - 1),
    "unsigned long": (0, 2**64 - 1),
    "long long": (-(2**63), 2**63 - 1),
    "unsigned long long": (0, 2**64 - 1),
    "int8_t": (-(2**7), 2**7 - 1),
    "uint8_t": (0, 2**8 - 1),
    "int16_t": (-(2**15), 2**15 - 1),
    "uint16_t": (0, 2**16 - 1),
    "int32_t": (-(2**31), 2**31 - 1),
    "uint32_t": (0, 2**32 - 1),
    "int64_t": (-(2**63), 2**63 - 1),
    "uint64_t": (0, 2**64 - 1),
    "size_t": (0, 2**64 - 1),
    "ptrdiff_t": (-(2**63), 2**63 - 1),
    "wchar_t": (-(2**31), 2**31 - 1),
    "char16_t": (0, 2**16 - 1),
    "char32_t": (0, 2**32 - 1),
    "celsius_t": (-(2**15), 2**15 - 1),
    "char": (ctypes.c_int8(-128).value if b"\xff"[0] > 127 else 0, 127),
}

SOURCE = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uchar.h>
#include <wchar.h>
typedef int16_t celsius_t;
typedef bool flag_t;
typedef float ratio_t;
enum color { RED = 1, GREEN = 2, LIME = 2, BLUE = -7 };
enum huge { BIG = 0x100000000 };
typedef enum { UP, DOWN } direction;
enum color next(enum color now) { return now == RED ? GREEN : now == GREEN ? BLUE : (enum color)now; }
enum huge largest(enum huge now) { return now; }
direction turn(direction now) { return now == UP ? DOWN : UP; }
_Bool negate(_Bool truth) { return !truth; }
int truth(flag_t flag) { return flag ? 1 : 0; }
float same_float(float number) { return number; }
double same_double(double number) { return number; }
ratio_t halve(ratio_t number) { return number / 2; }
uint32_t float_bits(float number) { union { float number; uint32_t bits; } u = {number}; return u.bits; }
uint64_t double_bits(double number) { union { double number; uint64_t bits; } u = {number}; return u.bits; }
void nothing(void) {}
""" + "\n".join(f"{name} same_{name.replace(' ', '_')}({name} number) {{ return number; }}" for name in INTEGERS)


class Meters(IntEnum):
    """An enumeration of the test's own."""

    NONE = 0
    MANY = 100


class Countable:
    """Only __index__."""

    def __init__(self, number):
        self.number = number

    def __index__(self):
        return self.number


class Floating:
    """Only __float__."""

    def __float__(self):
        return 2.5


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


@pytest.mark.parametrize("name", INTEGERS)
def test_every_integer_keeps_its_edges_and_refuses_what_lies_beyond(lib, name):
    low, high = INTEGERS[name]
    same = getattr(lib, f"same_{name.replace(' ', '_')}")
    for number in (low, low + 1, -1 if low else 0, 0, 1, high - 1, high):
        assert same(number) == number
        assert type(same(number)) is int
    for number in (low - 1, high + 1, -(2**64), 2**64, -(2**200), 2**200):
        with pytest.raises(ArgumentRangeError, match=r"parameter 'number' is .*doesn't fit") as caught:
            same(number)
        assert isinstance(caught.value, OverflowError)
        assert str(number) in str(caught.value)


def test_an_out_of_range_error_says_what_fits(lib):
    with pytest.raises(ArgumentRangeError, match=re.escape("int8_t (-128 to 127), and 128 doesn't fit it")):
        lib.same_int8_t(128)
    with pytest.raises(ArgumentRangeError, match=re.escape("(0 to 18446744073709551615), and -1 doesn't fit it")):
        lib.same_uint64_t(-1)


def test_a_number_too_long_to_be_written_is_still_out_of_range(lib):
    with pytest.raises(ArgumentRangeError, match="as big as that"):
        lib.same_int(10**5000)
    with pytest.raises(ArgumentRangeError, match="as big as that"):
        lib.same_double(10**5000)


@pytest.mark.parametrize(
    "number",
    [Countable(7), np.int8(7), np.uint8(7), np.int16(7), np.uint32(7), np.int64(7), np.uint64(7), np.array(7)],
    ids=lambda number: type(number).__name__,
)
def test_whatever_counts_as_an_integer_is_one(lib, number):
    assert lib.same_int(number) == 7
    assert lib.same_unsigned_long(number) == 7


def test_true_is_one_as_everywhere_in_python(lib):
    assert lib.same_int(True) == 1
    assert lib.same_uint8_t(False) == 0


def test_values_beyond_the_range_are_found_behind_index_too(lib):
    with pytest.raises(ArgumentRangeError):
        lib.same_uint8_t(np.int64(256))
    with pytest.raises(ArgumentRangeError):
        lib.same_int(Countable(2**31))


@pytest.mark.parametrize(
    "wrong",
    [1.0, "1", b"1", None, [1], np.float32(1), np.float64(1), np.array([1, 2]), 1j, Decimal(1), Fraction(1)],
    ids=repr,
)
def test_what_is_no_integer_is_refused_by_the_parameters_name(lib, wrong):
    with pytest.raises(ArgumentTypeError, match=r"lib\.same_int: parameter 'number' is int") as caught:
        lib.same_int(wrong)
    assert isinstance(caught.value, TypeError)


def test_an_exception_of_the_values_own_comes_through(lib):
    class Broken:
        def __index__(self):
            raise ZeroDivisionError

        def __float__(self):
            raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        lib.same_int(Broken())
    with pytest.raises(KeyboardInterrupt):
        lib.same_double(Broken())


def test_a_type_error_of_the_values_own_is_kept_as_the_cause(lib):
    with pytest.raises(ArgumentTypeError) as caught:
        lib.same_int(np.array([1, 2]))
    assert isinstance(caught.value.__cause__, TypeError)


def test_bool(lib):
    assert lib.negate(True) is False
    assert lib.negate(False) is True
    assert lib.negate(1) is False
    assert lib.negate(0) is True
    assert lib.negate(np.True_) is False
    assert lib.negate(np.False_) is True
    assert lib.truth(True) == 1
    for wrong in (2, -1, 2**70):
        with pytest.raises(ArgumentRangeError, match="True or False"):
            lib.negate(wrong)
    for wrong in (1.0, "yes", None, [], np.array([1, 2])):
        with pytest.raises(ArgumentTypeError, match="'truth'"):
            lib.negate(wrong)


def test_char_is_a_number_of_one_byte(lib):
    assert lib.same_char(65) == 65
    assert lib.same_signed_char(-1) == -1
    assert lib.same_unsigned_char(255) == 255
    with pytest.raises(ArgumentTypeError):
        lib.same_char("A")


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, -2.25, 1e308, 5e-324, math.inf, -math.inf, math.pi])
def test_doubles_travel_bit_by_bit(lib, number):
    assert struct.pack("d", lib.same_double(number)) == struct.pack("d", number)
    assert lib.double_bits(number) == int.from_bytes(struct.pack("<d", number), "little")


def test_not_a_number_stays_not_a_number(lib):
    assert math.isnan(lib.same_double(math.nan))
    assert math.isnan(lib.same_float(math.nan))
    assert lib.double_bits(struct.unpack("<d", (0x7FF8000000001234).to_bytes(8, "little"))[0]) == 0x7FF8000000001234


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, 0.1, 3.4028234663852886e38, 1e-45, math.inf, -math.inf])
def test_floats_are_rounded_once(lib, number):
    rounded = ctypes.c_float(number).value
    assert struct.pack("d", lib.same_float(number)) == struct.pack("d", rounded)
    assert lib.float_bits(number) == int.from_bytes(struct.pack("<f", number), "little")
    assert lib.halve(number) == ctypes.c_float(rounded / 2).value


def test_a_double_that_no_float_can_hold_is_out_of_range(lib):
    for number in (1e39, -1e39, 3.5e38, 10**400):
        with pytest.raises(ArgumentRangeError, match="'number'"):
            lib.same_float(number)
    with pytest.raises(ArgumentRangeError):
        lib.same_double(10**400)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3, 3.0), (True, 1.0), (np.float32(0.5), 0.5), (np.int16(-4), -4.0), (Decimal("2.5"), 2.5), (Fraction(1, 4), 0.25),
     (Floating(), 2.5), (Countable(9), 9.0), (np.array(1.25), 1.25), (2**53 + 1, float(2**53 + 1))],
)  # fmt: skip
def test_whatever_can_be_a_float_is_one(lib, number, expected):
    assert lib.same_double(number) == expected
    assert lib.same_float(number) == ctypes.c_float(expected).value


@pytest.mark.parametrize("wrong", ["1.5", b"1", None, [1.5], 1j, np.array([1.0, 2.0]), object()], ids=repr)
def test_what_is_no_number_is_refused(lib, wrong):
    with pytest.raises(ArgumentTypeError, match=r"lib\.same_double: parameter 'number' is double"):
        lib.same_double(wrong)


def test_enums_come_back_as_members(lib):
    import midflight

    color = midflight.types(lib).color
    assert issubclass(color, IntEnum)
    assert lib.next(color.RED) is color.GREEN
    assert lib.next(1) is color.GREEN
    assert lib.next(color.GREEN) is color.BLUE
    assert color.LIME is color.GREEN
    assert lib.turn(0) is midflight.types(lib).direction.DOWN
    assert lib.largest(2**32) is midflight.types(lib).huge.BIG


def test_a_value_without_a_name_is_a_plain_number(lib):
    assert lib.next(99) == 99
    assert type(lib.next(99)) is int


def test_other_enums_are_numbers_too(lib):
    assert lib.same_int(Meters.MANY) == 100
    with pytest.raises(ArgumentRangeError):
        lib.same_int8_t(Countable(Meters.MANY + 100))


def test_void_is_none(lib):
    assert lib.nothing() is None
