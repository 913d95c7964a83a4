"""Catches C++ functions that can't be found, and C++ exceptions that end the process."""

from __future__ import annotations

import gc

import pytest

import midflight
from midflight import MissingFunction, NativeExceptionError, UnsupportedFunctionError

SOURCE = r"""
#include <new>
#include <stdexcept>
#include <string>
#include <vector>
struct pair { int a, b; };
struct triple { double a, b, c; };
class counted { public: counted()
{ ++alive; } counted(const counted &o) : text(o.text) { ++alive; } ~counted() { --alive; }
  std::string text; static int alive; };
int counted::alive = 0;
struct own_error { int code; };
class refusal : public std::runtime_error { public: refusal() : std::runtime_error("refused") {} };
namespace ns {
int add(int a, int b) { return a + b; }
double add(double a, double b) { return a + b; }
int only(int x) { return x + 1; }
namespace deep { int only_deep(unsigned long x) { return (int)x; } }
pair swap(pair p) { return {p.b, p.a}; }
}
namespace other { int twin(int) { return 1; } }
namespace another { int twin(int) { return 2; } }
void increment(int &number) { ++number; }
int read(const pair &p) { return p.a * 10 + p.b; }
extern "C" {
int plain(int x) { return 2 * x; }
int throw_runtime(int x) { if (x) throw std::runtime_error("no such thing: " + std::to_string(x)); return 0; }
double throw_double(double x) { if (x > 0) throw std::out_of_range("too far"); return x; }
int throw_int(int x) { if (x) throw x; return 0; }
int throw_text(int x) { if (x) throw "text"; return 0; }
int throw_own(int x) { if (x) throw own_error{x}; return 0; }
int throw_refusal(int x) { if (x) throw refusal(); return 0; }
int throw_again(int x) { try { return throw_runtime(x); } catch (...) { throw; } }
int throw_through(int (*function)(int), int x) { counted one; one.text = std::string(100, 'x'); return function(x); }
int throw_by_value(pair p, triple t)
{ counted one; if (p.a) throw std::logic_error("by value"); return p.b + (int)t.c; }
triple throw_large(int x) { if (x) throw std::logic_error("large"); return {1, 2, 3}; }
int throw_many(int a, int b, int c, int d, int e, int f, int g, int h, int i)
{ if (i) throw std::logic_error("many"); return a+b+c+d+e+f+g+h; }
int throw_with_text(const char *text, int size) { std::vector<int> v; return v.at((size_t)size) + text[0]; }
int caught_inside(int x) { try { throw x; } catch (int y) { return y + 1; } }
int alive(void) { return counted::alive; }
long no_memory(long count) { return (long)*new char[count < 0 ? (size_t)-1 / 2 : 1]; }
}
int text_length(std::string text) { return (int)text.size(); }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE, "lib.cc")


def test_c_linkage_and_unambiguous_functions_are_attributes(lib):
    assert lib.plain(21) == 42
    assert lib.only(1) == 2
    assert lib.only_deep(7) == 7


def test_overloads_are_found_by_their_full_name(lib):
    integers = midflight.function(lib, "ns::add(int, int)")
    doubles = midflight.function(lib, "ns::add(double, double)")
    assert integers(2, 3) == 5
    assert doubles(2.5, 3) == 5.5
    assert midflight.function(lib, "ns::add(int,int)") is integers
    assert midflight.function(lib, "plain") is lib.plain
    assert midflight.function(lib, "ns::only(int)")(1) == 2
    with pytest.raises(
        MissingFunction, match=r"several have that name; say which: midflight\.function\(module, 'ns::add\("
    ):
        lib.add(1, 2)
    with pytest.raises(MissingFunction, match="several"):
        lib.twin(1)
    assert midflight.function(lib, "other::twin(int)")(0) + midflight.function(lib, "another::twin(int)")(0) == 3
    with pytest.raises(MissingFunction) as caught:
        midflight.function(lib, "ns::add(char)")
    assert isinstance(caught.value, AttributeError)
    with pytest.raises(MissingFunction):
        midflight.function(lib, "")


def test_references_are_pointers(lib):
    import ctypes

    number = ctypes.c_int(41)
    lib.increment(number)
    assert number.value == 42
    assert lib.read(midflight.types(lib).pair(4, 2)) == 42


def test_structs_by_value(lib):
    swapped = lib.swap(midflight.types(lib).pair(1, 2))
    assert (swapped.a, swapped.b) == (2, 1)


def test_objects_by_value_are_refused(lib):
    with pytest.raises(UnsupportedFunctionError, match=r"std::.*string.*C\+\+ object"):
        lib.text_length("text")


CASES = {
    "throw_runtime": ((5,), "std::runtime_error", "no such thing: 5"),
    "throw_double": ((1.5,), "std::out_of_range", "too far"),
    "throw_int": ((5,), "int", ""),
    "throw_text": ((5,), "char const*", ""),
    "throw_own": ((5,), "own_error", ""),
    "throw_refusal": ((5,), "refusal", "refused"),
    "throw_again": ((6,), "std::runtime_error", "no such thing: 6"),
    "throw_many": ((1,) * 9, "std::logic_error", "many"),
    "throw_with_text": (("x", 9), "std::out_of_range", "vector"),
    "throw_large": ((1,), "std::logic_error", "large"),
    "no_memory": ((-1,), "std::bad_array_new_length", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_an_exception_becomes_one_of_ours(lib, name):
    arguments, type_name, what = CASES[name]
    with pytest.raises(NativeExceptionError) as caught:
        getattr(lib, name)(*arguments)
    if name == "no_memory":
        assert caught.value.type_name in {"std::bad_array_new_length", "std::bad_alloc"}
    else:
        assert caught.value.type_name == type_name
    assert what in str(caught.value)
    assert f"lib.{name}" in str(caught.value)
    assert lib.plain(1) == 2


def test_an_exception_from_a_call_with_structs_by_value(lib):
    types = midflight.types(lib)
    before = lib.alive()
    for _ in range(100):
        with pytest.raises(NativeExceptionError, match="by value") as caught:
            lib.throw_by_value(types.pair(1, 2), types.triple(1, 2, 3))
        assert caught.value.type_name == "std::logic_error"
        assert lib.throw_by_value(types.pair(0, 2), types.triple(1, 2, 3)) == 5
    assert lib.alive() == before, "its destructors have run"


def test_destructors_run_on_the_way(lib):
    before = lib.alive()

    class Host:
        def fail(self, x):
            return lib.throw_runtime(x)

    with pytest.raises(NativeExceptionError, match="no such thing: 3"):
        lib.throw_through(Host().fail, 3)
    assert lib.alive() == before


def test_the_library_catches_its_own(lib):
    assert lib.caught_inside(4) == 5


def test_an_exception_leaves_nothing_behind(swapping):
    lib = swapping(SOURCE, suffix=".cc")
    for _ in range(50):
        with pytest.raises(NativeExceptionError):
            lib.throw_own(1)
    gc.collect()
    swapping(SOURCE + "\nint newer;", suffix=".cc")
    old = midflight.versions(lib)[0]
    assert (old.status, old.held_by) == ("unloaded", ())
