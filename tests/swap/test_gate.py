"""The gate: callers wait while data move, and only then.

Would catch: a call that runs while data move, or that gets lost; a caller that waits for itself; a gate that nobody
opens again; a timeout that doesn't say who is inside; a swap without data that holds callers up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import midflight
from midflight import _core, moving
from midflight._control import control_of
from midflight._gate import Closed
from tests.swap.conftest import SOURCE

HOOKS = """
void midflight_save(void) {}
void midflight_restore(void) {}
"""

COUNTING = """
static _Atomic int calls, moving;
int count(void) { return moving ? -1 : ++calls; }
int calls_so_far(void) { return calls; }
long whoami(void) { return 1; }
long call_back(long (*function)(void)) { return function() * 10 + 1; }
int give(int a, int b) { return a * 10 + b; }
"""


@pytest.fixture
def stateful(workshop, load):
    """A module whose swaps hold callers back, and a function that makes its next version."""
    count = [1]

    def make(number: int):
        return workshop.library(f"s{number}", SOURCE.replace("0x5eed5eed5eed5eed", str(number)) + HOOKS)

    module = load(make(1))

    def next_version():
        count[0] += 1
        return make(count[0])

    return module, next_version


@pytest.fixture
def counting(workshop, load):
    return load(workshop.library("counting", COUNTING))


def _table(module):
    return control_of(module).current.table


@contextmanager
def _closed(*modules):
    gate = _core.Gate([_table(module) for module in modules])
    try:
        yield gate
    finally:
        gate.open()


class Caller:
    """A thread that calls something."""

    def __init__(self, call, *arguments, **keywords) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(call, *arguments, **keywords)

    def result(self):
        found = self._future.result(20)
        self._pool.shutdown()
        return found


def _waits(gate, count=1) -> bool:
    """Whether so many threads come to wait at a gate."""
    end = time.monotonic() + 20
    while gate.waiting != count and time.monotonic() < end:
        os.sched_yield()
    return gate.waiting == count


# ---- who waits -------------------------------------------------------------------------------------------------------


def test_a_call_waits_and_starts_over_with_what_is_current(stateful, load, workshop) -> None:
    module, _ = stateful
    other = workshop.library("other", SOURCE.replace("0x5eed5eed5eed5eed", "2"))
    second_module = load(other, name="second")  # nothing else keeps its version loaded
    second = control_of(second_module).current
    control = control_of(module)
    with _closed(module) as gate:
        assert gate.wait(0)
        waiter = Caller(module.whoami)
        assert _waits(gate)
        assert gate.inside == 0
        kept = control.current.table
        _core.switch([(control.cell, second.table)])
    assert waiter.result() == 2
    _core.switch([(control.cell, kept)])


@pytest.mark.parametrize("how", ["keywords", "explicit", "alias"])
def test_every_kind_of_call_waits(counting, how) -> None:
    call, arguments, keywords = {
        "keywords": (counting.give, (1,), {"b": 2}),
        "explicit": (midflight.function(counting, "give", signature="int give(int, int)"), (1, 2), {}),
        "alias": (counting.give, (1, 2), {}),
    }[how]
    with _closed(counting) as gate:
        assert gate.wait(0)
        waiter = Caller(call, *arguments, **keywords)
        assert _waits(gate)
    assert waiter.result() == 12


def test_pinned_views_wait_too(counting) -> None:
    with midflight.pin(counting) as view:
        with _closed(counting) as gate:
            assert gate.wait(0), "a pin is no call"
            waiter = Caller(view.whoami)
            assert _waits(gate)
        assert waiter.result() == 1


def test_variables_wait_too(counting) -> None:
    variables = midflight.variables(counting)
    with _closed(counting) as gate:
        assert gate.wait(0)
        waiter = Caller(variables.__getitem__, "calls")
        assert _waits(gate)
    assert waiter.result() == 0


def test_several_threads_wait_and_all_go_on(counting) -> None:
    with _closed(counting) as gate:
        assert gate.wait(0)
        waiters = [Caller(counting.count) for _ in range(5)]
        assert _waits(gate, 5)
    assert sorted(waiter.result() for waiter in waiters) == [1, 2, 3, 4, 5]


def test_callers_of_an_event_loop_wait_and_go_on(stateful) -> None:
    module, next_version = stateful

    async def run():
        async def call():
            seen = set()
            while not done.is_set():
                seen.add(module.whoami())
                await asyncio.sleep(0)
            return seen | {module.whoami()}

        done = asyncio.Event()
        calling = asyncio.create_task(call())
        report = await midflight.aswap(module, next_version())
        done.set()
        return report, await calling

    report, seen = asyncio.run(run())
    assert report.pause > 0
    assert seen <= {1, 2}
    assert 2 in seen


def test_no_call_is_lost_or_runs_while_data_move(counting) -> None:
    code, stop, results = control_of(counting).current.code, threading.Event(), []
    interface = control_of(counting).current.interface
    address = next(one.address for one in interface.variables if one.name == "moving")
    moving = code.variable(address, 4)

    def call():
        made = []
        while not stop.is_set():
            made.append(counting.count())
        results.append(made)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    times = 1000 if counting.__name__ and code.path.startswith("/") else 200  # a worker is asked for each write
    for _ in range(times):
        gate = _core.Gate([code.table])
        assert gate.wait(20)
        moving.write(b"\1\0\0\0")
        assert code.table.inside == 0
        moving.write(b"\0\0\0\0")
        gate.open()
    stop.set()
    for thread in threads:
        thread.join()
    numbers = sorted(number for made in results for number in made)
    assert numbers == list(range(1, counting.calls_so_far() + 1))


# ---- who doesn't -----------------------------------------------------------------------------------------------------


def test_calls_from_inside_a_call_go_on(counting) -> None:
    """A callback that calls the module again, while somebody waits for the call that it is in."""
    futures, modules = [], [counting]  # the callback is kept by the version: let it not keep the module

    def inner() -> int:
        futures.append(_closed_by_another(modules[0]))
        return modules[0].whoami()

    assert counting.call_back(inner) == 11
    assert futures[0].result(20) is True
    modules.clear()


def _closed_by_another(module):
    """Close the gate in another thread, which waits there until nobody is inside, and opens it again."""
    closed, pool = threading.Event(), ThreadPoolExecutor(1)

    def run() -> bool:
        with _closed(module) as gate:
            closed.set()
            return gate.wait(20)

    future = pool.submit(run)
    closed.wait()
    pool.shutdown(wait=False)
    return future


def test_two_gates_dont_wait_for_each_others_callers(load, workshop) -> None:
    modules = [load(workshop.library(name, COUNTING)) for name in ("one", "two")]
    futures = []

    def inner() -> int:
        futures.extend(map(_closed_by_another, modules))
        return modules[1].call_back(lambda: modules[0].whoami())  # noqa: PLW0108 - the function would keep its module

    assert modules[0].call_back(inner) == 111
    assert [future.result(20) for future in futures] == [True, True]
    modules.clear()


def test_who_moves_the_data_cant_call(counting) -> None:
    with _closed(counting) as gate:
        assert gate.wait(0)
        with pytest.raises(midflight.SwapInsideError, match="moves its state"):
            counting.whoami()
    assert counting.whoami() == 1


def test_a_swap_without_data_has_no_gate(numbered, load, gate) -> None:
    module = load(numbered.make(1))
    caller = Caller(module.linger, gate.begun, gate.end)
    gate.wait_begun()
    report = midflight.swap(module, numbered.make(2), timeout=0)
    assert (report.pause, "gate" in report.stages) == (0.0, False)
    gate.let_end()
    assert caller.result() == 1


def test_carry_fresh_has_no_gate(stateful, gate) -> None:
    module, next_version = stateful
    caller = Caller(module.linger, gate.begun, gate.end)
    gate.wait_begun()
    report = midflight.swap(module, next_version(), carry="fresh", timeout=0)
    assert (report.pause, "gate" in report.stages) == (0.0, False)
    gate.let_end()
    assert caller.result() == 1


# ---- how waiting ends ------------------------------------------------------------------------------------------------


def test_calls_that_dont_end_refuse_the_swap_and_say_who(stateful, gate) -> None:
    module, next_version = stateful
    threading.Thread(target=module.linger, args=(gate.begun, gate.end), name="slow-caller").start()
    gate.wait_begun()
    with pytest.raises(midflight.GateTimeoutError, match="timeout=") as refused:
        midflight.swap(module, next_version(), timeout=0.05)
    error = refused.value
    assert len(error.inside) == 1
    assert "linger in thread 'slow-caller'" in error.inside[0]
    assert "called more than 0.05 s ago" in error.inside[0]
    assert (error.stage, "version 1" in error.unchanged) == ("gate", True)
    gate.let_end()
    assert module.whoami() == 1
    assert midflight.swap(module, next_version(), timeout=20).pause > 0
    assert module.whoami() == 3


def test_a_call_that_ends_in_time_is_waited_for(stateful, gate, monkeypatch) -> None:
    module, next_version = stateful
    seen = []
    begin = moving.begin_move

    def look(control, old, *rest):
        seen.append(old.table.inside)
        return begin(control, old, *rest)

    monkeypatch.setattr(moving, "begin_move", look)
    caller = Caller(module.linger, gate.begun, gate.end)
    gate.wait_begun()
    swapping = Caller(midflight.swap, module, next_version(), timeout=20)
    table = _table(module)
    while not _is_gated(table):
        os.sched_yield()
    assert seen == []
    gate.let_end()
    assert caller.result() == 1
    assert swapping.result().pause > 0
    assert seen == [0]


def _is_gated(table) -> bool:
    try:
        _core.Gate([table]).open()
    except ValueError:
        return True
    return False


def test_a_swap_with_data_from_inside_a_call_is_refused_at_once(stateful) -> None:
    module, next_version = stateful
    path, errors, modules = next_version(), [], [module]

    def inner() -> int:
        try:
            midflight.swap(modules[0], path, timeout=20)
        except midflight.SwapInsideError as error:
            errors.append(error)
        return 5

    assert module.call_back(inner) == 1005
    modules.clear()
    assert "carry='fresh'" in str(errors[0])
    errors.clear()
    assert module.whoami() == 1


def test_all_modules_of_a_transaction_are_gated_together(stateful, load, workshop, monkeypatch) -> None:
    one, next_version = stateful
    two = load(workshop.library("two", SOURCE + HOOKS), name="two")
    seen = []
    begin = moving.begin_move

    def look(*moved):
        seen.append([_is_gated(table) for table in tables])
        return begin(*moved)

    tables = [_table(one), _table(two)]
    monkeypatch.setattr(moving, "begin_move", look)
    with midflight.transaction() as swaps:
        swaps.swap(one, next_version())
        swaps.swap(two, workshop.library("two-2", SOURCE + HOOKS + "int more;"))
    assert seen == [[True, True], [True, True]]
    assert all(report.pause > 0 for report in swaps.reports)


def test_a_move_that_fails_opens_the_gate_and_changes_nothing(stateful, monkeypatch) -> None:
    module, next_version = stateful

    def fail(*_):
        raise midflight.StateError("no", refusals=["x: no"])

    monkeypatch.setattr(moving, "begin_move", fail)
    with pytest.raises(midflight.StateError) as refused:
        midflight.swap(module, next_version())
    assert refused.value.stage == "move"
    assert module.whoami() == 1
    assert [version.status for version in midflight.versions(module)] == ["current"]


def test_a_module_that_is_unloaded_while_somebody_waits(stateful, monkeypatch) -> None:
    module, next_version = stateful
    waiters, gates = [], []
    gate_type = _core.Gate
    monkeypatch.setattr(_core, "Gate", lambda tables: gates.append(gate_type(tables)) or gates[-1])

    def fail(*_):
        waiters.append(Caller(module.whoami))
        assert _waits(gates[0])
        control_of(module).cell.end("the module has been unloaded")
        raise midflight.StateError("no", refusals=["x: no"])

    monkeypatch.setattr(moving, "begin_move", fail)
    with pytest.raises(midflight.StateError):
        midflight.swap(module, next_version())
    with pytest.raises(midflight.UnloadedError, match="unloaded"):
        waiters[0].result()


def test_a_gate_that_nobody_keeps_is_open(counting) -> None:
    _core.Gate([_table(counting)])
    assert counting.whoami() == 1


def test_a_signal_ends_the_wait(counting) -> None:
    """KeyboardInterrupt reaches a main thread that waits at a gate."""
    handled = threading.Event()

    def handler(*_):
        if not handled.is_set():
            handled.set()
            raise KeyboardInterrupt

    def interrupt(gate) -> None:
        assert _waits(gate)
        while not handled.wait(0.01):  # one that comes just before it sleeps isn't seen until the next
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    gates, closed, pool = [], threading.Event(), ThreadPoolExecutor(1)

    def close() -> None:
        with _closed(counting) as gate:
            gates.append(gate)
            closed.set()
            interrupt(gate)

    done = pool.submit(close)
    closed.wait()
    try:
        with pytest.raises(KeyboardInterrupt):
            counting.whoami()
        done.result(20)
    finally:
        signal.signal(signal.SIGUSR1, before)
        pool.shutdown()
    assert counting.whoami() == 1


@pytest.mark.here_only("a fork's child has no worker of its own yet")
def test_the_child_of_a_fork_doesnt_wait(counting) -> None:
    with _closed(counting) as gate:
        assert gate.wait(0)
        child = os.fork()
        if child == 0:
            os._exit(7 if counting.whoami() == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# ---- calls that can be long ------------------------------------------------------------------------------------------


def test_code_is_told_while_it_is_waited_for(counting, monkeypatch) -> None:
    told = []
    generation = control_of(counting).current
    monkeypatch.setattr(generation.code, "set_yield", told.append, raising=False)
    closed = Closed([(control_of(counting), generation)])
    assert told == [True]
    closed.wait(0)
    closed.open()
    assert told == [True, False]
    assert closed.seconds > 0


POLLING = """
#include <midflight.h>
static _Atomic int inside;
int is_inside(void) { return inside; }
int work(void)
{
    inside = 1;
    while (!midflight_should_yield()) { }
    inside = 0;
    return VERSION;
}
int midflight_save(void) { return 0; }
"""


def test_a_long_call_that_polls_lets_the_swap_through(workshop, lane) -> None:
    path = workshop.write("polling.c", POLLING.replace("VERSION", "1"))
    module = midflight.load(path, lane=lane, workers=2)
    working = Caller(module.work)
    while not module.is_inside():
        pass
    workshop.write("polling.c", POLLING.replace("VERSION", "2"))
    report = midflight.swap(module, timeout=20)
    assert report.pause > 0
    assert working.result() == 1


@pytest.mark.parametrize("option", ["timeout", "carry", "on_dangling"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "x", None, True, 5, [1]], ids=repr)
def test_options_that_mean_nothing(counting, option, value) -> None:
    if value is None and option != "timeout":
        return
    if (option, value) == ("timeout", 5):
        return
    with pytest.raises(midflight.SourceError, match=option):
        midflight.swap(counting, **{option: value})
