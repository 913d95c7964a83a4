"""A live value that loses its identity, its version, or outlives what it should."""

from __future__ import annotations

import gc
import io
import sys
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import UnloadedError
from midflight.lanes.go import GoError, GoPanicError

if TYPE_CHECKING:
    from tests.go.conftest import Packages

GREETERS = """
type Greeter interface { Greet() string }
type MyGreeter struct{}
// Greet says WORD.
func (MyGreeter) Greet() string { return "WORD" }
func NewGreeter() Greeter { return MyGreeter{} }
type greeting string
func (g greeting) Greet() string { return "WORD " + string(g) }
var G greeting = "you"
func Use(g Greeter) string { return "used: " + g.Greet() }
func None() Greeter { return nil }
type Account struct { Balance int; Owner string; history []int }
func Open(owner string) *Account { return &Account{Owner: owner} }
func (a *Account) Deposit(n int, notes ...string) (int, error) {
	if n < 0 { return a.Balance, &Refusal{n} }
	a.Balance += n; a.history = append(a.history, n); return a.Balance, nil
}
func (a *Account) History() []int { return a.history }
func (a *Account) Same(b *Account) bool { return a == b }
func (a *Account) Self() *Account { return a }
type Refusal struct{ N int }
func (r *Refusal) Error() string { return "negative" }
func Adder(n int) func(int) int { return func(x int) int { return x + n } }
func Apply(f func(int) int, x int) int { return f(x) }
type Counter struct{ N int }
func (c *Counter) Up() int { c.N++; return c.N }
func (c Counter) Twice() int { return c.N * 2 }
"""


def test_an_interface_a_constructor_and_a_variable_with_methods(go: Packages):
    greet = go.make(GREETERS.replace("WORD", "hello"))
    assert greet.NewGreeter().Greet() == "hello"
    assert greet.G.Greet() == "hello you"
    assert greet.Use(greet.NewGreeter()) == "used: hello"
    assert greet.Use(greet.G) == "used: hello you"
    assert greet.Use(greet.MyGreeter()) == "used: hello"
    assert getattr(greet, "None")() is None
    assert type(greet.NewGreeter()).Greet.__doc__ == "Greet says hello."
    midflight.variables(greet)["G"] = "all"
    assert greet.G.Greet() == "hello all"


def test_objects_keep_their_state_their_fields_and_their_identity(go: Packages):
    greet = go.make(GREETERS)
    account = greet.Open("Ada")
    assert account.Deposit(5) == 5
    assert account.Deposit(7, "a", "note") == 12
    assert (account.Balance, account.Owner, account.History()) == (12, "Ada", [5, 7])
    account.Owner = "Bob"
    assert account.Owner == "Bob"
    assert account.Same(account)
    assert not account.Same(greet.Open("Bob"))
    assert account.Self() == account
    assert {account: 1}[account.Self()] == 1
    with pytest.raises(GoError, match="negative") as raised:
        account.Deposit(-1)
    assert (raised.value.type_name, raised.value.results) == ("*Refusal", (12,))
    with pytest.raises(AttributeError, match="Account has no 'Nothing'; it has Balance"):
        account.Nothing()
    with pytest.raises(midflight.ArgumentTypeError, match="Owner: a str is expected"):
        account.Owner = 3


def test_functions_go_both_ways(go: Packages):
    greet = go.make(GREETERS)
    add = greet.Adder(10)
    assert add(5) == 15
    assert greet.Apply(add, 1) == 11
    assert greet.Apply(lambda x: x * 3, 2) == 6
    assert greet.Apply(lambda x: greet.Apply(lambda y: y + x, 1), 2) == 3

    def fail(_x: int) -> int:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        greet.Apply(fail, 1)
    with pytest.raises(midflight.ArgumentTypeError, match="its result: int is expected, not str"):
        greet.Apply(lambda _x: "no", 1)
    assert greet.Apply(add, 1) == 11


def test_methods_of_values_that_python_has_change_those(go: Packages):
    greet = go.make(GREETERS)
    counter = greet.Counter(5)
    assert counter.Up() == 6
    assert (counter.N, counter.Twice()) == (6, 12)


def test_objects_are_served_by_the_version_that_made_them(go: Packages):
    greet = go.make(GREETERS.replace("WORD", "old"))
    old, account = greet.NewGreeter(), greet.Open("Ada")
    account.Deposit(5)
    go.write("greet.go", GREETERS.replace("WORD", "new"))
    midflight.swap(greet)
    assert (old.Greet(), greet.NewGreeter().Greet(), greet.G.Greet()) == ("old", "new", "new you")
    assert account.Deposit(1) == 6
    first = midflight.versions(greet)[0]
    assert (first.status, first.held_by) == ("draining", ("2 objects",))
    with pytest.raises(UnloadedError, match="the object lives in version 1 of greet, and can't be passed to version 2"):
        greet.Use(old)
    del old
    gc.collect()
    assert midflight.versions(greet)[0].held_by == ("1 object",)
    del account
    gc.collect()
    midflight._retire.settle()
    assert midflight.versions(greet)[0].status == "unloaded"


def test_dropped_objects_are_released_in_go(go: Packages):
    greet = go.make(
        """
        import "runtime"
        type Big struct{ data []byte }
        func (b *Big) Size() int { return len(b.data) }
        func New() *Big { return &Big{make([]byte, 1<<20)} }
        func Used() uint64 { runtime.GC(); var m runtime.MemStats; runtime.ReadMemStats(&m); return m.HeapAlloc >> 20 }
        """
    )
    before = greet.Used()
    for _ in range(300):
        assert greet.New().Size() == 1 << 20
    assert greet.Used() < before + 100


def test_panics_are_exceptions_and_the_worker_goes_on(go: Packages):
    greet = go.make(
        """
        import "errors"
        var Count int
        func deep(xs []int) int { return xs[len(xs)] }
        func Index() int { Count++; return deep([]int{1}) }
        func Custom() { panic(errors.New("my own")) }
        func Nil() { panic(nil) }
        """
    )
    with pytest.raises(GoPanicError, match=r"index out of range \[1\] with length 1") as raised:
        greet.Index()
    assert "greet.go:5" in raised.value.stack or "greet.go:4" in raised.value.stack
    assert "midflightruntime" not in raised.value.stack
    assert raised.value.type_name == "runtime.boundsError"
    with pytest.raises(GoPanicError, match="Go panicked: my own"):
        greet.Custom()
    with pytest.raises(GoPanicError, match="nil"):
        greet.Nil()
    assert greet.Count == 1


def test_what_a_package_prints_is_the_programs_output(go: Packages, capfd: pytest.CaptureFixture[str]):
    greet = go.make('import ("fmt"; "os")\nfunc Say() { fmt.Println("out"); fmt.Fprintln(os.Stderr, "err") }')
    greet.Say()
    assert tuple(capfd.readouterr()) == ("out\n", "err\n")
    assert not isinstance(sys.stdin, io.TextIOWrapper) or not sys.stdin.closed
