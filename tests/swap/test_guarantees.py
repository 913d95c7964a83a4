"""DESIGN.md's guarantees under threads.

Would catch: a call that mixes two versions, a call that starts in an old version after swap has returned, a version
that is unloaded under a call, a count of calls that goes wrong.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight
from tests.lanes import is_there

SWAPS = 150
CALLERS = 4


class Record:
    """Which versions may answer: a caller notes what was current before its call, the swapper what it began."""

    def __init__(self, first: int) -> None:
        self.sequence = [first]  # the number that each step made current
        self.done = 0  # index of the last step that has returned
        self.stop = False

    def allowed(self, since: int) -> set[int]:
        """Numbers that were current at some time since step ``since``, or may be by now."""
        return set(self.sequence[since:])


def _call_until_stopped(module, record: Record, start: threading.Barrier) -> list[str]:
    wrong = []
    first, second = ctypes.c_long(), ctypes.c_long()
    start.wait()
    while not record.stop:
        since = record.done
        answer = module.whoami()
        if answer not in record.allowed(since):
            wrong.append(f"{answer} answered, allowed were {record.allowed(since)}")
        if not module.whole(first, second):
            wrong.append(f"halves of two versions: {first.value} and {second.value}")
    return wrong


def _swap_and_roll_back(module, record: Record, numbered, start: threading.Barrier) -> None:
    numbers = itertools.count(100)
    history = [record.sequence[0]]
    start.wait()
    for step in range(SWAPS):
        back = step % 5 == 4
        number = history[-2] if back else next(numbers)
        record.sequence.append(number)  # from here on it may answer
        if back:
            midflight.rollback(module)
            history.pop()
        else:
            midflight.swap(module, numbered.make(number))
            history.append(number)
        record.done = len(record.sequence) - 1  # from here on nothing older may
    record.stop = True


@pytest.fixture
def eager_threads():
    """Let CPython switch threads often: more interleavings in less time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("hold_gil", [False, True])
def test_every_call_runs_in_one_version_that_was_current(numbered, hold_gil: bool, load) -> None:
    module = load(numbered.make(1), name="stress", hold_gil=hold_gil, workers=2)
    record = Record(1)
    start = threading.Barrier(CALLERS + 1)
    with ThreadPoolExecutor(CALLERS + 1) as pool:
        callers = [pool.submit(_call_until_stopped, module, record, start) for _ in range(CALLERS)]
        try:
            _swap_and_roll_back(module, record, numbered, start)
        finally:
            record.stop = True
        assert [wrong for caller in callers for wrong in caller.result()] == []
    assert _not_unloaded(module) == [module_version(module)]
    assert midflight.versions(module)[-1].number == SWAPS + 1


def module_version(module) -> int:
    return midflight.versions(module)[-1].number


def _not_unloaded(module) -> list[int]:
    return [version.number for version in midflight.versions(module) if version.status != "unloaded"]


def test_a_long_call_ends_in_its_version_which_is_unloaded_only_then(numbered, gate, load) -> None:
    module = load(numbered.make(1), name="lingering")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(module.linger, gate.begun, gate.end)
        gate.wait_begun()
        report = midflight.swap(module, numbered.make(2))
        assert module.whoami() == 2
        assert report.old.status == "draining"
        assert report.old.held_by == ("1 call",)
        old_path = report.old.path
        assert is_there(old_path)
        gate.let_end()
        assert call.result() == 1
    assert [version.status for version in midflight.versions(module)] == ["unloaded", "current"]
    assert not is_there(old_path)


def test_the_background_thread_unloads_without_being_asked(numbered, gate, unloading, load) -> None:
    module = load(numbered.make(1), name="background")
    unloaded = unloading(midflight.versions(module)[0])
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(module.linger, gate.begun, gate.end)
        gate.wait_begun()
        report = midflight.swap(module, numbered.make(2))
        assert not unloaded.is_set()
        gate.let_end()
        assert call.result() == 1
        assert unloaded.wait(60)
    assert report.old.status == "unloaded"


def test_drain_waits_for_calls_under_way(numbered, gate, load) -> None:
    module = load(numbered.make(1), name="drained", workers=2)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(module.linger, gate.begun, gate.end)
        gate.wait_begun()
        swapped = pool.submit(midflight.swap, module, numbered.make(2), drain=60)
        while module.whoami() != 2:  # the switch comes before the drain
            pass
        assert not swapped.done()
        gate.let_end()
        assert call.result() == 1
        assert swapped.result().old.status == "unloaded"


def test_a_drain_that_times_out_leaves_the_version_draining(numbered, gate, load) -> None:
    module = load(numbered.make(1), name="timed")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(module.linger, gate.begun, gate.end)
        gate.wait_begun()
        report = midflight.swap(module, numbered.make(2), drain=0.01)
        assert report.old.status == "draining"
        assert module.whoami() == 2
        gate.let_end()
        assert call.result() == 1


def test_swaps_of_one_module_from_many_threads_queue_up(numbered, load) -> None:
    module = load(numbered.make(0), name="queued")
    start = threading.Barrier(CALLERS)

    def swap_many(thread: int) -> list[int]:
        start.wait()
        numbers = range(thread * 100 + 1, thread * 100 + 21)
        return [midflight.swap(module, numbered.make(number)).new.number for number in numbers]

    with ThreadPoolExecutor(CALLERS) as pool:
        given = [number for numbers in pool.map(swap_many, range(CALLERS)) for number in numbers]
    assert sorted(given) == list(range(2, 20 * CALLERS + 2))
    assert _not_unloaded(module) == [20 * CALLERS + 1]
    assert is_there(midflight.versions(module)[-1].path)


def test_a_swap_from_inside_a_callback(numbered, load) -> None:
    module = load(numbered.make(1), name="inside")
    reports = []

    def swap_me() -> int:
        reports.append(midflight.swap(module, numbered.make(2)))
        return module.whoami()

    assert module.call_back(swap_me) == 1002  # the outer call ends in version 1, the inner one is in 2
    assert reports[0].old.status == "unloaded" or midflight.versions(module)[0].status == "unloaded"
    assert module.call_back(module.whoami) == 2002


def test_a_swap_from_inside_that_would_wait_for_its_own_call_is_refused(numbered, load) -> None:
    module = load(numbered.make(1), name="deadlock")

    def swap_me() -> int:
        midflight.swap(module, numbered.make(2), drain=5)
        return 0

    with pytest.raises(midflight.SwapInsideError, match="from inside a call"):
        module.call_back(swap_me)
    assert module.whoami() == 1
