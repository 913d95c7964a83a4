"""Catches one function that can't be called spoiling its module, and variadic functions called by guesswork."""

from __future__ import annotations

import ctypes

import pytest

import midflight
from midflight import ArgumentTypeError, InterfaceError, MissingFunction, UnsupportedFunctionError

SOURCE = r"""
#include <complex.h>
#include <stdarg.h>
#include <stdio.h>
typedef float four __attribute__((vector_size(16)));
long double ld(long double x) { return x; }
long double ld_back(int x) { return x; }
__int128 wide(__int128 x) { return x; }
four simd(four x) { return x + x; }
double _Complex rotate(double _Complex x) { return x * I; }
float by_pointer(four *x) { return (*x)[1]; }
long double *ld_pointer(long double *x) { return x; }
int fine(int x) { return x + 1; }
int print_to(char *into, const char *format, ...)
{ va_list a; va_start(a, format); int n = vsprintf(into, format, a); va_end(a); return n; }
double total(int count, ...)
{
    va_list a;
    va_start(a, count);
    double s = 0;
    for (int i = 0; i < count; i++) s += va_arg(a, double);
    va_end(a);
    return s;
}
long total_long(int count, ...)
{
    va_list a;
    va_start(a, count);
    long s = 0;
    for (int i = 0; i < count; i++) s += va_arg(a, long);
    va_end(a);
    return s;
}
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


@pytest.mark.parametrize(
    ("name", "why"),
    [("ld", "long double"), ("ld_back", "long double"), ("wide", "__int128"), ("simd", "vector|SIMD"),
     ("rotate", "[cC]omplex")],
)  # fmt: skip
def test_one_function_is_unusable_with_a_reason(lib, name, why):
    function = getattr(lib, name)
    with pytest.raises(UnsupportedFunctionError, match=f"lib.{name}: .*({why})") as caught:
        function(1)
    assert isinstance(caught.value, TypeError)
    assert function.__doc__
    assert "Can't be called" in function.__doc__
    assert lib.fine(1) == 2


@pytest.mark.here_only("addresses as they stand")
def test_pointers_to_such_types_are_pointers(lib):
    assert lib.ld_pointer(None) is None
    four = (ctypes.c_float * 4)(1, 2, 3, 4)
    assert lib.by_pointer(ctypes.cast(four, ctypes.c_void_p)) == 2.0


def test_a_variadic_function_says_how_to_call_it(lib):
    with pytest.raises(
        UnsupportedFunctionError, match=r"variadic.*midflight\.function\(module, 'print_to', signature="
    ):
        lib.print_to(bytearray(10), "text")


def test_a_variadic_function_by_its_signature(lib):
    three = midflight.function(
        lib, "print_to", signature="int print_to(char *, const char *, int, const char *, double)"
    )
    into = bytearray(100)
    assert three(into, "%d %s %.2f", -5, "größe", 2.5) == len("-5 größe 2.50".encode())
    assert into.rstrip(b"\0").decode() == "-5 größe 2.50"
    two = midflight.function(lib, "print_to", signature="int print_to(char *into, const char *format);")
    assert two(into=into, format="plain") == 5
    assert two is not three
    assert midflight.function(lib, "print_to", signature="int print_to(char *into, const char *format);") is two
    with pytest.raises(ArgumentTypeError, match="2 arguments expected"):
        two(into)


def test_more_variadic_arguments_than_registers(lib):
    kinds = ", ".join(["double"] * 20)
    total = midflight.function(lib, "total", signature=f"double total(int, {kinds})")
    assert total(20, *[0.5] * 20) == 10.0
    kinds = ", ".join(["long"] * 20)
    assert midflight.function(lib, "total_long", signature=f"long total_long(int, {kinds})")(20, *range(20)) == 190


def test_a_float_goes_as_a_double_for_the_dots(lib):
    total = midflight.function(lib, "total", signature="double total(int, float, float)")
    assert total(2, 0.25, 1.5) == 1.75


def test_a_signature_survives_swaps(swapping):
    lib = swapping(SOURCE)
    total = midflight.function(lib, "total", signature="double total(int, double, double)")
    assert total(2, 1.0, 2.0) == 3.0
    swapping(SOURCE.replace("double s = 0", "double s = 100"))
    assert total(2, 1.0, 2.0) == 103.0
    midflight.rollback(lib)
    assert total(2, 1.0, 2.0) == 3.0
    a, b = SOURCE.split("double total(")
    swapping(a + "double renamed(" + b, compat="any")
    with pytest.raises(MissingFunction, match="no function"):
        total(2, 1.0, 2.0)


@pytest.mark.parametrize(
    "signature",
    ["", "int", "int total(", "int x;", "int a(void); int b(void);", "double total(int, mystery)", "#include <x>"],
)
def test_a_signature_that_cant_be_read(lib, signature):
    with pytest.raises(InterfaceError):
        midflight.function(lib, "total", signature=signature)
    assert midflight.function(lib, "total", signature="double total(int)")(0) == 0.0


def test_a_signature_for_what_isnt_there(lib):
    with pytest.raises(MissingFunction):
        midflight.function(lib, "nowhere", signature="int nowhere(void)")
