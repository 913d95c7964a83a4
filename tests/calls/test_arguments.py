"""Catches arguments that end in another parameter's place, and calls with the wrong ones that go through."""

from __future__ import annotations

import math

import pytest

import midflight
from midflight import ArgumentTypeError

MIXED = ["int", "double", "signed char", "float", "unsigned long", "double", "short", "float", "long", "double"] * 2
COUNTS = (6, 7, 8, 9, 14, 20)


def mixed(count):
    """Declare a function whose result depends on the value and the place of every parameter."""
    params = ", ".join(f"{kind} a{index}" for index, kind in enumerate(MIXED[:count]))
    total = " + ".join(f"{index + 1} * (double)a{index}" for index in range(count))
    return f"double mixed{count}({params}) {{ return {total}; }}"


def uniform(kind, count):
    params = ", ".join(f"{kind} a{index}" for index in range(count))
    total = " + ".join(f"{index + 1} * a{index}" for index in range(count))
    return f"{kind} {kind}s{count}({params}) {{ return {total}; }}"


SOURCE = (
    """
int difference(int first, int second) { return first - second; }
int constant(void) { return 42; }
int keywords(int from, int class, int in) { return from * 100 + class * 10 + in; }
int nameless(int, int);
int nameless(int __attribute__((unused)) first, int second) { return second; }
double later(const char *text, double scale) { return text[0] * scale; }
struct pair { int first; int second; };
int of_pair(struct pair both, int factor) { return (both.first - both.second) * factor; }
int unusable(long double number, int other) { return (int)number + other; }
"""
    + "\n".join(mixed(count) for count in COUNTS)
    + "\n".join(uniform(kind, count) for kind in ("long", "double", "float") for count in (*COUNTS, 70))
    + "\n"
    + uniform("int", 71)
)


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


@pytest.mark.parametrize("count", COUNTS)
def test_integers_and_doubles_interleaved(lib, count):
    values = [index + 1 if "double" not in kind and "float" not in kind else index + 0.5
              for index, kind in enumerate(MIXED[:count])]  # fmt: skip
    expected = sum((index + 1) * value for index, value in enumerate(values))
    assert getattr(lib, f"mixed{count}")(*values) == expected


@pytest.mark.parametrize("kind", ["long", "double", "float"])
@pytest.mark.parametrize("count", [*COUNTS, 70])
def test_more_arguments_than_registers(lib, kind, count):
    values = [(-1) ** index * (index + 3) for index in range(count)]
    expected = sum((index + 1) * value for index, value in enumerate(values))
    assert getattr(lib, f"{kind}s{count}")(*values) == expected


def test_a_function_with_too_many_parameters_leaves_the_others_alone(lib):
    assert lib.constant() == 42
    with pytest.raises(midflight.UnsupportedFunctionError, match="71 parameters; at most 70"):
        lib.ints71(*range(71))


def test_keyword_arguments(lib):
    assert lib.difference(first=5, second=3) == 2
    assert lib.difference(second=3, first=5) == 2
    assert lib.difference(5, second=3) == 2
    assert lib.later(scale=2.0, text="A") == 130.0
    assert lib.longs20(**{f"a{index}": 1 for index in reversed(range(20))}) == sum(range(1, 21))
    assert lib.of_pair(factor=2, both=midflight.types(lib).pair(7, 3)) == 8


def test_names_that_python_reserves_get_an_underscore(lib):
    assert lib.keywords(from_=1, class_=2, in_=3) == 123
    with pytest.raises(ArgumentTypeError, match="no parameter 'from'"):
        lib.keywords(**{"from": 1, "class_": 2, "in_": 3})


@pytest.mark.parametrize("args", [(), (1,), (1, 2, 3), (1,) * 50])
def test_a_wrong_number_of_arguments(lib, args):
    with pytest.raises(ArgumentTypeError, match=rf"lib\.difference: 2 arguments expected, {len(args)} given") as caught:
        lib.difference(*args)
    assert isinstance(caught.value, TypeError)


def test_a_wrong_number_of_arguments_of_other_kinds_of_call(lib):
    with pytest.raises(ArgumentTypeError, match="0 arguments expected, 1 given"):
        lib.constant(1)
    with pytest.raises(ArgumentTypeError, match="2 arguments expected, 1 given"):
        lib.of_pair(midflight.types(lib).pair())
    with pytest.raises(ArgumentTypeError, match="2 arguments expected, 1 given"):
        lib.later("A")
    with pytest.raises(ArgumentTypeError, match="20 arguments expected, 19 given"):
        lib.longs20(*range(19))


def test_wrong_keywords(lib):
    with pytest.raises(ArgumentTypeError, match="no parameter 'third'"):
        lib.difference(first=1, third=2)
    with pytest.raises(ArgumentTypeError, match="no parameter 'third'"):
        lib.difference(1, 2, third=2)
    with pytest.raises(ArgumentTypeError, match="two values for parameter 'first'"):
        lib.difference(1, first=2)
    with pytest.raises(ArgumentTypeError, match="2 arguments expected, 1 given"):
        lib.difference(second=2)
    with pytest.raises(ArgumentTypeError, match="2 arguments expected, 4 given"):
        lib.difference(1, 2, 3, second=4)
    with pytest.raises(ArgumentTypeError, match="0 arguments expected, 100 given"):
        lib.constant(*range(100))
    with pytest.raises(ArgumentTypeError, match="2 arguments expected, 1 given"):
        lib.of_pair(factor=1)


def test_many_unknown_keywords_are_an_error_not_an_overflow(lib):
    with pytest.raises(ArgumentTypeError, match="no parameter"):
        lib.constant(**{f"x{index}": index for index in range(500)})


def test_an_unusable_function_says_so_whatever_it_is_called_with(lib):
    for args, named in (((), {}), ((1.0, 2), {}), ((), {"number": 1.0, "other": 2}), ((), {"nonsense": 1})):
        with pytest.raises(midflight.UnsupportedFunctionError, match="long double"):
            lib.unusable(*args, **named)


def test_a_failed_call_leaves_no_trace(lib):
    with pytest.raises(ArgumentTypeError):
        lib.difference(1, None)
    assert lib.difference(3, 1) == 2
    assert midflight.versions(lib)[-1].held_by == ()
    assert math.isclose(lib.doubles6(*[0.5] * 6), 10.5)
