"""What is noted of calls.

Would catch: a call that is counted twice, in no version or in the wrong one; an exception of a callback's or a caller's
mistake that counts against the version; a call under way that isn't listed, or is for ever; a price for calls that
nobody observes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight
from midflight import _core
from midflight._control import control_of
from tests.core.conftest import ADD, param
from tests.soak.conftest import figures, observer_of


@pytest.fixture
def module(make, load):
    return load(make())


# ---- what is counted -------------------------------------------------------------------------------------------------


def test_calls_of_every_kind_are_counted(module) -> None:
    observer_of(module)
    alias = module.work
    assert [module.work(1), alias(2), module.work(x=3), midflight.function(module, "work")(4)] == [2, 3, 4, 5]
    assert midflight.function(module, "work", signature="int work(int)")(5) == 6
    with midflight.pin(module) as pinned:
        assert pinned.work(6) == 7
    assert figures(module, "work") == (6, 0, 0)
    assert figures(module, "other") == (0, 0, 0)


def test_whose_doing_an_exception_is(module) -> None:
    observer_of(module)
    with pytest.raises(midflight.NativeExceptionError):
        module.fail(1)
    assert figures(module, "fail") == (1, 1, 0)

    def raises(_x):
        raise midflight.NativeExceptionError("the program's own")

    with pytest.raises(midflight.NativeExceptionError, match="own"):
        module.call(raises, 1)
    assert figures(module, "call") == (1, 0, 0)

    def fails(x):
        return module.fail(x)  # not by a stable pointer, which nobody observes

    # One that fails inside of a callback counts for itself, and not again for the call around it.
    with pytest.raises(midflight.NativeExceptionError):
        module.call(fails, 1)
    assert figures(module, "call") == (2, 0, 0)
    assert figures(module, "fail") == (2, 2, 0)


def test_an_exception_of_a_callback_that_was_caught_excuses_nothing(module) -> None:
    observer_of(module)

    def catches(_x):
        with pytest.raises(ZeroDivisionError):
            module.call(lambda _: 1 // 0, 1)
        return module.fail(0)

    assert module.call(catches, 1) == 0
    with pytest.raises(midflight.NativeExceptionError):
        module.fail(1)
    assert figures(module, "fail") == (2, 1, 0)


@pytest.mark.parametrize(
    "arguments", [("x",), (2**40,), (), (1, 2)], ids=["wrong type", "out of range", "too few", "too many"]
)
def test_a_callers_mistake_is_no_call(module, arguments) -> None:
    observer_of(module)
    with pytest.raises((TypeError, OverflowError)):
        module.work(*arguments)
    with pytest.raises(TypeError):
        module.work(y=1)
    assert figures(module, "work") == (0, 0, 0)


def test_four_threads_are_counted_exactly(module) -> None:
    observer_of(module)
    start = threading.Barrier(4)

    def calls_other(x):
        return module.other(x)

    def run():
        start.wait(20)
        for i in range(2_000):
            module.work(i)
            module.call(calls_other, i)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(run) for _ in range(4)]:
            future.result(60)
    assert figures(module, "work") == (8_000, 0, 0)
    assert figures(module, "call") == figures(module, "other") == (8_000, 0, 0)
    assert observer_of(module).under_way() == []


def test_a_crash_is_counted_and_told_at_once(make) -> None:
    module = midflight.load(make("if (x == 7) *(volatile int *)8 = 1"), lane="worker")
    told = []
    observer_of(module).on_crash = lambda: told.append(threading.get_ident())
    with pytest.raises(midflight.WorkerCrashedError):
        module.work(7)
    assert told == [threading.get_ident()]
    assert module.work(1) == 2
    assert figures(module, "work") == (2, 1, 1)


def test_waiting_for_the_gil_is_no_time_of_the_calls(make, load) -> None:
    module = load(make("usleep(1000)"))
    observer = observer_of(module)
    interval = sys.getswitchinterval()
    go_on, busy = threading.Event(), threading.Event()

    def compute() -> None:
        while not go_on.is_set():
            busy.set()
            sum(range(1_000))

    other = threading.Thread(target=compute)
    sys.setswitchinterval(0.3)
    try:
        other.start()
        assert busy.wait(20)
        start = time.monotonic()
        module.work(1)
        waited = time.monotonic() - start
    finally:
        sys.setswitchinterval(interval)
        go_on.set()
        other.join()
    ((_, _, _, _, _, longest, _),) = observer.figures().values()
    assert longest * 1e-9 < waited - 0.1


# ---- under way -------------------------------------------------------------------------------------------------------


def test_a_call_under_way_is_listed_until_it_ends(module) -> None:
    observer = observer_of(module)
    table = control_of(module).need_current().table
    seen = []

    def look(x):
        seen.append((observer.under_way(), table.callers()))
        return x

    module.call(lambda x: module.call(look, x), 1)
    under_way, callers = seen[0]
    assert [thread for _, thread, _ in under_way] == [threading.get_ident()] * 2
    assert under_way[0][2] <= under_way[1][2]
    assert len(callers) == 1
    assert [name.split(".")[-1] for name in callers[0][1]] == ["call", "call"]
    assert observer.under_way() == []


def test_a_call_that_began_before_is_not_listed_and_ends_well(module) -> None:
    observers = []

    def begin(x):
        observers.append(observer_of(module))
        return x

    assert module.call(begin, 3) == 3
    assert observers[0].under_way() == []
    assert figures(module, "call") == (0, 0, 0)


def test_an_observer_that_is_taken_away_meanwhile_still_notes_the_end(module) -> None:
    observer = observer_of(module)
    table = control_of(module).need_current().table

    def take_away(x):
        table.observer = None
        return x

    module.call(take_away, 1)
    assert observer.under_way() == []
    assert figures(module, "call") == (1, 0, 0)


def test_only_the_forking_threads_calls_are_under_way_in_a_child(module) -> None:
    observer = observer_of(module)
    inside, go_on = threading.Event(), threading.Event()

    def stay(x):
        inside.set()
        assert go_on.wait(20)
        return x

    def fork(_x):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if [one[1] for one in observer.under_way()] == [threading.get_ident()] else 1)
        return os.waitpid(pid, 0)[1]

    other = threading.Thread(target=module.call, args=(stay, 1))
    if midflight.versions(module)[0].lane == "worker":
        other = threading.Thread(target=lambda: None)
        inside.set()
    other.start()
    assert inside.wait(20)
    assert module.call(fork, 1) == 0
    go_on.set()
    other.join()
    assert observer.under_way() == []


# ---- the price -------------------------------------------------------------------------------------------------------


def test_nobody_pays_when_nobody_observes(library) -> None:
    """By structure: a table shows its slots as if there had never been an observer; the benchmark has the figures."""
    function, table = library.function("add", ADD)
    observer = _core.Observer()
    table.observer = observer
    assert function(1, 2) == 3
    table.observer = None
    assert [function(1, 2) for _ in range(5)] == [3] * 5
    assert observer.figures()[0][0] == 1


def test_gate_observer_and_canary_use_one_way_to_be_asked(library) -> None:
    function, table = library.function("add", ADD)
    table.observer = observer = _core.Observer()
    gate = _core.Gate([table])
    with pytest.raises(midflight.SwapInsideError):
        function(1, 2)
    gate.open()
    assert function(1, 2) == 3
    canary = _core.Canary(function._cell, _core.Table("2", [library.binding("add8", [param(c) for c in "ab"])]), 1e-9)
    table.observer = None
    assert function(1, 2) == 3
    canary.end()
    assert function(1, 2) == 3
    assert observer.figures()[0][0] == 1


@pytest.mark.parametrize("observer", [5, "x", object()])
def test_only_an_observer_observes(library, observer) -> None:
    _, table = library.function("add", ADD)
    with pytest.raises(TypeError):
        table.observer = observer
    with pytest.raises(TypeError):
        del table.observer
    with pytest.raises(TypeError):
        _core.Observer(share="x")
    with pytest.raises(TypeError):
        _core.Observer(kept=5)
