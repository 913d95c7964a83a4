"""Would catch a ctypes class whose size or offsets aren't the library's own, or that is given out half made."""

from __future__ import annotations

import ctypes
import enum
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from midflight.artifact import declared
from midflight.artifact.ctypes_types import CTypes, friendly_name
from midflight.artifact.interface import Array, Pointer, Record, Type

SCALARS = ["char", "unsigned char", "short", "unsigned short", "int", "unsigned", "long", "float", "double", "void *"]
BIT_TYPES = {"unsigned char": 8, "short": 16, "int": 32, "unsigned": 32, "unsigned long": 64, "_Bool": 1}


@pytest.fixture
def classes(read_library):
    def make(text, **options):
        interface = read_library(text, **options)
        made = CTypes(interface)
        return interface, made, made.namespace()

    return make


def check(interface, made, type_id, seen=None):
    """Compare a record's class with the model, with those of its members."""
    seen = set() if seen is None else seen
    record = interface.strip(type_id)
    if not isinstance(record, Record) or record.size is None or id(record) in seen:
        return
    seen.add(id(record))
    kind = made.of(type_id)
    assert ctypes.sizeof(kind) == record.size
    for field in record.fields:
        descriptor = getattr(kind, field.name, None) if field.name else None
        if descriptor is None:
            continue
        instance = kind()
        if field.bit_size is None:
            assert descriptor.offset == field.offset, field
        else:
            setattr(instance, field.name, (1 << field.bit_size) - 1)
            written = int.from_bytes(bytes(instance), "little")
            assert written == ((1 << field.bit_size) - 1) << field.bit_offset, field
        check(interface, made, field.type, seen)


def test_plain_struct(classes):
    _, _, names = classes("struct p { int a; double b[2]; struct p *next; const char *s; }; void f(struct p *p) {}")
    player = names["p"]
    assert [(name, kind) for name, kind, *_ in player._fields_] == [
        ("a", ctypes.c_int), ("b", ctypes.c_double * 2), ("next", ctypes.POINTER(player)), ("s", ctypes.c_char_p),
    ]  # fmt: skip
    first, second = player(1), player(2)
    second.next = ctypes.pointer(first)
    assert second.next.contents.a == 1


def test_same_class_each_time(classes):
    interface, made, names = classes("struct p { int a; }; typedef struct p q; void f(struct p *p, q *r) {}")
    pointers = [made.of(param.type) for param in interface.functions[0].params]
    assert pointers[0] is pointers[1]
    assert names["p"] is names["q"] is pointers[0]._type_


@pytest.mark.parametrize(
    ("members", "attribute"),
    [
        ("char c; int i; char d; long l;", "__attribute__((packed))"),
        ("char c; double d; char e;", "__attribute__((packed, aligned(4)))"),
        ("int i; char c;", "__attribute__((aligned(32)))"),
        ("char c; int i __attribute__((aligned(16))); char d;", ""),
        ("char c; long double wide; int i;", ""),
        ("unsigned a : 3; unsigned b : 7; unsigned long c : 40; char d; short e : 5;", ""),
        ("char c; int a : 9; int b : 25; unsigned char d : 3; _Bool e : 1;", ""),
        ("int a : 5; long b : 33; char c;", "__attribute__((packed))"),
        ("char c; union { int a; struct { short x, y; }; double d; }; int last;", ""),
        ("int length; char data[];", ""),
        ("int length; double data[0];", ""),
        ("", ""),
    ],
)
def test_exact_layout(classes, members, attribute):
    interface, made, names = classes(f"struct s {{ {members} }} {attribute}; void f(struct s *p) {{}}")
    type_id = next(index for index, one in enumerate(interface.types) if getattr(one, "name", "") == "struct s")
    check(interface, made, type_id)
    assert names["s"] is made.of(type_id)


def test_values_of_overlapping_and_odd_bit_fields(classes):
    text = "struct s { int a : 5; long b : 33; unsigned c : 2; } __attribute__((packed)); void f(struct s *p) {}"
    _, _, names = classes(text)
    one = names["s"]()
    one.a, one.b, one.c = -3, -(1 << 31), 2
    assert (one.a, one.b, one.c) == (-3, -(1 << 31), 2)
    one.a = 15
    assert (one.a, one.b, one.c) == (15, -(1 << 31), 2)


