"""A new version's soak, from the switch to its end.

Would catch: a bad version that stays, a good one that goes, by chance or without evidence; an old version that is
unloaded too early or never; data that are lost on the way back; a soak that never ends, or that nobody hears of.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight
from midflight._control import control_of
from midflight.soaking import verdict
from tests.soak.conftest import calls

FAILS = 'if (x % 2) throw std::runtime_error("it failed")'
SLOW = "usleep(2000)"


pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def module(make, load):
    return load(make())


def swapped(module, path, calls_before: int = 0, **options) -> midflight.Soak:
    """Swap with soak=, after so many calls that the old version has been observed in."""
    if calls_before:
        midflight.before_swap(module)(lambda _: calls(module.work, calls_before))
    report = midflight.swap(module, path, **{"soak": 30, **options})
    control_of(module).before.clear()
    assert report.soak is not None
    return report.soak


# ---- good versions ---------------------------------------------------------------------------------------------------


def test_a_good_version_passes(module, make, clock) -> None:
    soak = swapped(module, make(), 50)
    assert calls(module.work, 100) == 0
    assert (soak.state, soak.wait(0)) == ("under way", "under way")
    clock.pass_(29)
    assert soak.wait(0.05) == "under way"
    clock.pass_(1)
    assert soak.wait(20) == "passed"
    assert (module.whoami(), soak.reason, soak.notes) == (2, "", ())
    assert (soak.stats.old.calls, soak.stats.new.functions["work"].calls) == (50, 100)
    assert "has passed" in str(soak)


def test_the_old_version_is_loaded_until_the_end_and_no_longer(module, make, clock, unloading) -> None:
    soak = swapped(module, make())
    first, second = midflight.versions(module)
    assert (first.status, first.held_by) == ("draining", ("the soak of version 2",))
    assert second.status == "current"
    gone = unloading(first)
    clock.pass_(30)
    assert soak.wait(20) == "passed"
    assert gone.wait(20)
    assert first.held_by == ()


def test_afterwards_nobody_observes(module, make, clock) -> None:
    soak = swapped(module, make())
    table = control_of(module).need_current().table
    assert table.observer is not None
    clock.pass_(30)
    soak.wait(20)
    assert table.observer is None
    before = soak.stats
    module.work(1)
    assert soak.stats == before


def test_what_could_not_be_compared_is_said(module, make, clock) -> None:
    soak = swapped(module, make())
    assert soak.notes == ("the new version wasn't called, so nothing is known of it",)
    calls(module.work, 3)
    clock.pass_(30)
    assert soak.wait(20) == "passed"
    assert soak.notes == ("too few calls of the old and the new version to compare times: work (0 and 3 calls)",)


# ---- bad versions ----------------------------------------------------------------------------------------------------


def test_a_version_that_fails_goes_back(module, make, clock, caplog) -> None:
    with caplog.at_level(logging.WARNING, "midflight"):
        soak = swapped(module, make(FAILS), 50)
        assert calls(module.work, 20) == 10
        clock.pass_(0.1)
        assert soak.wait(20) == "went back"
    assert soak.reason == "work fails: 10 of 20 calls; in the old version 0 of 50"
    assert calls(module.work, 20) == 0
    assert module.whoami() == 1
    assert [version.number for version in midflight.versions(module)] == [1, 2, 3]


def test_the_way_back_is_told(module, make, clock) -> None:
    told, end = [], threading.Event()

    def note(event) -> None:
        told.append(event)
        if isinstance(event, midflight.Soaked):
            end.set()

    unsubscribe = midflight.subscribe(note)
    soak = swapped(module, make(FAILS))
    calls(module.work, 20)
    clock.pass_(0.1)
    assert end.wait(20)
    unsubscribe()
    kinds = [type(event) for event in told]
    assert kinds == [midflight.Swapped, midflight.Swapped, midflight.Soaked]
    assert (told[1].report.old.number, told[1].report.new.number) == (2, 3)
    assert told[2].soak is soak
    assert told[2].module is module


def test_one_that_fails_later_goes_back_then(module, make, clock) -> None:
    soak = swapped(module, make('if (x >= 1000) throw std::runtime_error("x")'), 50)
    assert calls(module.work, 1_000) == 0
    clock.pass_(5)
    assert soak.wait(0.05) == "under way"
    assert calls(module.work, 40, 1_000) == 40
    clock.pass_(5)
    assert soak.wait(20) == "went back"


def test_a_slow_version_goes_back(module, make, clock) -> None:
    soak = swapped(module, make(SLOW), 100)
    calls(module.work, 40)
    clock.pass_(0.1)
    assert soak.wait(20) == "went back"
    assert soak.reason.startswith("work is slow: its median is ")


def test_a_slow_version_stays_if_that_is_allowed(module, make, clock) -> None:
    soak = swapped(module, make(SLOW), 100, max_slowdown=1e6)
    calls(module.work, 40)
    clock.pass_(30)
    assert soak.wait(20) == "passed"


@pytest.mark.parametrize("first", [0, 1_000], ids=["at its first call", "at its 1,000th"])
def test_a_version_that_hangs_goes_back(module, make, page, monkeypatch, first) -> None:
    monkeypatch.setattr(verdict, "HANG_FLOOR", 0.1)
    monkeypatch.setattr(verdict, "HANG_FACTOR", 0.0)
    soak = swapped(module, make(), 50)
    assert calls(module.work, first) == 0
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(module.wait, page)
        assert soak.wait(20) == "went back"
        assert soak.reason.startswith("wait hangs: a call has been under way for ")
        assert soak.stats.new.under_way[0].function == "wait"
        assert module.whoami() == 1
        page[1] = 1
        assert hanging.result(20) == 2


def test_a_function_that_always_runs_long_isnt_taken_for_one_that_hangs(module, make, clock, page, monkeypatch) -> None:
    monkeypatch.setattr(verdict, "HANG_FLOOR", 0.05)
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(module.wait, page)
        while not page[0]:
            os.sched_yield()
        soak = swapped(module, make())
        after = pool.submit(module.wait, page)
        assert soak.wait(0.5) == "under way"
        page[1] = 1
        assert (before.result(20), after.result(20)) == (1, 2)
    clock.pass_(30)
    assert soak.wait(20) == "passed"


def test_a_crash_ends_the_soak_at_once(make) -> None:
    module = midflight.load(make(), lane="worker")
    soak = swapped(module, make("if (x == 1000) *(volatile int *)8 = 1"), 50)
    assert calls(module.work, 1_000) == 0
    with pytest.raises(midflight.WorkerCrashedError):
        module.work(1_000)
    assert soak.wait(20) == "went back"
    assert soak.reason == "work has crashed"
    assert module.work(1_000) == 1_001
    assert (soak.stats.new.crashes, soak.stats.new.calls) == (1, 1_001)


def test_so_does_one_that_is_raised(make) -> None:
    """Whoever raises the crash has gone back already."""
    module = midflight.load(make(), on_crash="raise")
    soak = swapped(module, make("if (x == 1000) *(volatile int *)8 = 1"), 50)
    assert calls(module.work, 1_000) == 0
    with pytest.raises(midflight.ModuleCrashed):
        module.work(1_000)
    assert (soak.wait(20), soak.reason) == ("went back", "it crashed")
    assert module.whoami() == 1


def test_what_was_swapped_with_one_that_crashed_goes_back_too(make) -> None:
    one, two = (midflight.load(make(), name=name, on_crash="raise") for name in ("one", "two"))
    with midflight.transaction() as both:
        both.swap(one, make("*(volatile int *)8 = 1"), soak=30)
        both.swap(two, make(), soak=30)
    with pytest.raises(midflight.ModuleCrashed):
        one.work(1)
    assert [report.soak.wait(20) for report in both.reports] == ["went back", "went back"]
    assert both.reports[1].soak.reason == "it crashed"
    assert (one.whoami(), two.whoami()) == (1, 2)


# ---- what they are compared with -------------------------------------------------------------------------------------


def test_what_the_old_version_did_too_is_no_fault(make, load, clock) -> None:
    module = load(make(FAILS))
    soak = swapped(module, make(FAILS), 100)
    assert calls(module.work, 100) == 50
    clock.pass_(30)
    assert soak.wait(20) == "passed"


def test_a_versions_own_soak_serves_as_the_next_ones_baseline(module, make, clock) -> None:
    soak = swapped(module, make())
    calls(module.work, 100)
    clock.pass_(30)
    assert soak.wait(20) == "passed"
    calls(module.work, 100)  # which nobody observes
    soak = swapped(module, make(SLOW))
    calls(module.work, 40)
    clock.pass_(0.1)
    assert soak.wait(20) == "went back"
    assert soak.stats.old.functions["work"].calls == 100


# ---- the user's own judge --------------------------------------------------------------------------------------------


def test_a_judge_sees_both_and_decides(module, make, clock) -> None:
    seen = []

    def judge(old, new):
        seen.append((old.functions["work"].calls, new.functions["work"].calls, new.functions["work"].errors))
        return "I don't like it" if new.calls > 5 else None

    calls_made = threading.Event()
    soak = swapped(module, make(), 50, judge=lambda old, new: judge(old, new) if calls_made.wait(20) else "late")
    calls(module.work, 3)
    calls_made.set()
    calls(module.work, 7)
    clock.pass_(1)
    clock.pass_(1)
    assert soak.wait(20) == "went back"
    assert soak.reason == "I don't like it"
    assert seen[-1] == (50, 10, 0)


def test_a_judge_is_heard_once_more_at_the_end(module, make, clock) -> None:
    asked = []
    soak = swapped(module, make(), judge=lambda _old, new: asked.append(new.calls))
    calls(module.work, 7)
    clock.pass_(30)
    assert soak.wait(20) == "passed"
    assert asked[-1] == 7


@pytest.mark.parametrize("kind", ["raises", "hangs"])
def test_a_judge_that_cant_judge(make, load, clock, kind) -> None:
    module = load(make(), hook_timeout=1.0)
    go_on = threading.Event()

    def judge(_old, _new):
        return 1 / 0 if kind == "raises" else str(go_on.wait(20))

    soak = swapped(module, make(), judge=judge)
    while soak.state == "under way":
        clock.pass_(1.5)
        soak.wait(0.05)
    go_on.set()
    assert soak.state == "went back"
    said = {"raises": "the judge raised ZeroDivisionError: division by zero", "hangs": "hasn't returned within 1 s"}
    assert said[kind] in soak.reason


# ---- data ------------------------------------------------------------------------------------------------------------


COUNTING = """
#include <stdexcept>
static int calls;
extern "C" int work(int x) { %s; return ++calls + 0 * x; }
extern "C" int calls_so_far(void) { return calls; }
"""


def counting(workshop, name: str, wrong: str = ""):
    return workshop.library(name, COUNTING % wrong, suffix=".cc")


def test_going_back_carries_data(workshop, load, clock) -> None:
    module = load(counting(workshop, "one"))
    calls(module.work, 5)
    soak = swapped(module, counting(workshop, "two", 'if (calls >= 10) throw std::runtime_error("x")'))
    calls(module.work, 5)
    assert calls(module.work, 5) == 5
    clock.pass_(0.1)
    assert soak.wait(20) == "went back"
    assert module.calls_so_far() == 10
    assert module.work(1) == 11


def test_one_that_cant_go_back_says_so_and_stays(workshop, load, clock, caplog) -> None:
    module = load(counting(workshop, "one"))
    bad = counting(workshop, "two", 'if (x) throw std::runtime_error("x")')
    soak = swapped(module, bad)
    calls(module.work, 10, 1)

    @midflight.before_swap(module)
    def refuse(_):
        raise RuntimeError("not now")

    with caplog.at_level(logging.ERROR, "midflight"):
        clock.pass_(0.1)
        assert soak.wait(20) == "stuck"
        for thread in threading.enumerate():
            if thread.name == "midflight-soak":
                thread.join(20)
    assert "work fails: 10 of 10 calls" in soak.reason
    assert "going back failed: " in soak.reason
    assert "not now" in soak.reason
    assert control_of(module).need_current().version.number == 2
    assert "couldn't go back" in caplog.text
    assert control_of(module).need_current().table.observer is None


# ---- what else may come ----------------------------------------------------------------------------------------------


def test_another_swap_supersedes_it(module, make, clock, unloading) -> None:
    first = swapped(module, make())
    gone = unloading(midflight.versions(module)[0])
    second = swapped(module, make())
    assert (first.state, first.reason) == ("superseded", "version 3 has taken its place")
    assert gone.wait(20)
    clock.pass_(30)
    assert second.wait(20) == "passed"


def test_so_does_a_rollback_and_an_unload(module, make, soaked) -> None:
    soak = swapped(module, make())
    midflight.rollback(module)
    assert (soak.state, soak.reason) == ("superseded", "version 3 has taken its place")
    soak = swapped(module, make())
    first, current = midflight.versions(module)[-2:]
    assert first.held_by == ("the soak of version 4",)
    midflight.unload(module, timeout=20)
    assert (soak.state, soak.reason) == ("superseded", "the module was unloaded")
    assert current.status == "unloaded"
    assert [type(event).__name__ for event in soaked] == ["Swapped", "Swapped", "Soaked", "Swapped", "Soaked"]


def test_a_swap_that_is_refused_leaves_it_under_way(module, make, clock, workshop) -> None:
    soak = swapped(module, make())
    with pytest.raises(midflight.MidflightError):
        midflight.swap(module, workshop.write("none.so", "nothing"), soak=5)
    assert soak.state == "under way"
    calls(module.work, 40)
    assert soak.stats.new.calls == 40
    clock.pass_(30)
    assert soak.wait(20) == "passed"


def test_nothing_new_is_nothing_to_watch(module, make) -> None:
    report = midflight.swap(module, make.workshop.root / "v1.so", soak=30)
    assert not report.changed
    assert report.soak is None
    assert control_of(module).need_current().table.observer is None


def test_a_refused_swap_leaves_no_observer(module, workshop) -> None:
    with pytest.raises(midflight.MidflightError):
        midflight.swap(module, workshop.write("none.so", "nothing"), soak=5)
    assert control_of(module).need_current().table.observer is None


def test_a_hook_that_fails_after_the_switch_leaves_no_soak(module, make) -> None:
    @midflight.after_swap(module)
    def refuse(_):
        raise RuntimeError("no")

    with pytest.raises(midflight.HookError):
        midflight.swap(module, make(), soak=30)
    assert module.whoami() == 1
    assert control_of(module).need_current().table.observer is None


def test_a_module_that_is_dropped_ends_it(make, load, clock, unloading) -> None:
    module = load(make())
    soak = swapped(module, make())
    first = midflight.versions(module)[0]
    gone = unloading(first)
    del module
    gc.collect()
    clock.pass_(0.1)
    assert soak.wait(20) == "superseded"
    assert gone.wait(20)


def test_drain_is_for_calls_and_not_for_the_soak(module, make, clock) -> None:
    report = midflight.swap(module, make(), soak=30, drain=20.0)
    assert report.stages["drain"] < 10
    assert report.old.status == "draining"
    clock.pass_(30)
    assert report.soak.wait(20) == "passed"


def test_what_was_swapped_together_goes_back_together(make, load, clock) -> None:
    one, two, three = (load(make(), name=name) for name in ("one", "two", "three"))
    with midflight.transaction() as both:
        both.swap(one, make(), soak=30)
        both.swap(two, make(FAILS), soak=30)
        both.swap(three, make())
    first, second, third = both.reports
    assert third.soak is None
    calls(two.work, 20)
    clock.pass_(0.1)
    assert (first.soak.wait(20), second.soak.wait(20)) == ("went back", "went back")
    assert first.soak.reason == second.soak.reason
    assert (one.whoami(), two.whoami(), three.whoami()) == (1, 2, 3)


def test_callers_in_four_threads_see_one_version_each_call(make, load, clock) -> None:
    module = load(make())
    start, stop = threading.Barrier(5), threading.Event()

    def run() -> set[int]:
        seen = set()
        start.wait(20)
        while not stop.is_set():
            seen.add(module.whoami())
            calls(module.work, 5)
        return seen

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(run) for _ in range(4)]
        start.wait(20)
        soak = swapped(module, make(FAILS))
        while soak.wait(0.01) == "under way":
            clock.pass_(0.1)
        stop.set()
        assert all(caller.result(20) <= {1, 2} for caller in callers)
    assert soak.state == "went back"
    assert module.whoami() == 1
