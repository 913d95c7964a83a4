"""A candidate's share of the calls before anything is decided.

Would catch: a share that isn't one; a call that is torn between two versions, or waits; a candidate that becomes
current although it did worse, or half of a transaction that does; calls that go to it when all is over; data lost on
the way.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight
from midflight import _core, _retire
from midflight._control import control_of
from tests.core.conftest import ADD, pointer_to_int, result
from tests.soak.conftest import calls

FAILS = 'throw std::runtime_error("it failed")'


@pytest.fixture
def module(make, load):
    return load(make())


def during(work):
    """Return a judge that does something while the candidate has its share, once, and then doesn't mind."""
    done = []

    def judge(_old, _new):
        if not done:
            done.append(work())

    judge.done = done
    return judge


def wait_for_judges() -> None:
    """Wait until no judge runs: a refusal doesn't wait for them."""
    for thread in threading.enumerate():
        if thread.name == "midflight-judge":
            thread.join(20)


# ---- the share -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.05, 0.01])
@pytest.mark.parametrize("threads", [1, 4])
def test_the_share_is_exact_over_many_calls_and_threads(library, share, threads) -> None:
    one, two = (_core.Table(label, [library.binding("add", ADD)]) for label in "12")
    cell = _core.Cell("lib", one)
    function = _core.Function(cell, 0, "add")
    two.observer = _core.Observer()
    canary = _core.Canary(cell, two, share)
    start, count = threading.Barrier(threads), 10_000

    def run() -> None:
        start.wait(20)
        for i in range(count):
            assert function(i, 1) == i + 1

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(run) for _ in range(threads)]:
            future.result(60)
    assert abs(canary.given - share * count * threads) < 4, "low discrepancy: no more than that ever"
    assert two.observer.figures()[0][0] == canary.given
    canary.end()
    assert function(1, 1) == 2
    assert two.observer.figures()[0][0] == canary.given


def test_the_choice_falls_in_step_with_nothing(library) -> None:
    """A program that calls one function with two kinds of work in turn gives the candidate both kinds."""
    one, two = (_core.Table(label, [library.binding("add", ADD)]) for label in "12")
    cell = _core.Cell("lib", one)
    function = _core.Function(cell, 0, "add")
    canary = _core.Canary(cell, two, 0.5)
    given = [0, 0]
    for i in range(1_000):
        before = canary.given
        function(i, 0)
        given[i % 2] += canary.given - before
    assert abs(given[0] - 250) < 10
    assert abs(given[1] - 250) < 10


@pytest.mark.parametrize("options", [{"canary": -0.1}, {"canary": 1.1}, {"canary": True}, {"canary": "half"}])
def test_a_share_that_is_none_is_refused(module, make, options) -> None:
    with pytest.raises(midflight.SourceError, match="canary="):
        midflight.swap(module, make(), soak=1, **options)
    assert module.whoami() == 1


def test_a_share_without_a_time_is_refused(module, make) -> None:
    with pytest.raises(midflight.SourceError, match="give soak= too"):
        midflight.swap(module, make(), canary=0.5)


def test_what_cant_be_shared(library) -> None:
    one, two = (_core.Table(label, [library.binding("add", ADD)]) for label in "12")
    cell = _core.Cell("lib", one)
    canary = _core.Canary(cell, two, 0.5)
    with pytest.raises(ValueError, match="already"):
        _core.Canary(cell, two, 0.5)
    canary.end()
    canary.end()
    with pytest.raises(ValueError, match="no version"):
        _core.Canary(cell, one, 0.5)
    cell.end("it is over")
    with pytest.raises(ValueError, match="no version"):
        _core.Canary(cell, two, 0.5)
    with pytest.raises(TypeError):
        _core.Canary(cell, None, 0.5)


def test_a_canary_that_is_dropped_with_its_cell_is_collected(library) -> None:
    function, _table = library.function("add", ADD)
    _core.Canary(function._cell, _core.Table("2", []), 0.5)
    assert function(1, 2) == 3


# ---- all or nothing --------------------------------------------------------------------------------------------------


def test_a_good_candidate_becomes_current(module, make, unloading) -> None:
    seen = during(lambda: [module.whoami() for _ in range(400)])
    gone = unloading(midflight.versions(module)[0])
    report = midflight.swap(module, make(), soak=0.05, canary=0.25, judge=seen)
    (answers,) = seen.done
    assert abs(answers.count(2) - 100) < 4
    assert answers.count(1) + answers.count(2) == 400
    assert [module.whoami() for _ in range(50)] == [2] * 50
    assert report.soak.state == "passed"
    assert report.soak.stats.new.calls == answers.count(2)
    assert report.stages["canary"] >= 0.05
    assert list(report.stages).index("canary") < list(report.stages).index("switch")
    assert gone.wait(20)
    assert control_of(module).need_current().table.observer is None


