"""Would catch C declarations that are misread, laid out wrongly, or refused without saying where and why."""

from __future__ import annotations

import pytest

from midflight._errors import InterfaceError, SourceNotFoundError
from midflight.artifact import declared
from midflight.artifact.elf import Elf
from midflight.artifact.interface import Array, Enum, Record, Scalar, Unsupported
from midflight.artifact.reader import read_interface

LIBRARY = """
struct point { short x, y; };
int speed = 3; const double limit = 2; __thread int mine;
int add(int a, int b) { return a + b; }
double mean(const double *v, long n) { return n ? v[0] : 0; }
void move(struct point *p, int n) { p->x += n; }
int each(int (*f)(int, void *), void *data) { return f(1, data); }
int print(const char *format, ...) { return format[0]; }
"""


@pytest.fixture(scope="module")
def data(compile_library):
    return compile_library(LIBRARY, "-g0")


@pytest.fixture(scope="module")
def exports(data):
    return Elf(data).exports


def describe(interface):
    return [interface.describe(function) for function in interface.functions]


def test_text(exports):
    interface = declared.read_text(
        """
        /* the library */
        #include <stdint.h>
        struct point { int16_t x, y; };   // as in the library
        int add(int a, int b);
        double mean(const double v[], long);
        void move(struct point *p, int n);
        extern int speed; extern const double limit; extern __thread int mine;
        """,
        exports,
    )
    assert interface.origin == "declared"
    assert describe(interface) == [
        "int add(int a, int b)",
        "double mean(const double *v, long)",
        "void move(struct point *p, int n)",
    ]
    variables = {variable.name: variable for variable in interface.variables}
    assert variables["speed"].address == exports["speed"].address
    assert (variables["limit"].const, variables["mine"].thread_local, variables["mine"].address) == (True, True, None)


def test_header(data, tmp_path):
    (tmp_path / "types.h").write_text(
        "#pragma once\ntypedef struct point { short x, y; } point_t;\nint elsewhere(int);\n"
    )
    header = tmp_path / "lib.h"
    header.write_text("""
        #ifndef LIB_H
        #define LIB_H
        #include "types.h"
        #include <stdio.h>
        #ifdef __cplusplus
        extern "C" {
        #endif
        #define API __attribute__((visibility("default")))
        API void move(point_t *p, int n) __attribute__((nonnull(1)));
        typedef int (*callback)(int, void *);
        API int each(callback f, void *restrict data);
        static inline int helper(int x) { return x + 1; }
        int print(const char *format, ...) __attribute__((format(printf, 1, 2)));
        #ifdef __cplusplus
        }
        #endif
        #endif
    """)
    for given in (header, str(header)):
        interface = read_interface(data, sha256="", declared=given)
        assert describe(interface) == [
            "void move(point_t *p, int n)",
            "int each(callback f, void *data)",
            "int print(const char *format, ...)",
        ]
    assert interface.functions[0].declared_in == f"{header}:10"
    assert all(one.name != "struct _IO_FILE" for one in interface.types if isinstance(one, Record))


