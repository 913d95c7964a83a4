"""Would catch a change that breaks callers and isn't named, and a harmless one that is taken for a break."""

from __future__ import annotations

import pytest

from midflight.artifact.compare import Change, compare
from midflight.artifact.compare_layouts import Place, Row, layouts
from midflight.artifact.compare_types import Part


def lines(changes, *, compatible):
    return [str(change) for change in changes if change.compatible == compatible]


@pytest.mark.parametrize(
    ("old", "new", "broken", "harmless"),
    [
        ("int f(int a){}", "int f(int a){}", [], []),
        ("int f(int a){}", "int f(int a){} int g(void){}", [], ["g: is new"]),
        ("int f(int a){} int g(void){}", "int f(int a){}", ["g: is gone"], []),
        ("int f(int a){}", "int f(double a){}", ["f: parameter a: int → double"], []),
        ("int f(int a){}", "int f(int b){}", [], ["f: parameter a is called b now"]),
        ("int f(int a,int b){}", "int f(int b,int a){}",
         ["f: parameter a is called b now, as another one was before (position 2)",
          "f: parameter b is called a now, as another one was before (position 1)"], []),
        ("int f(int a){}", "double f(int a){}", ["f: result: int → double"], []),
        ("int f(int a){}", "int f(int a,int b){}", ["f: takes 2 parameters (a, b), took 1 parameter (a)"], []),
        ("int f(int a){}", "int f(int a,...){}", ["f: is variadic now"], []),
        ("typedef int t; t f(t a){}", "int f(int a){}", [], []),
        ("typedef int t; t f(t a){}", "typedef long t; t f(int a){}",
         ["f: result: t (int32 int) → t (int64 long)"], []),
        ("long f(long a){}", "long long f(long long a){}", [], []),
        ("void f(char *s){}", "void f(const char *s){}", [], ["f: parameter s: char * → const char *"]),
        ("void f(const char *s){}", "void f(char *s){}", ["f: parameter s: const char * → char *"], []),
        ("const char *f(void){}", "char *f(void){}", ["f: result: const char * → char *"], []),
        ("const int *f(void){}", "int *f(void){}", [], ["f: result: const int * → int *"]),
        ("int *f(void){}", "const int *f(void){}", ["f: result: int * → const int *"], []),
        ("void f(int (*c)(int)){}", "void f(int (*c)(long)){}", ["f: parameter c: int (*)(int) → int (*)(long)"], []),
        ("struct s{int a;}; void f(struct s*p){}", "struct s{int a,b;}; void f(struct s*p){}",
         ["struct s: size 4 → 8", "struct s: field b (offset 4) is new"], []),
        ("struct s{int a,b;}; void f(struct s*p){}", "struct s{int b,a;}; void f(struct s*p){}",
         ["struct s: field a: offset 0 → offset 4", "struct s: field b: offset 4 → offset 0"], []),
        ("struct s{int a;}; void f(struct s*p){}", "struct s{float a;}; void f(struct s*p){}",
         ["struct s: field a: int → float"], []),
        ("struct s{int a:3;}; void f(struct s*p){}", "struct s{int a:4;}; void f(struct s*p){}",
         ["struct s: field a: 3 bits at bit 0 → 4 bits at bit 0"], []),
        ("struct s; void f(struct s*p){}", "struct s{int a;}; void f(struct s*p){}",
         [], ["struct s: has a definition now"]),
        ("struct s{int a;}; void f(struct s*p){}", "struct s; void f(struct s*p){}",
         ["struct s: has no definition any more"], []),
        ("struct s{int a;}; void f(struct s*p){}", "struct t{int a;}; void f(struct t*p){}",
         ["f: parameter p: struct s * → struct t *"], []),
        ("typedef struct{int a;} t; void f(t*p){}", "typedef struct{long a;} t; void f(t*p){}",
         ["t: size 4 → 8", "t: field a: int → long"], []),
        ("enum e{A,B}; void f(enum e x){}", "enum e{A,B,C}; void f(enum e x){}",
         [], ["enum e: enumerator C (= 2) is new"]),
        ("enum e{A,B}; void f(enum e x){}", "enum e{B,A}; void f(enum e x){}",
         ["enum e: enumerator A = 0 → 1", "enum e: enumerator B = 1 → 0"], []),
        ("enum e{A,B}; void f(enum e x){}", "enum e{A}; void f(enum e x){}",
         ["enum e: enumerator B (= 1) is gone"], []),
        ("struct b{int x;}; struct a{struct b*b;}; void f(struct a*p){}",
         "struct b{long x;}; struct a{struct b*b;}; void f(struct a*p){}",
         ["struct b: size 4 → 8", "struct b: field x: int → long"], []),
        ("struct n{struct n*next; int v;}; void f(struct n*p){}",
         "struct n{struct n*next; int v;}; void f(struct n*q){}",
         [], ["f: parameter p is called q now"]),
        ("struct s{int a;}; static struct s hidden; int f(void){return hidden.a;}",
         "struct s{long a;}; static struct s hidden; int f(void){return hidden.a;}", [], []),
        ("int v; int f(void){return v;}", "double v; int f(void){return v;}", [], ["v: int → double"]),
        ("int v; int f(void){return v;}", "int f(void){return 0;}", [], ["v: is gone"]),
    ],
)  # fmt: skip
def test_c(read_library, old, new, broken, harmless):
    changes = compare(read_library(old, "-w"), read_library(new, "-w"))
    assert lines(changes, compatible=False) == broken
    assert lines(changes, compatible=True) == harmless


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("namespace n { int f(int a) { return a; } }", "namespace n { int f(double a) { return a; } }",
         ["n::f(int): parameter a: int → double"]),
        ("namespace n { int f(int a) { return a; } }",
         "namespace n { int f(int a) { return a; } } namespace m { int f(int a) { return a; } }",
         ["n::f(int): its plain name f isn't unambiguous any more"]),
        ("struct s { int a; }; int f(s *p) { return p->a; }",
         "struct s { int a; ~s() {} }; int f(s *p) { return p->a; }",
         ["s: can't be copied by its bytes any more"]),
        ("struct s { int a; }; int f(s &p) { return p.a; }", "struct s { int a; }; int f(s *p) { return p->a; }", []),
    ],
)  # fmt: skip
def test_cpp(read_library, old, new, broken):
    changes = compare(read_library(old, compiler="g++"), read_library(new, compiler="g++"))
    assert lines(changes, compatible=False) == broken