def test_anonymous_members_are_reached_directly(classes):
    _, _, names = classes("struct s { int k; union { int i; struct { short x, y; }; }; }; void f(struct s *p) {}")
    one = names["s"]()
    one.x, one.y = 1, 2
    assert one.i == 0x20001


def test_cpp_tail_padding(classes):
    text = """
        struct base { double d; char c; base() : d(0), c(0) {} };
        struct derived : base { char e; };
        extern "C" void f(derived *p) { p->e = p->c; }
    """
    interface, made, names = classes(text, compiler="g++")
    assert ctypes.sizeof(names["derived"]) == 16
    assert names["derived"].e.offset == 9
    check(interface, made, interface.strip(interface.functions[0].params[0].type).target)


def test_unsupported_members_are_bytes(classes):
    _, _, names = classes("struct s { char c; long double w; int i; }; void f(struct s *p) {}")
    assert ctypes.sizeof(names["s"]) == 48
    assert "more bits than Python's floats" in names["s"].__doc__


def test_names_that_python_reserves(classes):
    text = """
        struct s { int from; int class; int _fields_; int None; }; enum e { mro, None_, pass };
        void f(struct s *p, enum e e) {}
    """
    _, _, names = classes(text)
    assert names["s"](1, 2, 3, 4).from_ == 1
    assert names["s"](1, 2, 3, 4).class_ == 2
    assert names["s"](1, 2, 3, 4)._fields__ == 3
    assert int(names["e"].pass_) == 2


def test_enum(classes):
    interface, made, names = classes("enum e { A, B = 7, C = -1 }; enum e f(enum e e) { return e; }")
    kind = names["e"]
    assert issubclass(kind, enum.IntEnum)
    assert [(member.name, member.value) for member in kind] == [("A", 0), ("B", 7), ("C", -1)]
    assert made.enum(interface.functions[0].result) is kind
    assert made.of(interface.functions[0].result) is ctypes.c_int


def test_callbacks_can_be_called(classes):
    text = """
        struct s; typedef int (*callback)(int, const char *); typedef void *(*maker)(struct s *, double);
        void f(callback c, maker m) {}
    """
    _, _, names = classes(text)
    assert names["callback"](lambda number, text: number + len(text))(3, b"ab") == 5
    assert names["maker"](lambda _, size: int(size))(None, 64.0) == 64


def test_pointers(classes):
    text = "void f(const char *a, char *b, void *c, const double *d, int **e, char (*g)[4], unsigned char *h) {}"
    interface, made, _ = classes(text)
    assert [made.of(param.type) for param in interface.functions[0].params] == [
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_char),
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_double),
        ctypes.POINTER(ctypes.POINTER(ctypes.c_int)),
        ctypes.POINTER(ctypes.c_char * 4),
        ctypes.POINTER(ctypes.c_ubyte),
    ]
    assert made.of(0) is None


def test_opaque(classes):
    interface, made, _ = classes("struct s; void f(struct s *p) {}")
    pointer = made.of(interface.functions[0].params[0].type)
    assert pointer._type_._fields_ == []


def test_mutually_recursive_records(classes):
    text = "struct b; struct a { struct b *b; int x; }; struct b { struct a a; int y; }; void f(struct a *p) {}"
    _, _, names = classes(text)
    assert (ctypes.sizeof(names["a"]), ctypes.sizeof(names["b"])) == (16, 24)


def test_ambiguous_short_names(classes):
    text = """
        namespace one { struct s { int a; }; } namespace two { struct s { double b; }; struct t { int c; }; }
        extern "C" void f(one::s *p, two::s *q, two::t *r) {}
    """
    _, _, names = classes(text, compiler="g++")
    assert {"one_s", "two_s", "t"} <= set(names)
    assert "s" not in names


@pytest.mark.parametrize(
    ("name", "short"),
    [("struct player", "player"), ("ns::vec", "vec"), ("ns::vec<int, ns::x>", "vec_int_ns_x"), ("", "")],
)
def test_friendly_name(name, short):
    assert friendly_name(name) == short


