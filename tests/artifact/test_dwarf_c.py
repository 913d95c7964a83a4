"""Would catch a C function, type or variable that is read wrongly from debug information, of gcc and of clang."""

from __future__ import annotations

import pytest

from midflight.artifact.interface import (
    Array,
    Enum,
    Field,
    Pointer,
    Record,
    Scalar,
    Signature,
    Typedef,
    Unsupported,
    Void,
)

pytestmark = pytest.mark.parametrize("compiler", ["gcc", "clang"])

TYPES = """
#include <stdbool.h>
#include <stdint.h>
#include <uchar.h>
#include <wchar.h>
struct player { int hp; struct player *next; unsigned low : 3, high : 5; union { int i; float f; }; char name[16]; };
struct opaque;
union number { long whole; double part; };
enum color { RED, GREEN = 5, BLUE = -1 };
typedef int (*callback)(int, void *);
typedef struct { short x, y; } point;
struct text { int length; char data[]; };
signed char a_signed_char(signed char v) { return v; }
char a_char(char v) { return v; }
uint8_t a_uint8(uint8_t v) { return v; }
short a_short(short v) { return v; }
unsigned short a_ushort(unsigned short v) { return v; }
unsigned int a_uint(unsigned int v) { return v; }
long a_long(long v) { return v; }
unsigned long long a_ullong(unsigned long long v) { return v; }
float a_float(float v) { return v; }
bool a_bool(bool v) { return v; }
wchar_t a_wchar(wchar_t v) { return v; }
char32_t a_char32(char32_t v) { return v; }
enum color a_color(enum color v) { return v; }
void a_player(struct player *v) { v->hp++; }
void a_const_player(const struct player *v) { (void)v; }
void an_opaque(struct opaque *v) { (void)v; }
void a_union(union number *v) { v->whole = 1; }
void a_callback(callback v) { v(1, 0); }
void a_bare_callback(double (*v)(const char *, ...)) { (void)v; }
point a_point(point v) { return v; }
void a_text(struct text *v) { v->length = 0; }
const char *a_string(const char *const v) { return v; }
void a_matrix(double v[3][4]) { v[0][0] = 0; }
void *a_void(const void *v, char **w) { return (void *)v ? *w : 0; }
"""


@pytest.fixture
def types(read_library, compiler):
    return read_library(TYPES, compiler=compiler)


def parameter(interface, name, index=0):
    function = next(one for one in interface.functions if one.name == name)
    return function.params[index].type


def stripped(interface, name):
    return interface.strip(parameter(interface, name))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("a_signed_char", Scalar("signed char", "int", 1)),
        ("a_char", Scalar("char", "char", 1)),
        ("a_uint8", Scalar("unsigned char", "uint", 1)),
        ("a_short", Scalar("short", "int", 2)),
        ("a_ushort", Scalar("unsigned short", "uint", 2)),
        ("a_uint", Scalar("unsigned int", "uint", 4)),
        ("a_long", Scalar("long", "int", 8)),
        ("a_ullong", Scalar("unsigned long long", "uint", 8)),
        ("a_float", Scalar("float", "float", 4)),
        ("a_bool", Scalar("bool", "bool", 1)),
        ("a_wchar", Scalar("int", "int", 4)),
        ("a_char32", Scalar("unsigned int", "uint", 4)),
        ("a_color", Enum("enum color", 4, signed=True, items=(("RED", 0), ("GREEN", 5), ("BLUE", -1)))),
    ],
)
def test_scalars(types, function, expected):
    assert stripped(types, function) == expected


@pytest.mark.parametrize(
    ("function", "spelled"),
    [
        ("a_player", "struct player *"),
        ("a_const_player", "const struct player *"),
        ("an_opaque", "struct opaque *"),
        ("a_string", "const char *"),
        ("a_callback", "callback"),
        ("a_bare_callback", "double (*)(const char *)"),
        ("a_uint8", "uint8_t"),
        ("a_void", "const void *"),
    ],
)
def test_spelling(types, function, spelled):
    assert types.spell(parameter(types, function)) == spelled