def test_a_function_that_lost_its_debug_information(read_library):
    old = read_library("int f(void) { return 1; }")
    new = read_library('__asm__(".globl f\\n.type f, @function\\nf: ret\\n"); int g(void) { return 1; }')
    assert lines(compare(old, new), compatible=False) == [
        "f: is still exported, but its parameters aren't known any more (a part of the library lacks -g)"
    ]


def test_change_has_its_parts(read_library):
    (change,) = compare(read_library("int f(int a) { return a; }"), read_library("int f(long a) { return a; }"))
    part = Part("parameter", "a", 1, "int", "long")
    assert change == Change("changed", "function", "f", "parameter a: int → long", compatible=False, parts=(part,))
    assert change.what == str(change) == "f: parameter a: int → long"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("int f(int a,int b){}", "int f(int b,long c,int a){}",
         [Part("parameter", "b", 1, "int", "int"), Part("parameter", "c", 2, None, "long"),
          Part("parameter", "a", 3, "int", "int")]),
        ("int f(int a,char b){}", "int f(char b){}",
         [Part("parameter", "b", 1, "char", "char"), Part("parameter", "a", 1, "int", None)]),
        ("void f(int a){}", "double f(int a){}", [Part("result", "", None, "void", "double")]),
        ("enum e{A,B}; void f(enum e x){}", "enum e{B,A}; void f(enum e x){}",
         [Part("enumerator", "A", None, "0", "1"), Part("enumerator", "B", None, "1", "0")]),
        ("struct s{int a;}; void f(struct s*p){}", "struct s{long a;}; void f(struct s*p){}",
         [Part("size", "", None, "4", "8"), Part("field", "a", None, "int", "long")]),
        ("struct s{int a;int b;}; void f(struct s*p){}", "struct s{int b;int c;}; void f(struct s*p){}",
         [Part("field", "a", None, "int", None), Part("place", "b", None, "offset 4", "offset 0"),
          Part("field", "c", None, None, "int")]),
        ("int v; int f(void){return v;}", "double v; int f(void){return v;}",
         [Part("type", "", None, "int", "double")]),
    ],
)  # fmt: skip
def test_parts_say_it_for_programs(read_library, old, new, parts):
    changes = compare(read_library(old, "-w"), read_library(new, "-w"))
    assert [part for change in changes for part in change.parts] == parts


def test_layouts_of_all_structs_that_have_changed(read_library):
    old = read_library(
        "struct in{int a;}; struct same{int z;}; typedef struct{char c; union{int i; float g;}; struct{int x;} at;} t;"
        "struct in v; struct same w; t u; void f(struct in*p){}",
    )
    new = read_library(
        "struct in{int a; int b:3;}; struct same{int z;}; typedef struct{int c; union{int i;}; struct{int x,y;} at;} t;"
        "struct in v; struct same w; t u; void f(struct in*p){}",
    )
    found = {one.name: one for one in layouts(old, new, {"struct in"})}
    assert list(found) == ["struct in", "t"]
    inner, other = found["struct in"], found["t"]
    assert (inner.old_size, inner.new_size, inner.compatible, other.compatible) == (4, 8, False, True)
    assert inner.fields == (
        Row("a", Place("int", 0, 4), Place("int", 0, 4), compatible=True),
        Row("b", None, Place("int", 4, 4, 3, 32), compatible=False),
    )
    assert [(row.name, row.old and row.old.offset, row.new and row.new.offset) for row in other.fields] == [
        ("c", 0, 0), ("i", 4, 4), ("g", 4, None), ("at.x", 8, 8), ("at.y", None, 12),
    ]  # fmt: skip


def test_gcc_and_clang_agree(read_library):
    text = """
        #include <stdbool.h>
        struct s { int a : 3; char n[4]; union { int i; double d; }; }; enum e { A, B = -4 };
        bool f(const struct s *s, enum e e, unsigned long long n, char c) { return s->a + e + n + c; }
    """
    assert compare(read_library(text), read_library(text, compiler="clang")) == []
