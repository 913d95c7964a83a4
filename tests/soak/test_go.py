"""Go packages on trial.

Would catch: a panic or an error of Go's that doesn't count, or one of a Python callback's that does; state that a
candidate takes away from the version that still serves.
"""

from __future__ import annotations

import pytest

import midflight
from midflight._control import control_of
from tests.go.conftest import go
from tests.soak.conftest import calls, figures, observer_of

__all__ = ["go"]

PACKAGE = """
import "errors"

func Work(x int) int { return x + 1 }
func Fail(x int) (int, error) { if x > 0 { return 0, errors.New("it failed") }; return x, nil }
func Panic(x int) int { if x > 0 { panic("it panicked") }; return x }
func Call(f func(int) (int, error), x int) (int, error) { return f(x) }
"""


def test_whose_doing_an_exception_is(go) -> None:
    module = go.make(PACKAGE)
    observer_of(module)
    with pytest.raises(midflight.GoError):
        module.Fail(1)
    with pytest.raises(midflight.GoPanicError):
        module.Panic(1)
    assert (module.Fail(0), module.Panic(0), module.Work(x=1)) == (0, 0, 2)
    assert (figures(module, "Fail"), figures(module, "Panic")) == ((2, 1, 0), (2, 1, 0))
    assert figures(module, "Work") == (1, 0, 0)

    def raises(_x):
        raise midflight.GoPanicError("the program's own")

    with pytest.raises(midflight.GoPanicError, match="own"):
        module.Call(raises, 1)
    assert figures(module, "Call") == (1, 0, 0)


def test_a_version_that_panics_goes_back(go, clock) -> None:
    module = go.make(PACKAGE)
    go.write("greet.go", PACKAGE.replace("return x + 1", 'panic("no")'))
    soak = midflight.swap(module, soak=30).soak
    assert calls(module.Work, 10) == 10
    clock.pass_(0.1)
    assert soak.wait(20) == "went back"
    assert module.Work(1) == 2


def test_state_cant_be_in_two_versions_at_once(go) -> None:
    module = go.make("//midflight:state\nvar count int\nfunc Count() int { count++; return count }\n")
    assert module.Count() == 1
    go.write("greet.go", "//midflight:state\nvar count int\nfunc Count() int { count += 10; return count }\n")
    with pytest.raises(midflight.SwapError, match="each with data of its own") as caught:
        midflight.swap(module, soak=1, canary=0.5)
    assert caught.value.todo == "use soak= without canary="
    assert module.Count() == 2
    assert control_of(module).need_current().table.observer is None


def test_without_state_it_gets_its_share(go) -> None:
    module = go.make(PACKAGE)
    go.write("greet.go", PACKAGE.replace("return x + 1", "return x + 2"))
    seen = []

    def judge(_old, _new):
        if not seen:
            seen.extend(module.Work(0) for _ in range(100))

    midflight.swap(module, soak=0.05, canary=0.5, judge=judge)
    assert set(seen) == {1, 2}
    assert abs(seen.count(2) - 50) < 4
    assert module.Work(0) == 2