def test_a_bad_one_is_refused_and_nothing_has_changed(module, make) -> None:
    seen = during(lambda: calls(module.work, 400))
    with pytest.raises(midflight.SoakError) as caught:
        midflight.swap(module, make(FAILS), soak=60, canary=0.25, judge=seen)
    error = caught.value
    assert error.stage == "canary"
    assert error.findings[0].startswith("work fails: ")
    assert "version 2 did worse with 0.25 of the calls: work fails: " in str(error)
    assert "version 1 of v1 goes on running" in str(error)
    assert calls(module.work, 100) == 0
    assert module.whoami() == 1
    wait_for_judges()
    _retire.settle()
    assert {version.status for version in midflight.versions(module)[1:]} <= {"unloaded"}
    assert control_of(module).need_current().table.observer is None
    assert midflight.swap(module, make()).changed


def test_a_judge_may_refuse_it_too(module, make) -> None:
    with pytest.raises(midflight.SoakError, match="not today") as caught:
        midflight.swap(module, make(), soak=60, canary=0.5, judge=lambda _old, _new: "not today")
    assert caught.value.findings == ("not today",)


def test_a_candidate_that_crashes_is_refused_at_once(make) -> None:
    module = midflight.load(make(), lane="worker")
    seen = during(lambda: calls(module.work, 50))
    with pytest.raises(midflight.SoakError, match="work has crashed"):
        midflight.swap(module, make("*(volatile int *)8 = 1"), soak=60, canary=0.1, judge=seen)
    assert calls(module.work, 50) == 0
    assert module.whoami() == 1


def test_so_is_one_whose_crash_is_raised(make) -> None:
    module = midflight.load(make(), on_crash="raise")

    def work():
        with pytest.raises(midflight.ModuleCrashed, match="had a share of the calls only, and is refused") as caught:
            module.work(20)
        return caught.value.backtrace

    seen = during(work)
    with pytest.raises(midflight.SoakError, match="work has crashed"):
        midflight.swap(module, make("if (x == 20) *(volatile int *)8 = 1"), soak=60, canary=1.0, judge=seen)
    wait_for_judges()
    assert seen.done[0][0].startswith("work (")
    assert calls(module.work, 50) == 0
    assert module.whoami() == 1


def test_several_modules_together_or_none(make, load) -> None:
    one, two = load(make(), name="one"), load(make(), name="two")

    answers = []

    def both() -> None:
        answers.append({one.whoami() for _ in range(100)})
        calls(two.work, 200)

    seen = during(both)
    with pytest.raises(midflight.SoakError), midflight.transaction() as t:
        t.swap(one, make(), soak=60, canary=0.5, judge=seen)
        t.swap(two, make(FAILS), soak=60, canary=0.5)
    assert answers == [{1, 3}]
    assert (one.whoami(), two.whoami()) == (1, 2)
    with midflight.transaction() as t:
        t.swap(one, make(), soak=0.05, canary=0.5)
        t.swap(two, make())
    assert (one.whoami(), two.whoami()) == (5, 6)


def test_what_ends_the_swap_ends_the_share(module, make, monkeypatch) -> None:
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        midflight.swap(module, make(), soak=60, canary=0.5)
    monkeypatch.undo()
    assert {module.whoami() for _ in range(50)} == {1}
    assert control_of(module).need_current().table.observer is None


def test_a_program_that_called_nothing_has_no_evidence(module, make) -> None:
    report = midflight.swap(module, make(), soak=0.05, canary=0.5)
    assert report.soak.notes == ("the new version wasn't called, so nothing is known of it",)
    assert module.whoami() == 2


# ---- what goes where -------------------------------------------------------------------------------------------------


def test_nobody_waits_meanwhile(module, make) -> None:
    """Calls that meet the window end before it does."""
    seen = during(lambda: [ThreadPoolExecutor(1).submit(module.whoami).result(20) for _ in range(5)])
    midflight.swap(module, make(), soak=0.05, canary=0.5, judge=seen)
    assert len(seen.done[0]) == 5


def test_a_pin_holds_its_version(module, make) -> None:
    with midflight.pin(module) as pinned:
        seen = during(lambda: {pinned.whoami() for _ in range(100)})
        midflight.swap(module, make(), soak=0.05, canary=0.9, judge=seen)
        assert seen.done == [{1}]
        assert pinned.whoami() == 1


