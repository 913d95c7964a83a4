"""A form of source that isn't taken, a compile error without its place, or a change that isn't noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import BuildError, SourceError, UnsupportedFunctionError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.go.conftest import Packages


def test_a_single_file_does_not_see_its_neighbours(go: Packages):
    go.write("other.go", "func Other() {}\nvar unused = undefined\n")
    greet = go.make('func Hello() string { return "hello" }\nfunc main() { panic("never called") }')
    assert greet.Hello() == "hello"
    assert not hasattr(greet, "Other")
    assert sorted(path.name for path in go.root.iterdir()) == ["greet.go", "other.go"]


def test_a_directory_without_a_go_mod_with_internal_packages(go: Packages):
    go.write("shop/a.go", 'import "shop/internal/prices"\nfunc Total(n int) int { return n * prices.Each }')
    go.write("shop/b.go", "func Half(n int) int { return Total(n) / 2 }")
    go.write("shop/c_test.go", "func init() { panic(1) }")
    go.write("shop/internal/prices/prices.go", "package prices\nconst Each = 10")
    shop = go.load(go.root / "shop")
    assert (shop.__name__, shop.Total(3), shop.Half(3)) == ("shop", 30, 15)
    assert not (go.root / "shop" / "go.mod").exists()


def module(go: Packages, price: int) -> Path:
    """A package inside of a bigger module."""
    go.write("big/go.mod", "module example.com/big\n\ngo 1.20\n")
    go.write("big/internal/tax/tax.go", f"package tax\nfunc Of(n int) int {{ return n / {price} }}")
    go.write("big/cmd/till/main.go", 'import "example.com/big/internal/tax"\nfunc Tax(n int) int { return tax.Of(n) }')
    return go.root / "big" / "cmd" / "till"


def test_a_changed_other_package_of_the_same_module_is_another_version(go: Packages):
    till = go.load(module(go, 10))
    assert till.Tax(100) == 10
    module(go, 5)
    report = midflight.swap(till)
    assert (report.changed, till.Tax(100)) == (True, 20)
    go.write("big/internal/tax/more.go", "package tax\nvar wrong int = nothing")
    with pytest.raises(BuildError, match="undefined: nothing"):
        midflight.swap(till)
    assert till.Tax(100) == 20


def test_the_go_mod_names_the_directory(go: Packages):
    go.write("m/go.mod", "module m\n\ngo 1.22\n")
    go.write("m/m.go", "package m\nfunc One() int { return 1 }")
    assert go.load(go.root / "m" / "go.mod").One() == 1


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("func F() int { return undefinedThing }", 2, "undefined: undefinedThing"),
        ("func F( {", 2, "expected"),
        ('import "os"\nfunc F() {}', 2, '"os" imported and not used'),
        ("\n\nfunc F() { var x int }", 4, "declared and not used: x"),
        ('import "nowhere/at/all"\nfunc F() { all.X() }', 2, "nowhere/at/all"),
        ('import "C"\nfunc F() {}', 1, "uses cgo"),
        (
            "func MidflightSave() int64 { return 1 }\nfunc MidflightRestore() {}",
            3,
            "has another form than func MidflightRes",
        ),
    ],
)
def test_an_error_names_file_line_and_reason(go: Packages, text: str, line: int, message: str):
    path = go.write("bad.go", text)
    with pytest.raises(BuildError) as raised:
        midflight.load(path)
    first = raised.value.diagnostics[0]
    assert (first.file, first.line, first.severity) == (str(path), line, "error")
    assert message in first.message
    assert f"{path}:{line}" in str(raised.value)


def test_an_error_in_another_package_names_that(go: Packages):
    go.write("shop/a.go", 'import "shop/internal/prices"\nfunc Total(n int) int { return n * prices.Each }')
    prices = go.write("shop/internal/prices/prices.go", 'package prices\n\nconst Each int = "x"')
    with pytest.raises(BuildError) as raised:
        midflight.load(go.root / "shop")
    assert (raised.value.diagnostics[0].file, raised.value.diagnostics[0].line) == (str(prices), 3)


def test_a_refused_swap_leaves_the_old_version_and_the_mended_one_is_taken(go: Packages):
    greet = go.make("func One() int { return 1 }")
    go.write("greet.go", "func One() int { return x }")
    with pytest.raises(BuildError, match="version 1 of greet goes on running"):
        midflight.swap(greet)
    assert greet.One() == 1
    go.write("greet.go", "func One() int { return 11 }")
    assert midflight.swap(greet).changed
    assert greet.One() == 11


def test_the_same_source_gives_the_same_bytes_and_is_built_once(go: Packages):
    from midflight.build import describe

    path = go.write("same.go", "func One() int { return 1 }")
    first, second = describe(path).resolve(), describe(path).resolve()
    assert (first.cached, second.cached) == (False, True)
    assert first.sha256 == second.sha256


def test_generics_work_where_they_are_instantiated_and_are_explained_elsewhere(go: Packages):
    greet = go.make(
        """
        type Stack[T any] struct{ items []T }
        func (s *Stack[T]) Push(x T) { s.items = append(s.items, x) }
        func (s *Stack[T]) Len() int { return len(s.items) }
        type Pair[A, B any] struct { First A; Second B }
        func NewStack() *Stack[string] { return &Stack[string]{} }
        func MakePair(a int, b string) Pair[int, string] { return Pair[int, string]{a, b} }
        func Map[T any](x T) T { return x }
        """
    )
    stack = greet.NewStack()
    stack.Push("a")
    assert stack.Len() == 1
    pair = greet.MakePair(1, "x")
    assert (pair.First, pair.Second) == (1, "x")
    with pytest.raises(UnsupportedFunctionError, match="it is generic"):
        greet.Map(1)


def test_channels_are_refused_with_a_reason(go: Packages):
    greet = go.make("func Listen(c chan int) {}\nfunc Make() <-chan string { return nil }\nvar Bus chan int")
    for name in ("Listen", "Make", "Bus"):
        with pytest.raises(UnsupportedFunctionError, match=r"a (<-)?chan (int|string) can't"):
            getattr(greet, name)()


def test_names_help_and_signatures_come_from_the_source(go: Packages):
    import inspect

    greet = go.make("// Add adds two numbers.\nfunc Add(a, b int32) (int32, error) { return a + b, nil }")
    assert str(inspect.signature(greet.Add)) == "(a: 'int32', b: 'int32') -> 'int32'"
    assert greet.Add.__doc__ is not None
    assert greet.Add.__doc__.startswith("Add adds two numbers.")
    assert "greet.go:3" in greet.Add.__doc__


def test_removed_and_changed_functions_are_incompatible(go: Packages):
    greet = go.make("type P struct{ A int }\nfunc (p P) M() {}\nfunc F(p P) {}\nfunc G() {}")
    for text, what in (
        ("type P struct{ A int }\nfunc (p P) M() {}\nfunc F(p P) {}", "G: is gone"),
        ("type P struct{ A string }\nfunc (p P) M() {}\nfunc F(p P) {}\nfunc G() {}", "F: parameter p"),
        ("type P struct{ A int }\nfunc F(p P) {}\nfunc G() {}", "P.M: is gone"),
    ):
        go.write("greet.go", text)
        with pytest.raises(midflight.IncompatibleError, match=what):
            midflight.swap(greet)


def test_a_directory_without_go_files_is_named(go: Packages):
    go.write("empty/go.mod", "module empty\n")
    with pytest.raises(midflight.MidflightError, match="no Go files"):
        midflight.load(go.root / "empty")
    (go.root / "nothing").mkdir()
    with pytest.raises(SourceError, match=r"without a Cargo\.toml or Go files"):
        midflight.load(go.root / "nothing")