@st.composite
def member_lists(draw, prefix="m", depth=2):
    members = []
    for index in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["scalar", "scalar", "array", "bits", "unnamed", "zero", "record"]))
        if kind == "scalar":
            members.append(f"{draw(st.sampled_from(SCALARS))} {prefix}{index};")
        elif kind == "array":
            members.append(f"{draw(st.sampled_from(SCALARS))} {prefix}{index}[{draw(st.integers(1, 5))}];")
        elif kind in {"bits", "unnamed"}:
            base = draw(st.sampled_from(sorted(BIT_TYPES)))
            name = f"{prefix}{index}" if kind == "bits" else ""
            members.append(f"{base} {name} : {draw(st.integers(1, BIT_TYPES[base]))};")
        elif kind == "zero":
            members.append(f"{draw(st.sampled_from(['int', 'long', 'char']))} : 0;")
        elif depth:
            word = draw(st.sampled_from(["struct", "union"]))
            name = draw(st.sampled_from([f"{prefix}{index}", ""]))
            inner = "\n".join(draw(member_lists(f"{prefix}{index}_", depth - 1)))
            members.append(f"{word} {{ {inner} int {prefix}{index}_k; }} {name};")
    members.append(f"char {prefix}last;")
    return members


def places(interface, type_id):
    """A record's layout as plain data, anonymous members and all."""
    record = interface.strip(type_id)
    found = []
    for field in record.fields:
        inner = interface.strip(field.type)
        found.append(
            (
                field.name,
                field.offset if field.bit_size is None else None,
                field.bit_size,
                field.bit_offset,
                places(interface, field.type) if isinstance(inner, Record) else None,
            )
        )
    return record.size, found


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    records=st.lists(
        st.tuples(member_lists(), st.sampled_from(["struct", "union"]), st.sampled_from(["", "packed"])),
        min_size=3,
        max_size=3,
    )
)
def test_random_records(read_library, records):
    """What gcc lays out, what the declarations say, and what ctypes makes of both, are the same."""
    text = ""
    for number, (members, word, packed) in enumerate(records):
        attribute = "__attribute__((packed))" if packed else ""
        text += f"{word} {attribute} r{number} {{ {' '.join(members)} }};\n"
    heads = ", ".join(f"{word} r{number} *p{number}" for number, (_, word, _) in enumerate(records))
    compiled = read_library(f"{text} void f({heads}) {{}}")
    written = declared.parse(f"{text} void f({heads});")
    classes = CTypes(compiled)
    for one, other in zip(compiled.functions[0].params, written.functions[0].params, strict=True):
        first, second = compiled.strip(one.type), written.strip(other.type)
        assert isinstance(first, Pointer)
        assert places(compiled, first.target) == places(written, second.target)
        check(compiled, classes, first.target)


UNION = "union u { int a : 1; int b : 5; long c : 40; char all[64]; }; void f(union u *u);"
MAKE_CLASSES = f"""
from midflight.artifact import declared
from midflight.artifact.ctypes_types import CTypes
u = CTypes(declared.parse({UNION!r})).namespace()["u"]()
u.a, u.b, u.c = -1, 10, 5
print(u.a, u.b, u.c, bytes(u)[:2])
"""


def test_no_bit_field_is_tried_outside_of_its_record():
    """In a union ctypes puts all but the first one before the first byte; Python's own checks see what is written."""
    checked = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", MAKE_CLASSES], env=checked, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "-1 5 5 b'\\x05\\x00'\n"), done.stderr


class SlowFirst(tuple[Type, ...]):
    """Types, of which the one that is waited for is read by the first thread while a second one works."""

    __slots__ = ()
    inside, seen = threading.Event(), threading.Event()

    def __getitem__(self, index):
        found = super().__getitem__(index)
        if isinstance(found, Array) and not self.inside.is_set():
            self.inside.set()
            self.seen.wait(0.2)  # the second thread can't come to an end before; without the lock it does
        return found


def test_a_class_that_one_thread_is_making_is_given_to_no_other_thread(read_library):
    interface = read_library("struct p { int a[4]; }; void f(struct p *p) {}")
    types = SlowFirst(interface.types)
    made = CTypes(structs.replace(interface, types=types))
    record = next(index for index, found in enumerate(interface.types) if isinstance(found, Record))
    first = threading.Thread(target=made.of, args=(record,))
    first.start()
    assert types.inside.wait(10)
    found = made.of(record)
    types.seen.set()
    assert found._fields_ == [("a", ctypes.c_int * 4)]
    first.join()
    assert made.of(record) is found