def test_a_call_from_inside_stays_where_it_is(module, make) -> None:
    """A version and what it calls back into are one."""

    def inside(_x) -> int:
        return module.whoami()

    seen = during(lambda: {(module.call(inside, 0), module.call(inside, 0)) for _ in range(100)})
    midflight.swap(module, make(), soak=0.05, canary=0.5, judge=seen)
    answers = seen.done[0]
    assert {one for pair in answers for one in pair} == {1, 2}

    def both(_x) -> int:
        return module.call(inside, 0) * 10 + module.whoami()

    seen = during(lambda: {module.call(both, 0) for _ in range(100)})
    midflight.swap(module, make(), soak=0.05, canary=0.5, judge=seen)
    assert seen.done == [{22, 33}]


def test_a_stable_pointer_follows_the_current_version(make) -> None:
    module = midflight.load(make())
    pointer = midflight.pointer(module.whoami)
    seen = during(lambda: {pointer() for _ in range(50)})
    midflight.swap(module, make(), soak=0.05, canary=0.9, judge=seen)
    assert seen.done == [{1}]
    assert pointer() == 2


def test_a_pointer_is_taken_where_it_comes_from(library) -> None:
    """In a worker it would be one into another process."""
    back = result("pointer", None, "int32")
    bindings = [library.binding("place", (), back), library.binding("first", [pointer_to_int("p", const=True)])]
    one, two = _core.Table("1", bindings), _core.Table("2", bindings)
    cell = _core.Cell("lib", one)
    place, first = _core.Function(cell, 0, "place"), _core.Function(cell, 1, "first")
    one.observer, two.observer = _core.Observer(), _core.Observer()
    canary = _core.Canary(cell, two, 0.5)
    pointers = [place() for _ in range(20)]
    given = two.observer.figures()[0][0]
    for pointer in pointers:
        first(pointer)
        first(p=pointer)
    assert 0 < given < 20
    assert two.observer.figures()[1][0] == 2 * given
    assert one.observer.figures()[1][0] == 2 * (20 - given)
    canary.end()


def test_a_function_that_only_one_has_runs_there(workshop, load) -> None:
    one = workshop.library("one", "int same(void) { return 1; }\nint gone(void) { return 1; }")
    two = workshop.library("two", "int same(void) { return 2; }\nint added(void) { return 2; }")
    module = load(one)

    def look():
        return {module.same() for _ in range(50)}, {module.gone() for _ in range(50)}, hasattr(module, "added")

    seen = during(look)
    midflight.swap(module, two, compat="any", soak=0.05, canary=0.5, judge=seen)
    assert seen.done == [({1, 2}, {1}, False)]
    assert module.added() == 2


# ---- data ------------------------------------------------------------------------------------------------------------

COUNTING = "static int calls;\nint count(void) { return ++calls; }\nint version(void) { return %d; }"


def test_two_versions_cant_both_write_data_that_are_carried(workshop, load) -> None:
    module = load(workshop.library("one", COUNTING % 1))
    module.count()
    with pytest.raises(midflight.SwapError, match="each with data of its own") as caught:
        midflight.swap(module, workshop.library("two", COUNTING % 2), soak=5, canary=0.1)
    assert caught.value.stage == "canary"
    assert caught.value.todo == "give carry='fresh', or soak= without canary="
    assert "version 1 of one goes on running" in str(caught.value)
    assert module.count() == 2


def test_with_fresh_data_they_may(workshop, load) -> None:
    module = load(workshop.library("one", COUNTING % 1))
    assert [module.count(), module.count()] == [1, 2]
    seen = during(lambda: [module.count() for _ in range(100)])
    midflight.swap(module, workshop.library("two", COUNTING % 2), soak=0.05, canary=0.5, carry="fresh", judge=seen)
    assert min(seen.done[0]) == 1, "the candidate counts for itself"
    assert module.count() == 100 - max(seen.done[0]) + 3, "and goes on from there"


def test_blocks_that_outlive_versions_are_refused_whatever_was_said(workshop, load) -> None:
    source = "struct point { int x; };\nint get(struct point *p) { return p->x; }\nint version(void) { return %d; }"
    module = load(workshop.library("one", source % 1))
    block = midflight.new(module, "struct point")
    with pytest.raises(midflight.SwapError) as caught:
        midflight.swap(module, workshop.library("two", source % 2), soak=5, canary=0.1, carry="fresh")
    assert caught.value.todo == "use soak= without canary="
    assert module.get(block) == 0
