"""Bindings that one version takes over from the version before.

Would catch: a function that is called as its older version had to be, or at its older version's address; help and
keyword names of a version that is gone.
"""

from __future__ import annotations

import inspect

import pytest

import midflight


def _swapped(load, workshop, first, second):
    module = load(workshop.library("first", first), name="lib")
    midflight.swap(module, workshop.library("second", second), compat="any")
    return module


def test_an_unchanged_function_runs_at_its_new_address(workshop, load):
    padding = "int padding(int a) { return a * 3; }"
    module = _swapped(load, workshop, "int f(int a) { return a + 1; }", f"{padding} int f(int a) {{ return a + 2; }}")
    assert (module.f(1), module.padding(5)) == (3, 15)


def test_types_that_functions_have_exchanged(workshop, load):
    module = _swapped(
        load,
        workshop,
        "int f(int a) { return a; } long g(long a) { return a; }",
        "int g(int a) { return a; } long f(long a) { return a; }",
    )
    assert module.f(2**40) == 2**40
    with pytest.raises(midflight.ArgumentRangeError):
        module.g(2**40)


def test_a_parameter_that_has_another_name(workshop, load):
    module = _swapped(load, workshop, "int f(int old) { return old; }", "int f(int fresh) { return fresh; }")
    assert list(inspect.signature(module.f).parameters) == ["fresh"]
    assert module.f(fresh=4) == 4
    with pytest.raises(midflight.ArgumentTypeError):
        module.f(old=4)


def test_all_sorts_of_functions_through_many_swaps(workshop, load):
    source = """
    struct pair {{ int a, b; }};
    typedef int (*visit)(int);
    int version(void) {{ return {0}; }}
    int both(struct pair p) {{ return p.a + p.b + {0}; }}
    int called(visit f) {{ return f({0}); }}
    const char *text(void) {{ return "version {0}"; }}
    int first(const struct pair *p) {{ return p->a + {0}; }}
    """
    libraries = [workshop.library(f"version{number}", source.format(number)) for number in range(3)]
    module = load(libraries[0], name="lib")
    pair = midflight.types(module).pair(10, 20)
    for turn in range(1, 40):
        number = turn % 3
        midflight.swap(module, libraries[number])
        assert module.version() == number
        assert module.both(pair) == 30 + number
        assert module.called(lambda value: value + 1) == number + 1
        assert module.text() == f"version {number}"
        assert module.first(pair) == 10 + number
    assert [version.status for version in midflight.versions(module)[:-1]] == ["unloaded"] * (
        len(midflight.versions(module)) - 1
    )
