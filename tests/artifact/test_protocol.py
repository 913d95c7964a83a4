"""Would catch a Protocol class whose annotations are taken for other types than they say."""

from __future__ import annotations

import ctypes
import enum
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_int, c_size_t, c_ubyte, c_void_p
from typing import Annotated, Optional, Protocol

import pytest

from midflight._errors import InterfaceError
from midflight.artifact import protocol
from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.elf import Elf
from midflight.artifact.reader import read_interface

LIBRARY = """
int speed = 3;
int add(int a, int b) { return a + b; }
double mean(const double *v, unsigned long n) { return n ? v[0] : 0; }
void move(void *p, int mode) {}
int each(void *f, void *data) { return 0; }
const char *name(const char *s) { return s; }
"""


class Point(Structure):
    """A recursive structure with bit-fields."""


Point._fields_ = [("x", c_int), ("next", POINTER(Point)), ("a", ctypes.c_uint, 3), ("b", ctypes.c_uint, 7)]


class Mode(enum.IntEnum):
    """An enumeration."""

    SLOW = 0
    FAST = 7


Callback = CFUNCTYPE(c_int, c_int, c_void_p)


@pytest.fixture(scope="module")
def data(compile_library):
    return compile_library(LIBRARY, "-g0")


@pytest.fixture(scope="module")
def read(data):
    exports = Elf(data).exports
    return lambda declared: protocol.read(declared, exports)


class Base(Protocol):
    """What most declarations look like."""

    speed: c_int

    def add(self, a: c_int, b: Annotated[int, "int32"]) -> c_int: ...


class Library(Base, Protocol):
    """One that goes on from another."""

    def mean(self, v: POINTER(c_double), n: c_size_t) -> float: ...
    def move(self, p: POINTER(Point), mode: Mode) -> None: ...
    def each(self, f: Callback, data: c_void_p) -> c_int: ...
    def name(self, s: str | None) -> c_char_p: ...


def test_functions(read):
    interface = read(Library)
    assert interface.origin == "declared"
    assert [interface.describe(function) for function in interface.functions] == [
        "int add(int a, int32_t b)",
        "double mean(double *v, unsigned long n)",
        "void move(struct Point *p, enum Mode mode)",
        "int each(int (*f)(int, void *), void *data)",
        "const char *name(const char *s)",
    ]
    assert [(variable.name, interface.spell(variable.type)) for variable in interface.variables] == [("speed", "int")]
    assert interface.functions[0].declared_in.startswith(__file__)


def test_structures_keep_ctypes_layout(read):
    interface = read(Library)
    made = CTypes(interface).namespace()["Point"]
    assert ctypes.sizeof(made) == ctypes.sizeof(Point)
    for name, *_ in Point._fields_:
        ours, theirs = getattr(made, name), getattr(Point, name)
        assert (ours.offset, ours.size) == (theirs.offset, theirs.size)


@pytest.mark.parametrize(
    ("annotation", "spelled"),
    [
        (int, "long"),
        (float, "double"),
        (bool, "bool"),
        (str, "const char *"),
        (bytes, "const char *"),
        (bytearray, "unsigned char *"),
        (None, "void"),
        (Optional[bytes], "const char *"),  # noqa: UP045 - the older spelling is tested too
        (POINTER(c_ubyte), "unsigned char *"),
        (POINTER(POINTER(c_int)), "int **"),
        (c_int * 4, "int[4]"),
        (Annotated[int, "size_t"], "size_t"),
        (Annotated[int, "unsigned long"], "unsigned long"),
        (Annotated[float, "float"], "float"),
        (Annotated[object, "const double *"], "const double *"),
        (Annotated[object, "void *"], "void *"),
        (Annotated[int, ctypes.c_int16], "short"),
        (Annotated[int, ">= 0", "a note"], None),
    ],
)
def test_annotations(read, annotation, spelled):
    def add(self, a): ...

    add.__annotations__ = {"a": c_int, "return": annotation}
    declared = type("Declared", (), {"add": add})
    if spelled is None:
        with pytest.raises(InterfaceError, match="isn't a type that midflight knows"):
            read(declared)
        return
    interface = read(declared)
    assert interface.spell(interface.functions[0].result) == spelled


def test_static_and_variadic_methods(read):
    class Declared:
        @staticmethod
        def add(a: c_int, *rest: c_int) -> c_int: ...

    interface = read(Declared)
    assert interface.describe(interface.functions[0]) == "int add(int a, ...)"


class Missing(Protocol):
    """Two of its functions aren't exported."""

    def add(self, a: c_int, b: c_int) -> c_int: ...
    def sub(self, a: c_int, b: c_int) -> c_int: ...
    def mul(self, a: c_int, b: c_int) -> c_int: ...


class Bare(Protocol):
    """A parameter says nothing."""

    def add(self, a, b: c_int) -> c_int: ...


class NoResult(Protocol):
    """The result isn't said."""

    def add(self, a: c_int, b: c_int): ...


class Strange(Protocol):
    """A type that C doesn't know."""

    def add(self, a: list, b: c_int) -> c_int: ...


class TwoTypes(Protocol):
    """Two types at once."""

    def add(self, a: int | str, b: c_int) -> c_int: ...


class Unresolved(Protocol):
    """A name that isn't there."""

    def add(self, a: nowhere, b: c_int) -> c_int: ...  # noqa: F821 - the point of the test


class Keywords(Protocol):
    """Parameters that C doesn't have."""

    def add(self, **rest: c_int) -> c_int: ...


class Empty(Protocol):
    """Declares nothing."""


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (Missing, "Missing: the library doesn't export sub, mul"),
        (Bare, "Bare.add: parameter a has no annotation"),
        (NoResult, "NoResult.add: the result has no annotation"),
        (Strange, "Strange.add: list isn't a type that C knows"),
        (TwoTypes, "TwoTypes.add: .*isn't one type of C"),
        (Unresolved, "Unresolved.add: an annotation can't be resolved.*nowhere"),
        (Keywords, "a C function has no parameter like"),
        (Empty, "Empty: the class has no methods"),
    ],
)
def test_mistakes(read, declared, words):
    with pytest.raises(InterfaceError, match=words):
        read(declared)


def test_by_the_reader(data):
    assert read_interface(data, sha256="", declared=Base).functions[0].name == "add"