def test_struct(types):
    pointer = stripped(types, "a_player")
    record = types.types[pointer.target]
    assert isinstance(record, Record)
    assert (record.name, record.kind, record.size, record.align, record.trivial) == (
        "struct player",
        "struct",
        40,
        8,
        True,
    )
    hp, following, low, high, anonymous, name = record.fields
    assert (hp.name, hp.offset) == ("hp", 0)
    assert types.types[following.type] == Pointer(pointer.target)
    assert (low.name, low.offset, low.bit_size, low.bit_offset) == ("low", 16, 3, 128)
    assert (high.name, high.offset, high.bit_size, high.bit_offset) == ("high", 16, 5, 131)
    inner = types.types[anonymous.type]
    assert (anonymous.name, anonymous.offset, inner.kind, inner.name) == ("", 20, "union", "")
    assert [field.offset for field in inner.fields] == [0, 0]
    assert (name.offset, types.types[name.type].count) == (24, 16)


def test_const_belongs_to_what_is_pointed_to(types):
    assert stripped(types, "a_const_player").const
    assert not stripped(types, "a_player").const
    second = types.types[parameter(types, "a_void", 1)]
    assert not second.const
    assert types.types[second.target] == Pointer(types.types[second.target].target, const=False)


def test_opaque_record(types):
    record = types.types[stripped(types, "an_opaque").target]
    assert record == Record("struct opaque", "struct", None)


def test_union(types):
    record = types.types[stripped(types, "a_union").target]
    assert (record.name, record.kind, record.size) == ("union number", "union", 8)
    assert [(field.name, field.offset) for field in record.fields] == [("whole", 0), ("part", 0)]


def test_function_pointers(types):
    pointer = stripped(types, "a_callback")
    signature = types.types[pointer.target]
    assert isinstance(signature, Signature)
    assert [types.spell(param) for param in signature.params] == ["int", "void *"]
    assert types.spell(signature.result) == "int"
    bare = types.types[stripped(types, "a_bare_callback").target]
    assert bare.variadic


def test_anonymous_struct_has_its_typedefs_name(types):
    typedef = types.types[parameter(types, "a_point")]
    assert isinstance(typedef, Typedef)
    assert typedef.name == "point"
    record = types.types[typedef.target]
    assert (record.name, record.size) == ("", 4)


def test_flexible_array(types):
    record = types.types[stripped(types, "a_text").target]
    data = record.fields[-1]
    assert (record.size, data.offset) == (4, 4)
    assert types.types[data.type] == Array(types.types[data.type].element, None)


def test_array_parameters_are_pointers(types):
    pointer = stripped(types, "a_matrix")
    assert types.spell(pointer.target) == "double[4]"


def test_functions(read_library, compiler):
    source = """
        int add(int a, int b) { return a + b; }
        static int hidden(int x) { return x; }
        __attribute__((visibility("hidden"))) int internal(int x) { return hidden(x); }
        __attribute__((weak)) int weak(void) { return internal(1); }
        int print(const char *format, ...) { return format[0]; }
        void nothing(void) {}
        int other_name(int) __attribute__((alias("renamed")));
        int renamed(int x) { return x; }
    """
    interface = read_library(source, compiler=compiler, name="calc")
    assert interface.language == "c"
    assert interface.origin == "dwarf"
    assert {interface.describe(function) for function in interface.functions} == {
        "int add(int a, int b)",
        "int weak(void)",
        "int print(const char *format, ...)",
        "void nothing(void)",
        "int other_name(int x)",
        "int renamed(int x)",
    }
    add = next(function for function in interface.functions if function.name == "add")
    assert add.declared_in == "calc.c:2"
    assert interface.types[next(one for one in interface.functions if one.name == "nothing").result] == Void()


