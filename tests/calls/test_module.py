"""Catches a module that isn't one to Python: attributes, completion, help, introspection, functions that are kept."""

from __future__ import annotations

import functools
import inspect
import pickle
import pydoc
import types
import weakref

import pytest

import midflight
from midflight import Function, MissingFunction, UnloadedError

SOURCE = r"""
struct point { int x, y; };
int speed = 88;
static int secret = 5;
const char *motto = "onward";
int add(int left, int right) { return left + right + 0 * secret; }
double scale(const struct point *where, double by) { return (where->x + where->y) * by; }
void each(void (*visit)(int), int count) { for (int i = 0; i < count; i++) visit(i); }
int logged(const char *format, ...) { return format[0]; }
int __dunder__(void) { return 1; }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


def test_it_is_exactly_a_module(lib):
    assert type(lib) is types.ModuleType
    assert lib.__name__ == "lib"
    assert lib.__file__.endswith("lib.c")
    assert "midflight" in lib.__doc__
    assert inspect.ismodule(lib)


def test_its_functions_are_its_attributes(lib):
    assert {"add", "scale", "each", "logged"} <= set(dir(lib))
    assert "add" in vars(lib)
    assert lib.add is lib.add
    assert type(lib.add) is Function
    assert "__dunder__" not in vars(lib)
    assert lib.__all__ == ["add", "each", "logged", "scale"]
    assert midflight.function(lib, "__dunder__")() == 1


def test_exported_variables_are_read_through_the_module(lib):
    assert lib.speed == 88
    assert lib.motto == "onward"
    midflight.variables(lib)["speed"] = 90
    assert lib.speed == 90
    midflight.variables(lib)["speed"] = 88
    assert hasattr(lib, "speed")
    assert not hasattr(lib, "secret")


def test_what_isnt_there_is_explained(lib):
    assert not hasattr(lib, "subtract")
    assert not hasattr(lib, "__wrapped__")
    assert getattr(lib, "subtract", None) is None
    with pytest.raises(
        MissingFunction, match=r"lib: version 1 has no function or variable 'subtract'; it has .*add"
    ) as caught:
        lib.subtract(1, 2)
    assert isinstance(caught.value, AttributeError)
    assert caught.value.name == "subtract"
    with pytest.raises(AttributeError):
        lib.__path__  # noqa: B018 - reading it is the test
    with pytest.raises(ImportError):
        exec("from lib import subtract", {})  # noqa: S102 - no such module is registered


def test_a_function_introduces_itself(lib):
    assert lib.add.__name__ == lib.add.__qualname__ == "add"
    assert lib.add.__module__ == "lib"
    assert repr(lib.add) == "<native function lib.add>"
    assert "int add(int left, int right)" in lib.add.__doc__
    assert "lib.c" in lib.add.__doc__


def test_signatures(lib):
    signature = inspect.signature(lib.add)
    assert list(signature.parameters) == ["left", "right"]
    assert str(signature) == "(left: int, right: int) -> int"
    bound = signature.bind(1, right=2)
    assert lib.add(*bound.args, **bound.kwargs) == 3
    assert "count" in str(inspect.signature(lib.each))
    assert inspect.signature(lib.logged).parameters["args"].kind is inspect.Parameter.VAR_POSITIONAL
    assert list(inspect.signature(lib.scale).parameters) == ["where", "by"]


def test_help(lib):
    text = pydoc.render_doc(lib, renderer=pydoc.plaintext)
    assert "add(left: int, right: int) -> int" in text
    assert "int add(int left, int right)" in text
    assert "add(left: int, right: int)" in pydoc.render_doc(lib.add, renderer=pydoc.plaintext)


def test_functions_are_ordinary_objects(lib):
    assert callable(lib.add)
    assert inspect.isroutine(lib.add)
    assert functools.partial(lib.add, 1)(2) == 3
    assert list(map(lib.add, [1, 2], [3, 4])) == [4, 6]
    assert {lib.add: 1}[lib.add] == 1
    assert weakref.ref(lib.add)() is lib.add
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        pickle.dumps(lib.add)
    with pytest.raises((AttributeError, TypeError)):
        lib.add.__doc__ = "changed"
    with pytest.raises(TypeError):
        Function()

    class Host:
        add = lib.add

    assert Host().add(1, 2) == 3, "it doesn't become a method"


def test_a_kept_function_follows_the_swap(swapping):
    lib = swapping("int f(int a) { return a + 1; }")
    f, partial = lib.f, functools.partial(lib.f, 10)
    swapping("/* better */ int f(int b) { return b + 2; }")
    assert (f(1), partial()) == (3, 12)
    assert f is lib.f
    assert list(inspect.signature(f).parameters) == ["b"]
    assert f(b=1) == 3


def test_a_function_that_went_and_came_back(swapping):
    lib = swapping("int f(void) { return 1; } int g(void) { return 10; }")
    g = lib.g
    swapping("int f(void) { return 2; }", compat="any")
    with pytest.raises(MissingFunction, match="version 2 has no function 'g'"):
        g()
    assert not hasattr(lib, "g")
    assert "g" not in dir(lib)
    assert g.__doc__ is None
    assert repr(g) == "<native function lib.g>"
    swapping("int f(void) { return 3; } int g(void) { return 30; }", compat="any")
    assert g() == 30
    assert lib.g is g


def test_after_unload_everything_says_so(swapping):
    lib = swapping(SOURCE)
    add, values = lib.add, midflight.variables(lib)
    midflight.unload(lib)
    for use in (
        lambda: add(1, 2), lambda: lib.add(left=1, right=2), lambda: lib.speed, lambda: values["speed"],
        lambda: values.__setitem__("speed", 1), lambda: midflight.types(lib), lambda: midflight.function(lib, "add"),
        lambda: midflight.variables(lib), lambda: list(values),
    ):  # fmt: skip
        with pytest.raises(UnloadedError, match="unloaded"):
            use()
    assert add.__doc__ is None
    assert repr(lib.add) == "<native function lib.add>"


def test_two_loads_are_two_modules(tmp_path, load):
    path = tmp_path / "count.c"
    path.write_text("static int count; int next(void) { return ++count; }")
    one, other = load(path), load(path, name="other")
    assert [one.next(), one.next(), other.next()] == [1, 2, 1]
    assert (one.__name__, other.__name__) == ("count", "other")


def test_what_is_no_module_of_ours():
    for wrong in (types, types.ModuleType("lib"), "lib", None):
        for use in (midflight.variables, midflight.types, midflight.versions, lambda one: midflight.function(one, "f")):
            with pytest.raises(midflight.SwapError, match="no module of midflight's"):
                use(wrong)
