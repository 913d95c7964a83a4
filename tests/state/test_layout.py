"""Would catch a change of layout that is planned wrongly, told wrongly, or guessed at instead of refused."""

from __future__ import annotations

import pytest

from midflight.state import renames

HEADERS = "#include <stdint.h>\n#include <stdbool.h>\n#include <pthread.h>\n"

MOVED = [
    ("int v;", "int v;", []),
    ("long v;", "long long v;", []),
    ("int16_t v;", "int32_t v;", ["int16_t is int32_t now"]),
    ("typedef int hp; hp v;", "typedef long hp; hp v;", ["hp (int) is hp (long) now"]),
    ("float v;", "double v;", ["float is double now"]),
    ("bool v;", "int v;", ["bool is int now"]),
    ("struct {int a, b;} v;", "struct {int b, a;} v;", ["a, b moved"]),
    ("struct {int a;} v;", "struct {int a, b;} v;", ["b is new"]),
    ("struct {int a, b;} v;", "struct {int a;} v;", ["b is gone"]),
    ("struct {int hp;} v;", "struct {short hp;} v;", ["hp: int is short now"]),
    ("struct {struct {int x;} pos;} v;", "struct {struct {int x, y;} pos;} v;", ["pos.y is new"]),
    ("struct {struct {int x;};} v;", "struct {int x;} v;", []),
    ("struct {int x;} v;", "struct {char c; struct {int x;};} v;", ["c is new", "x moved"]),
    ("int v[4];", "int v[8];", ["grew from 4 to 8 elements"]),
    ("int v[8];", "int v[4];", ["shrank from 8 to 4 elements"]),
    ("short v[2][3];", "int v[3][2];",
     ["grew from 2 to 3 elements", "[] shrank from 3 to 2 elements", "[][]: short is int now"]),
    ("struct {struct {short n;} items[3];} v;", "struct {struct {int n;} items[3];} v;",
     ["items[].n: short is int now"]),
    ("struct {unsigned a:3, b:5;} v;", "struct {unsigned b:5, a:4;} v;",
     ["a: unsigned int : 3 is unsigned int : 4 now", "a, b moved"]),
    ("struct {unsigned a:3;} v;", "struct {unsigned a;} v;", ["a: unsigned int : 3 is unsigned int now"]),
    ("enum e {A, B} v;", "enum e {A, B, C} v;", []),
    ("enum e {A, B} v;", "enum e {B, A} v;", ["enumerator A = 0 is 1 now", "enumerator B = 1 is 0 now"]),
    ("enum e {A, B} v;", "enum e {A} v;", ["enumerator B is gone"]),
    ("enum e {A, B} v;", "int v;", ["enum e is int now"]),
    ("union {int a; float b;} v;", "union {int a; float b;} v;", []),
    ("char v[8];", "unsigned char v[8];", ["[]: char is unsigned char now"]),
    ("int *v;", "void *v;", ["int * is void * now"]),
    ("struct s {int a;} *v;", "struct s {int a, b;} *v;", []),
    ("void (*v)(int);", "void (*v)(long);", ["void (*)(int) is void (*)(long) now"]),
    ("uintptr_t v;", "void *v;", ["uintptr_t is void * now"]),
    ("pthread_mutex_t v;", "pthread_mutex_t v;", []),
    ("struct s {int a; long double b;} v;", "struct s {long double b; int a;} v;", ["a, b moved"]),
]  # fmt: skip

REFUSED = [
    ("union {int a; float b;} v;", "union {int a; double b;} v;", "is a union, and it isn't the same any more"),
    ("struct {union {int a; float b;};} v;", "struct {union {int a; long b;};} v;", "(union of a, b): "),
    ("struct {union {int a; float b;};} v;", "struct {int a; float b;} v;", "(union of a, b): "),
    ("struct {int *p;} v;", "struct {long p;} v;", "p: int * is long now"),
    ("struct {long p;} v;", "struct {int *p;} v;", "p: long is int * now"),
    ("struct {int a;} v;", "struct {struct {int x;} a;} v;", "a: int is struct {…} now"),
    ("int v;", "int v[1];", "int is int[1] now"),
    ("struct {int a;} v;", "int v[1];", "struct {…} is int[1] now"),
    ("int *v;", "long *v;", "int * is long * now: what it points to is still of the old type"),
    ("struct a {int x;} *v;", "struct b {int x;} *v;", "struct a * is struct b * now"),
    ("struct a {int x;} v;", "struct b {int y;} v;", "struct a is struct b now, which has none of its fields"),
    ("long double v;", "double v;", "long double is double now"),
    ("struct {int n; char t[];} v;", "struct {int n; char t[];} v;", "it ends in a flexible array"),
    ("struct {int n; char t[];} v;", "struct {int n; int more; char t[];} v;", "it ends in a flexible array"),
    ("struct {struct {int n; char t[];} in;} v;", "struct {struct {int n, m; char t[];} in;} v;",
     "in: a flexible array lies inside of another struct"),
    ("pthread_mutex_t v;", "pthread_rwlock_t v;", "pthread_mutex_t is pthread_rwlock_t now"),
    ("struct {enum {A, B} e:2;} v;", "struct {enum {B, A} e:2;} v;", "and it is a bit-field"),
]  # fmt: skip