def test_simple_headers_need_no_compiler(exports, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    text = """
        #define LENGTH 3
        #define API extern
        #if defined(LENGTH)
        API int add(int a, int b);
        #elif LENGTH
        int wrong(void);
        #else
        int wrong(void);
        #endif
        #undef API
        #ifndef LENGTH
        int wrong(void);
        #endif
        struct s { char name[LENGTH]; };
    """
    interface = declared.read_text(text, exports)
    assert describe(interface) == ["int add(int a, int b)"]
    with pytest.raises(InterfaceError, match=r"line 1: #include <math.h> needs a C compiler's preprocessor"):
        declared.read_text("#include <math.h>\nint add(int, int);", exports)


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ("signed char f(void);", Scalar("signed char", "int", 1)),
        ("unsigned f(void);", Scalar("unsigned int", "uint", 4)),
        ("long unsigned int f(void);", Scalar("unsigned long", "uint", 8)),
        ("short int f(void);", Scalar("short", "int", 2)),
        ("unsigned long long int f(void);", Scalar("unsigned long long", "uint", 8)),
        ("signed f(void);", Scalar("int", "int", 4)),
        ("int long f(void);", Scalar("long", "int", 8)),
        ("_Bool f(void);", Scalar("bool", "bool", 1)),
        ("size_t f(void);", Scalar("unsigned long", "uint", 8)),
        ("uint8_t f(void);", Scalar("unsigned char", "uint", 1)),
        ("char f(void);", Scalar("char", "char", 1)),
        ("long double f(void);", Unsupported("long double", 16, "it has more bits than Python's floats")),
        ("enum { A = 2, B } f(void);", Enum("", 4, signed=False, items=(("A", 2), ("B", 3)))),
        ("enum e { A = -1 } f(void);", Enum("enum e", 4, signed=True, items=(("A", -1),))),
        ("enum e { A = 1UL << 40 }; enum e f(void);", Enum("enum e", 8, signed=False, items=(("A", 1 << 40),))),
    ],
)
def test_result_types(declaration, expected):
    interface = declared.parse(declaration)
    assert interface.strip(interface.functions[0].result) == expected


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("3", 3),
        ("1 << 4", 16),
        ("sizeof(int) * 2", 8),
        ("0x10 + 010", 24),
        ("'a'", 97),
        ("N", 7),
        ("N > 5 ? 2 : 1", 2),
        ("-(-3)", 3),
        ("sizeof(struct s)", 12),
        ("~0 & 0xf", 15),
        ("7 / 2", 3),
        ("(int)5", 5),
        ("'\\n'", 10),
    ],
)
def test_constants(expression, count):
    text = f"""
        enum {{ N = 7 }}; struct s {{ char c; int i; short h; }}; struct t {{ int a[{expression}]; }};
        void f(struct t *p);
    """
    interface = declared.parse(text)
    record = next(one for one in interface.types if isinstance(one, Record) and one.name == "struct t")
    assert interface.types[record.fields[0].type] == Array(interface.types[record.fields[0].type].element, count)


@pytest.mark.parametrize(
    "record",
    [
        "struct __attribute__((packed)) s { char c; int i : 20; long l; };",
        "struct s { char c; long l; } __attribute__((packed, aligned(4)));",
        "struct s { char c; } __attribute__((aligned(16)));",
        "struct s { char c; _Alignas(16) int i; };",
        "#pragma pack(push, 2)\nstruct s { char c; int i : 20; long l; };\n#pragma pack(pop)\n",
        "#pragma pack(1)\nstruct s { char c; long l; };\n#pragma pack()\nstruct after { char c; long l; };",
        "struct s { struct { char a; long b; }; union { int i; double d; } u[2]; char tail; };",
        "struct s { int n; double data[]; };",
    ],
)
def test_layout_is_the_compiler_s(read_library, record):
    compiled = read_library(f"{record} void f(struct s *p) {{}}")
    written = declared.parse(f"{record} void f(struct s *p);")

    def layout(interface):
        found = next(one for one in interface.types if isinstance(one, Record) and one.name == "struct s")
        return found.size, [(one.name, one.offset, one.bit_size, one.bit_offset) for one in found.fields]

    assert layout(written) == layout(compiled)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int add(int a, int b)\nint x;", "line 1.*can't be understood"),
        ("\n\nint add(foo_t a);", "line 3.*can't be understood"),
        ("int add(int a, int b);\nint gone(void);\nint lost(void);", "doesn't export gone, lost"),
        ("extern int velocity;", "doesn't export velocity"),
        ("int speed(void);", "doesn't export speed"),
        ("extern long speed;", "speed has 8 bytes here, but 4 in the library"),
        ("struct s { struct s inner; };\nint add(struct s a);", "contains itself"),
        ("struct t; struct s { struct t inner; };\nint add(struct s a);", "inner has no known size"),
        ("struct s { int a[NONE]; };", "line 1.*constant"),
        ("struct s { int a[-1]; };", "negative length"),
        ("struct s { int a[1 << 200]; };", "constant"),
        ("typedef int v4 __attribute__((vector_size(16)));", "line 1: the attribute vector_size.*-g"),
        ("#include <no/such/header.h>\nint add(int, int);", "preprocessor refused it.*no/such/header.h"),
        ("#error not today", "line 1: #error not today"),
        ("@", "can't be understood"),
        ("(" * 5000, "can't be understood|nested too deeply"),
    ],
)
def test_mistakes(exports, text, words):
    with pytest.raises(InterfaceError, match=f"(?s){words}"):
        declared.read_text(text, exports)


def test_no_such_header(data, tmp_path):
    with pytest.raises(SourceNotFoundError, match="no such header"):
        read_interface(data, sha256="", declared=tmp_path / "none.h")


def test_wrong_argument(data):
    with pytest.raises(InterfaceError, match="not int"):
        read_interface(data, sha256="", declared=3)
