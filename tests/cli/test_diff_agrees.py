"""Would catch a row of `midflight diff` that a real swap judges otherwise, and a refusal that diff doesn't foresee."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import midflight
from midflight import IncompatibleError, StateError, SwapError
from midflight.cli import diff
from midflight.cli.console import err
from midflight.cli.loading import Options

if TYPE_CHECKING:
    from pathlib import Path

    from midflight.cli.diff import Diff

_NUMBERS = itertools.count()

BLOCK = "#include <midflight.h>\n{0}; static {1} *n; int poke(void) {{ n = MF_NEW({1}, 1); return n->a = {2}; }}"

PAIRS = [
    ("int f(int a) { return a; }", "int f(int a) { return a + 1; } int g(void) { return 0; }"),
    ("int f(int a) { return a; }", "int f(long a) { return a; }"),
    ("int f(int a) { return a; }", "double f(int b) { return b; }"),
    ("int f(int a) { return a; }", "int f(int a, int b) { return a + b; }"),
    ("int f(int a, int b) { return a - b; }", "int f(int b, int a) { return a - b; }"),
    ("int f(void) { return 1; } int g(void) { return 2; }", "int g(void) { return 3; }"),
    ("int f(const char *s) { return *s; }", "int f(char *s) { return *s; }"),
    ("int f(char *s) { return *s; }", "int f(const char *s) { return *s; }"),
    ("enum e {A, B}; int f(enum e x) { return x; }", "enum e {A, B, C}; int f(enum e x) { return x + C; }"),
    ("enum e {A, B}; int f(enum e x) { return x; }", "enum e {B, A}; int f(enum e x) { return x; }"),
    ("struct s {int a;}; int f(struct s *p) { return p->a; }",
     "struct s {long a;}; int f(struct s *p) { return p->a; }"),
    ("struct s {int a;}; int f(struct s *p) { return p->a; }",
     "struct s {int b, a;}; int f(struct s *p) { return p->a; }"),
    ("static int n; int poke(void) { return ++n; }", "static long n; int poke(void) { return n += 2; }"),
    ("static int n; int poke(void) { return ++n; }", "static char *n; int poke(void) { return *n++; }"),
    ("int n; int poke(void) { return ++n; }", "struct s {int a;} n; int poke(void) { return ++n.a; }"),
    ("static int n; int poke(void) { return ++n; }", "int poke(void) { return 0; }"),
    ("static int n[4]; int poke(void) { return ++n[0]; }", "static int n[2]; int poke(void) { return n[0] += 2; }"),
    ("struct s {int a; char *b;}; static struct s n; int poke(void) { return ++n.a; }",
     "struct s {char *b; int a;}; static struct s n; int poke(void) { return n.a += n.b == 0; }"),
    ("struct s {int a; char *b;}; static struct s n; int poke(void) { n.b = 0; return ++n.a; }",
     "struct s {int a; int b;}; static struct s n; int poke(void) { return n.a += n.b == 0; }"),
    ("__thread int n; int poke(void) { return ++n; }", "__thread long n; int poke(void) { return n += 2; }"),
    (BLOCK.format("struct s {int a; char *b;}", "struct s", 1),
     BLOCK.format("struct s {int a; double b;}", "struct s", 2)),
    (BLOCK.format("typedef struct {int a;} t", "t", 1), BLOCK.format("typedef struct {long a;} t", "t", 2)),
]  # fmt: skip


def foreseen(old: Path, new: Path) -> Diff:
    """Return what `midflight diff` says."""
    return diff.diff(str(old), str(new), Options(), err())


def check(directory: Path, before: str, after: str, suffix: str = ".c") -> None:
    """Compare two sources both ways: by diff, and by a swap of a program that has changed every variable."""
    number = next(_NUMBERS)
    old, new = directory / f"old{number}{suffix}", directory / f"new{number}{suffix}"
    old.write_text(before)
    new.write_text(after)
    found = foreseen(old, new)
    module = midflight.load(old)
    try:
        getattr(module, "poke", lambda: None)()
        judged(module, new, found)
    finally:
        midflight.unload(module)


def judged(module, new: Path, found: Diff) -> None:
    """Swap, and compare what comes of it with what diff has said."""
    breaking = tuple(str(change) for change in found.changes if not change.compatible)
    if breaking:
        with pytest.raises(IncompatibleError) as broken:
            midflight.swap(module, new)
        assert (broken.value.stage, broken.value.changes) == ("inspect", breaking)
    elif not found.compatible:
        with pytest.raises(StateError) as lost:
            midflight.swap(module, new)
        for row in found.data.refused:
            assert any(row.name in line for line in lost.value.refusals)
    else:
        report = midflight.swap(module, new)
        assert report.changes == tuple(str(change) for change in found.changes)
        told = {row.name: row.what for row in found.data.variables}
        assert {row.name: row.what for row in report.state if row.name in told}.items() <= told.items()


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_swap_does_what_diff_says(tmp_path: Path, before: str, after: str):
    check(tmp_path, before, after)


def test_compat_any_gets_past_what_callers_would_see_and_no_further(tmp_path: Path):
    old, new = tmp_path / "old.c", tmp_path / "new.c"
    old.write_text("static int n; int poke(void) { return ++n; }")
    new.write_text("static char *n; long poke(void) { return *n++; }")
    found = foreseen(old, new)
    module = midflight.load(old)
    module.poke()
    with pytest.raises(StateError, match="n: int is char \\* now"):
        midflight.swap(module, new, compat="any")
    assert [row.name for row in found.data.refused] == ["n"]


# ---- made-up libraries

_SIMPLE = st.sampled_from(["char", "short", "int", "long", "unsigned", "float", "double"])
_TYPES = st.one_of(_SIMPLE, st.sampled_from(["struct s *", "enum e", "char *", "const char *"]))
_FIELDS = st.dictionaries(st.sampled_from("abcd"), st.one_of(_SIMPLE, st.just("char *")))
_PARAMS = st.dictionaries(st.sampled_from("pqr"), _TYPES, max_size=3)


def data(fields: dict[str, str], shared: str, more: bool) -> str:
    """Return a struct, a variable of it, and what changes every number in it; there is always one."""
    fields = {"number": "int", **fields}
    poked = "".join(f"shared.{name} += 1; " for name, kind in fields.items() if "*" not in kind)
    return (
        f"struct s {{{' '.join(f'{kind} {name};' for name, kind in fields.items())}}};\n"
        f"{shared} {'static int n;' if more else ''}\n"
        f"int poke(void) {{ {poked}{'n++; ' if more else ''}return shared.number; }}\n"
    )


_DATA = st.builds(data, _FIELDS, st.sampled_from(["static struct s shared;", "struct s shared;"]), st.booleans())


@st.composite
def libraries(draw: st.DrawFn) -> str:
    """Return data, and a function of any type."""
    names = draw(st.permutations(["RED", "GREEN", "BLUE"]))[: draw(st.integers(1, 3))]
    params = ", ".join(f"{kind} {name}" for name, kind in draw(_PARAMS).items())
    function = f"{draw(_SIMPLE)} f({params or 'void'}) {{ return 0; }}"
    return f"enum e {{{', '.join(names)}}};\n{draw(_DATA)}\n{function}\n"


_MANY = settings(
    max_examples=15, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@given(before=libraries(), after=libraries())
@_MANY
def test_made_up_libraries(tmp_path: Path, before: str, after: str):
    check(tmp_path, before, after)


@given(before=_DATA, after=_DATA)
@_MANY
def test_made_up_data(tmp_path: Path, before: str, after: str):
    check(tmp_path, before, after)


# ---- Go

GO_PAIRS = [
    ("var X int\nfunc Set() { X = 3 }", "var X int64\nfunc Set() { X = 4 }"),
    ("var X int\nfunc Set() { X = 3 }", "var X string\nfunc Set() {}"),
    ("var X string\nfunc Set() { X = `a` }", "var X []byte\nfunc Set() {}"),
    ("var X float64\nfunc Set() { X = 1.5 }", "var X int\nfunc Set() {}"),
    ("var X int\nfunc Set() { X = 3 }", "var X float32\nfunc Set() {}"),
    ("var X []int\nfunc Set() { X = []int{1} }", "var X [2]int\nfunc Set() {}"),
    ("var X [3]int\nfunc Set() { X[0] = 1 }", "var X [2]int\nfunc Set() {}"),
    ("var X = map[string]int{}\nfunc Set() { X[`a`] = 1 }", "var X = map[int]int{}\nfunc Set() {}"),
    ("type P struct { A int; b string }\nvar X P\nfunc Set() { X.b = `b` }",
     "type P struct { b string; C int }\nvar X P\nfunc Set() {}"),
    ("type P struct { A int; b string }\nvar X P\nfunc Set() { X.b = `b` }",
     "type P struct { A int; b []int }\nvar X P\nfunc Set() {}"),
    ("type n struct { v int; next *n }\n//midflight:state\nvar x *n\nfunc Set() { x = &n{1, nil}; x.next = x }",
     "type n struct { v string; next *n }\n//midflight:state\nvar x *n\nfunc Set() {}"),
    ("import `time`\nvar X time.Time\nfunc Set() { X = time.Now() }", "var X int\nfunc Set() {}"),
    ("var X int\nfunc Set() { X = 3 }", "func Set() {}"),
    ("var X int\nfunc Set() {}\nfunc MidflightSave() []byte { return nil }", "var X int\nfunc Set() { X = 2 }"),
    ("var X = map[string]func(){}\nfunc Set() { X[`a`] = Set }", "var X = map[string]func(){}\nfunc Set() { X = nil }"),
    ("func Set() {}\nfunc Get(a int) int { return a }",
     "func Set() {}\nfunc Get(a int8) (int, error) { return 0, nil }"),
    ("type P struct { A int }\nfunc Set() {}\nfunc Get() P { return P{} }",
     "type P struct { A, B int }\nfunc Set() {}\nfunc Get() P { return P{} }"),
    ("type T struct { a int }\nfunc (t *T) Up() {}\nfunc Set() {}\nfunc New() *T { return nil }",
     "type T struct { a int }\nfunc (t *T) Up(n int) {}\nfunc Set() {}\nfunc New() *T { return nil }"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), GO_PAIRS)
def test_go_packages(tmp_path: Path, before: str, after: str):
    paths = []
    for name, text in (("old", before), ("new", after)):
        paths.append(tmp_path / name / "shop.go")
        paths[-1].parent.mkdir()
        paths[-1].write_text(f"package main\n{text}\n")
    found = foreseen(*paths)
    module = midflight.load(paths[0])
    try:
        module.Set()
        breaking = tuple(str(change) for change in found.changes if not change.compatible)
        if breaking:
            with pytest.raises(IncompatibleError) as broken:
                midflight.swap(module, paths[1])
            assert broken.value.changes == breaking
        if found.data.refused:
            with pytest.raises(SwapError, match="state of version 1 can't be carried over"):
                midflight.swap(module, paths[1], compat="any")
        else:
            midflight.swap(module, paths[1], compat="any")
    finally:
        midflight.unload(module)
