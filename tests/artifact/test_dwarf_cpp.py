"""Would catch a C++ function under a wrong name, a method or template taken for a function, and a wrong ``trivial``."""

from __future__ import annotations

import pytest

from midflight.artifact.interface import Enum, Pointer, Record

pytestmark = pytest.mark.parametrize("compiler", ["g++", "clang++"])

SOURCE = """
#include <string>
#include <vector>
extern "C" int plain(int a) { return a; }
extern "C" int vec_size(const std::vector<int> *v) { return v->size(); }
namespace ns {
    enum class mode : unsigned char { slow, fast };
    struct vec { double x, y; double length() const; static int made; };
    int vec::made = 4;
    double vec::length() const { return x * x + y * y; }
    int add(int a, int b) { return a + b; }
    double add(double a, double b) { return a + b; }
    double norm(const vec &v) { return v.length(); }
    void grow(vec &v, const char *const *names) { v.x += names[0][0]; }
    int use(mode m, std::string text) { return text.size() + int(m); }
    inline namespace v1 { int versioned(unsigned long n) { return n; } }
    namespace { int secret(int x) { static int asked; return ++asked + x; } }
    int ask(int x) { return secret(x); }
    template <class T> T twice(T x) { return x + x; }
    template int twice<int>(int);
    inline int weak(int x) { return x; }
    int call_weak(int (*f)(int), int x) { return f(weak(x)); }
}
int operator+(const ns::vec &a, int b) { return a.x + b; }
int plain(double a) { return a; }
"""


@pytest.fixture
def library(read_library, compiler):
    return read_library(SOURCE, compiler=compiler)


def test_names(library):
    assert library.language == "c++"
    assert {(function.name, function.qualified) for function in library.functions} == {
        ("plain", "plain"),
        ("vec_size", "vec_size"),
        ("", "ns::add(int, int)"),
        ("", "ns::add(double, double)"),
        ("norm", "ns::norm(const ns::vec &)"),
        ("grow", "ns::grow(ns::vec &, const char *const *)"),
        ("use", "ns::use(ns::mode, std::string)"),
        ("versioned", "ns::v1::versioned(unsigned long)"),
        ("ask", "ns::ask(int)"),
        ("call_weak", "ns::call_weak(int (*)(int), int)"),
        ("", "operator+(const ns::vec &, int)"),
        ("", "plain(double)"),
    }


def test_references_are_pointers(library):
    norm = next(function for function in library.functions if function.name == "norm")
    pointer = library.strip(norm.params[0].type)
    assert isinstance(pointer, Pointer)
    assert pointer.const
    assert library.types[pointer.target].name == "ns::vec"
    grow = next(function for function in library.functions if function.name == "grow")
    assert not library.strip(grow.params[0].type).const


def test_enum_class(library):
    use = next(function for function in library.functions if function.name == "use")
    assert library.strip(use.params[0].type) == Enum("ns::mode", 1, signed=False, items=(("slow", 0), ("fast", 1)))


def test_standard_library_classes_have_a_size_only(library):
    use = next(function for function in library.functions if function.name == "use")
    text = library.strip(use.params[1].type)
    assert isinstance(text, Record)
    assert text.fields == ()
    assert text.size is None or not text.trivial  # clang leaves the definition to the standard library's own file


def test_variables(library):
    found = {variable.name: variable for variable in library.variables}
    assert set(found) == {"made", "asked"}
    assert found["made"].exported
    assert found["asked"].scope == "ns::(anonymous namespace)::secret"


TRIVIAL = """
#include <string>
#include <memory>
#include <atomic>
struct plain { int a; double b; };
struct with_method { int a; void m() {} };
struct with_constructor { int a; with_constructor(int x) : a(x) {} };
struct derived : plain { int c; };
struct with_destructor { int a; ~with_destructor() { a = 0; } };
struct with_copy { int a; with_copy(const with_copy &o) : a(o.a) {} };
struct with_virtual { virtual void m(); int a; };
void with_virtual::m() {}
struct holds_string { std::string s; };
struct holds_array { with_destructor all[3]; };
struct from_virtual : with_virtual { int d; void m() override; };
void from_virtual::m() {}
struct defaulted { int a; defaulted(const defaulted &) = default; };
extern "C" void f(plain *a, with_method *b, with_constructor *c, derived *d, defaulted *e)
{ a->a = c->a + d->c + e->a; b->m(); }
extern "C" void g(with_destructor *a, with_copy *b, with_virtual *c, holds_string *d, holds_array *e, from_virtual *h)
{ a->a = b->a + d->s.size() + e->all[0].a + h->d; c->m(); }
"""


def test_trivial(read_library, compiler):
    interface = read_library(TRIVIAL, compiler=compiler)
    records = {record.name: record.trivial for record in interface.types if isinstance(record, Record)}
    trivial = ["plain", "with_method", "with_constructor", "derived", "defaulted"]
    other = ["with_destructor", "with_copy", "with_virtual", "holds_string", "holds_array", "from_virtual"]
    assert {name: records[name] for name in trivial + other} == {
        **dict.fromkeys(trivial, True),
        **dict.fromkeys(other, False),
    }


def test_base_class_members_are_the_derived_class_s(read_library, compiler):
    interface = read_library(TRIVIAL, compiler=compiler)
    derived = next(one for one in interface.types if isinstance(one, Record) and one.name == "derived")
    assert [(field.name, field.offset) for field in derived.fields] == [("a", 0), ("b", 8), ("c", 16)]


def test_type_units(read_library, compiler):
    interface = read_library(SOURCE, "-fdebug-types-section", compiler=compiler)
    norm = next(function for function in interface.functions if function.name == "norm")
    record = interface.types[interface.strip(norm.params[0].type).target]
    assert (record.name, record.size, len(record.fields)) == ("ns::vec", 16, 2)