CPP = "#include <string>\n#include <mutex>\n#include <atomic>\n#include <array>\n"
CPP_CARRIED = ["std::atomic<int> v;", "std::array<int, 3> v;", "std::mutex v;", "struct s { s() {} int a; } v;"]
CPP_REFUSED = [
    "std::string v;",
    "struct s { std::string t; int n; } v;",
    "struct s { virtual int f() { return 1; } } v;",
]


@pytest.mark.parametrize(("old", "new", "changes"), MOVED)
def test_moved(pair, old, new, changes):
    found = pair(HEADERS + old, HEADERS + new).migration("v")
    assert found.refusals == ()
    assert list(found.changes) == changes
    found.plan()
    if old == new:
        assert found.identical
        assert found.same_bytes


@pytest.mark.parametrize(("old", "new", "why"), REFUSED)
def test_refused(pair, old, new, why):
    found = pair(HEADERS + old, HEADERS + new).migration("v")
    assert why in "; ".join(found.refusals)


@pytest.mark.parametrize("text", CPP_CARRIED)
def test_cpp_classes_that_are_only_their_bytes(pair, text):
    found = pair(CPP + text, CPP + text, "g++").migration("v")
    assert found.refusals == ()
    found.plan()


@pytest.mark.parametrize("text", CPP_REFUSED)
def test_cpp_classes_that_copying_does_not_copy(pair, text):
    found = pair(CPP + text, CPP + text, "g++").migration("v")
    assert "isn't trivially copyable" in found.refusals[0]


def test_what_is_identical_counts_targets_by_name_only(pair):
    old = "struct other {int a;}; struct node {struct node *next; struct other *o; int v;} v;"
    new = "struct other {long a;}; struct node {struct node *next; struct other *o; int v;} v;"
    assert pair(old, new).migration("v").identical


def test_copies_that_stay_neighbours_are_one(pair):
    old = "struct {char gone; int a, b, c; double d;} v;"
    new = "struct {int a, b, c; char e; double d;} v;"
    assert len(pair(old, new).migration("v").plan_ops) == 2 * 32


def test_padding_does_not_part_copies_but_what_is_gone_or_new_does(pair):
    old = "struct {char a; int b; char c; double d; char gone; int e;} v;"
    new = "struct {char a; int b; char c; double d; int e; int f;} v;"
    assert len(pair(old, new).migration("v").plan_ops) == 2 * 32
    old = "struct {char a; int b; int more;} v;"
    assert len(pair(old, old.replace("char a;", "char a, fresh;")).migration("v").plan_ops) == 2 * 32


def _doubling(inner: str) -> str:
    levels = [f"struct s{level} {{struct s{level - 1} a, b; char c;}};" for level in range(1, 40)]
    return f"struct s0 {{{inner}}}; {' '.join(levels)} struct s39 *v;"


@pytest.mark.parametrize(("old", "new"), [("void *p;", "void *p;"), ("short n;", "int n;"), ("int gone;", "long n;")])
def test_a_type_with_more_parts_than_memory_is_refused(pair, old, new):
    both = pair(_doubling(old), _doubling(new))
    found = [next(i for i, one in enumerate(side.types) if getattr(one, "name", "") == "struct s39")
             for side in (both.old, both.new)]  # fmt: skip
    from midflight.state.layout import Layouts

    assert "too many parts" in str(Layouts(both.old, both.new).migration(*found).refusals)


def test_a_large_array_is_planned_at_once(pair):
    found = pair("short v[3000][3000][300];", "int v[3000][3000][300];").migration("v")
    assert found.fields == ()
    assert len(found.plan_ops) == 4 * 32


def test_renames(pair):
    both = pair("struct was {int hp;} v;", "struct now {int pad, health;} v;")
    found = renames.resolve([("was.hp", "now.health"), ("struct was", "struct now")], both.old, both.new)
    assert found.warnings == ()
    migration = both.migration("v", found)
    assert migration.changes == ("hp is called health now", "pad is new", "health moved")
    assert migration.fields[-1][:2] == (1, 5)


def test_a_tail_is_left_to_the_caller(pair):
    from midflight.state.layout import Layouts

    both = pair("struct f {int n; short t[];} *v;", "struct f {int n, m; int t[];} *v;")
    old, new = (next(i for i, one in enumerate(side.types) if getattr(one, "name", "") == "struct f")
                for side in (both.old, both.new))  # fmt: skip
    found = Layouts(both.old, both.new).migration(old, new, block=True)
    assert (found.from_size, found.to_size) == (4, 8)
    assert (found.tail.start, found.tail.to) == (4, 8)
    assert (found.tail.element.from_size, found.tail.element.to_size) == (2, 4)


def test_fields_lead_pointers_to_where_bytes_are_now(pair):
    old = "struct in {int x, y;}; struct {int a; struct in in; short wide; int b[4];} v;"
    new = "struct in {int y, x;}; struct {struct in in; int wide; int b[4]; int a;} v;"
    found = pair(old, new).migration("v")
    assert found.place(0) == 0
    assert found.place(1) == 29  # within a
    assert found.place(4) is None  # the struct, or its x, which isn't at its start any more?
    assert found.place(5) == 5  # within x
    assert found.place(8) == 0  # y
    assert found.place(12) is None  # it has another width
    assert found.place(24) == 20  # b[2]
    assert found.place(found.from_size) == found.to_size