def test_unsupported_types_spoil_their_function_only(read_library, compiler):
    source = """
        typedef float vec4 __attribute__((vector_size(16)));
        long double wide(long double v) { return v; }
        vec4 vector(vec4 v) { return v; }
        __int128 big(__int128 v) { return v; }
        _Complex double imaginary(_Complex double v) { return v; }
        int fine(int v) { return v; }
    """
    interface = read_library(source, compiler=compiler)
    reasons = {
        function.name: (found.size, found.reason)
        for function in interface.functions
        if isinstance(found := interface.strip(function.result), Unsupported)
    }
    assert reasons == {
        "wide": (16, "it has more bits than Python's floats"),
        "vector": (16, "it is a SIMD vector"),
        "big": (16, "it is an integer of 128 bits"),
        "imaginary": (16, "it is a complex number"),
    }


def test_variables(read_library, compiler):
    source = """
        int speed = 3;
        const int limit = 9;
        static double position = 1.5;
        __thread int mine = 4;
        static const char *const names[] = {"a", "b"};
        int table[4] = {1, 2, 3, 4};
        int count(void) { static int calls; calls++; position += 1; return calls + names[calls][0]; }
        int other(void) { static int calls = 5; { static long deep = 7; deep++; calls += deep; } return ++calls; }
    """
    interface = read_library(source, compiler=compiler, name="game")
    found = {variable.name: variable for variable in interface.variables}
    assert set(found) == {
        "speed", "limit", "position", "mine", "names", "table", "count.calls", "other.calls", "deep",
    }  # fmt: skip
    assert (found["speed"].exported, found["speed"].const, found["speed"].scope) == (True, False, "")
    assert found["limit"].const
    assert found["names"].const
    assert (found["position"].exported, found["position"].scope) == (False, "game.c")
    assert (found["mine"].thread_local, found["mine"].address) == (True, None)
    assert found["count.calls"].scope == "count"
    assert found["deep"].scope == "other"
    assert interface.spell(found["table"].type) == "int[4]"
    addresses = [variable.address for variable in interface.variables if variable.name != "mine"]
    assert None not in addresses
    assert len(set(addresses)) == len(addresses)


def test_recursive_types_end(read_library, compiler):
    source = """
        struct b; struct a { struct b *b; struct a *self; }; struct b { struct a a; struct b *(*make)(struct a *); };
        struct b *walk(struct a *a) { return a->b; }
    """
    interface = read_library(source, compiler=compiler)
    a = interface.types[interface.strip(interface.functions[0].params[0].type).target]
    b = interface.types[interface.strip(interface.functions[0].result).target]
    assert (a.name, a.size, b.name, b.size) == ("struct a", 16, "struct b", 24)
    assert interface.types[b.fields[0].type] is a


@pytest.mark.parametrize("flags", [("-gdwarf-4",), ("-gdwarf-5",), ("-gz=zlib",), ("-O2",), ("-O2", "-flto")])
def test_forms_of_debug_information(read_library, compiler, flags):
    source = """
        struct s { int a : 5; unsigned b : 11; long c; };
        static int seen;
        static int helper(int x) { static int calls = 3; seen++; return ++calls + x; }
        int use(const struct s *s, int n) { return helper(s->a) + helper(n); }
    """
    interface = read_library(source, *flags, compiler=compiler)
    assert [interface.describe(function) for function in interface.functions] == ["int use(const struct s *s, int n)"]
    record = interface.types[interface.strip(interface.functions[0].params[0].type).target]
    assert [(field.name, field.offset, field.bit_offset) for field in record.fields] == [
        ("a", 0, 0), ("b", 0, 5), ("c", 8, None),
    ]  # fmt: skip
    assert record.fields[2] == Field("c", record.fields[2].type, 8)
    assert {variable.name for variable in interface.variables} == {"seen", "calls"}
