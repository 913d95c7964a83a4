"""Would catch a stub file that isn't valid Python or doesn't fit how the library is called, and a wrong signature."""

from __future__ import annotations

import inspect
import sys

import pytest
from mypy import api as mypy

from midflight.artifact import stub

SOURCE = """
#include <stdbool.h>
struct player { int hp; double position[3]; struct player *next; char name[16]; union { int i; float f; }; int from; };
enum color { RED, GREEN = 5, BLUE = -1 };
typedef int (*callback)(int, void *);
int speed = 3;
int add(int a, int b) { return a + b; }
double sum(const double *v, long n) { return n ? v[0] : 0; }
void hit(struct player *p, enum color c) { p->hp -= c; }
struct player make(void) { struct player p = {0}; return p; }
int each(callback f, void *data) { return f(1, data); }
const char *name(const char *, bool from, float lambda) { return 0; }
int print(const char *format, ...) { return format[0]; }
long double wide(long double x) { return x; }
"""
GOLDEN = '''"""The interface of calc, as midflight reads it."""
import ctypes
import enum
from collections.abc import Callable
from typing import Any

from midflight import Pointer
from typing_extensions import Buffer

speed: int

def add(a: int, b: int) -> int:
    """int add(int a, int b)  Declared in lib.c:7."""

def sum(v: Buffer | ctypes.Array[Any] | Pointer | None, n: int) -> float:
    """double sum(const double *v, long n)  Declared in lib.c:8."""
'''
USE = """
import calc

reveal_type(calc.add(2, b=3))
reveal_type(calc.sum(bytearray(8), 1))
reveal_type(calc.each(lambda number, data: number + 1, None))
reveal_type(calc.name("x", True, 1.5))
reveal_type(calc.make().name)
reveal_type(calc.speed)
calc.add("2", 3)
calc.nothing()
"""


@pytest.fixture
def interface(read_library):
    return read_library(SOURCE, "-w")


def function(interface, name):
    return next(one for one in interface.functions if one.name == name)


def test_golden(interface):
    assert stub.render(interface, "calc").startswith(GOLDEN)


def run_mypy(tmp_path, monkeypatch, text, program):
    (tmp_path / "calc.pyi").write_text(text)
    (tmp_path / "use.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYPYPATH", str(tmp_path))
    monkeypatch.setattr(sys, "setrecursionlimit", lambda _limit: None)  # mypy raises it, for all tests after this one
    output, errors, status = mypy.run(["--strict", "--cache-dir", str(tmp_path / "cache"), "use.py", "calc.pyi"])
    assert not errors
    return output, status


def test_mypy_understands_it(interface, tmp_path, monkeypatch):
    output, _ = run_mypy(tmp_path, monkeypatch, stub.render(interface, "calc"), USE)
    found = [line.split(": ", 1)[1] for line in output.splitlines() if "use.py" in line or "calc.pyi" in line]
    assert [line for line in found if line.startswith("note: Revealed")] == [
        'note: Revealed type is "int"',
        'note: Revealed type is "float"',
        'note: Revealed type is "int"',
        'note: Revealed type is "str | None"',
        'note: Revealed type is "bytes"',
        'note: Revealed type is "int"',
    ]
    assert [line for line in found if line.startswith("error")] == [
        'error: Argument 1 to "add" has incompatible type "str"; expected "int"  [arg-type]',
        'error: Module has no attribute "nothing"  [attr-defined]',
    ]


def test_names_that_hide_types(read_library, tmp_path, monkeypatch):
    source = """
        struct bytes { int ctypes; char str[4]; float bool; };
        int Any(int x) { return x; } float Buffer(struct bytes *enum_) { return 0; } int ctypes(void) { return 1; }
        const char *Pointer(int def) { return 0; } int None(void) { return 0; } int __hidden(void) { return 0; }
    """
    text = stub.render(read_library(source), "calc")
    output, status = run_mypy(tmp_path, monkeypatch, text, "import calc\nreveal_type(calc.Any(1))\n")
    assert status == 0, output
    assert 'Revealed type is "int"' in output


def test_cpp(read_library, tmp_path, monkeypatch):
    source = """
        #include <string>
        namespace ns {
        struct vec { double x; }; enum class mode { slow, mro }; template <class T> struct box { T held; };
        int add(int a) { return a; } int add(double b) { return b; } double norm(const vec &v, mode m) { return v.x; }
        int use(box<int> *b, std::string &s) { return b->held; } }
    """
    text = stub.render(read_library(source, compiler="g++"), 'a "quoted" \\ name')
    output, status = run_mypy(tmp_path, monkeypatch, text, "import calc\n")
    assert status == 0, output
    assert "# ns::add(int) is found by midflight.function(module, 'ns::add(int)')" in text


def test_signatures(interface):
    shown = {one.name: str(stub.signature(interface, one)) for one in interface.functions}
    assert shown["add"] == "(a: int, b: int) -> int"
    assert shown["hit"] == "(p: player | Buffer | Pointer | None, c: color | int) -> None"
    assert shown["make"] == "() -> player"
    assert shown["name"] == "(arg0: str | Buffer | Pointer | None, from_: bool, lambda_: float) -> str | None"
    assert shown["print"] == "(format: str | Buffer | Pointer | None, *args) -> int"
    signature = stub.signature(interface, function(interface, "add"))
    assert [param.kind for param in signature.parameters.values()] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
    assert signature.bind(2, b=3).arguments == {"a": 2, "b": 3}


def test_docstrings(interface):
    assert stub.docstring(interface, function(interface, "each")) == (
        "int each(callback f, void *data)\n\nDeclared in lib.c:11."
    )
    assert stub.docstring(interface, function(interface, "wide")).endswith(
        "Can't be called from Python (long double: it has more bits than Python's floats)."
    )
