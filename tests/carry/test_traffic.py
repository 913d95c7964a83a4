"""Callers who don't stop while data move, a thousand times.

Would catch: a call that works on data which have moved already, an update that is lost with the old version, a caller
that gets an exception, a reader that sees a variable between two versions.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

import midflight

SOURCE = """
#include <stdatomic.h>
#include <midflight.h>
struct counter { FIELDS };
static _Atomic long calls;
static struct counter *counters;
static long table[4];
int start(void) { counters = MF_NEW(struct counter, 4); return counters != 0; }
/* Each thread has its own counter; all have one in common. */
long count(int thread)
{
    calls++;
    counters[thread].count++;
    return ++table[thread];
}
long calls_so_far(void) { return calls; }
long counted(int thread) { return counters[thread].count == table[thread] ? table[thread] : -1; }
int version(void) { return V; }
"""
FIELDS = ("long count;", "double weight; int count; char name[12];")
THREADS = 4
SWAPS = {"here": 1000, "worker": 60}


@pytest.fixture(scope="module")
def libraries(compiled):
    """Two versions: the second one's counters have another layout."""
    return [compiled(SOURCE, f"-DV={number}", f"-DFIELDS={fields}") for number, fields in enumerate(FIELDS, 1)]


class Caller(threading.Thread):
    """Calls without a pause, and notes how often; each answer must be one more than the last."""

    def __init__(self, call, number: int) -> None:
        super().__init__(name=f"caller {number}")
        self.number = number
        self.made = 0
        self.problem: object = None
        self._call = call
        self._end = threading.Event()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                answer = self._call(self.number)
                self.made += 1
                if answer != self.made:
                    self.problem = f"call {self.made} returned {answer}"
                    return
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.problem = error

    def end(self) -> None:
        self._end.set()
        self.join()


@contextmanager
def _calling(callers: list[Caller]):
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        for caller in callers:
            caller.end()


def _swap_often(module, libraries, times: int) -> None:
    for index in range(times):
        report = midflight.swap(module, libraries[(index + 1) % 2], timeout=60)
        assert report.changed
        assert {row.what for row in report.state} <= {"carried", "migrated", "initialised"}, report.state


def test_no_update_is_lost(load, lane, libraries) -> None:
    module = load(libraries[0], workers=THREADS) if lane == "worker" else load(libraries[0])
    assert module.start()
    callers = [Caller(module.count, number) for number in range(THREADS)]
    with _calling(callers):
        _swap_often(module, libraries, SWAPS[lane])
    assert [caller.problem for caller in callers] == [None] * THREADS
    assert [module.counted(number) for number in range(THREADS)] == [caller.made for caller in callers]
    assert module.calls_so_far() == sum(caller.made for caller in callers)
    assert all(caller.made for caller in callers)


def test_variables_are_read_meanwhile(load, lane, libraries) -> None:
    module = load(libraries[0], workers=THREADS) if lane == "worker" else load(libraries[0])
    assert module.start()
    last = 0

    def read(_number: int) -> int:
        """Look at the counter, which only grows; answer what a caller expects."""
        nonlocal last
        now = midflight.variables(module)["calls"]
        assert now >= last, f"{now} after {last}"
        last = now
        return reader.made + 1

    callers = [Caller(module.count, number) for number in range(2)]
    reader = Caller(read, 2)
    with _calling([*callers, reader]):
        _swap_often(module, libraries, SWAPS[lane] // 10)
    assert [caller.problem for caller in (*callers, reader)] == [None] * 3
    assert reader.made > 1
    assert midflight.variables(module)["calls"] == sum(caller.made for caller in callers)


def test_a_refused_move_loses_no_update_either(load, lane, libraries, compiled) -> None:
    module = load(libraries[0], workers=THREADS) if lane == "worker" else load(libraries[0])
    assert module.start()
    narrow = compiled(SOURCE, "-DV=3", "-DFIELDS=_Bool count;")
    callers = [Caller(module.count, number) for number in range(THREADS)]
    with _calling(callers):
        while min(caller.made for caller in callers) < 2:
            pass
        for _ in range(SWAPS[lane] // 10):
            with pytest.raises(midflight.StateError, match="does not fit"):
                midflight.swap(module, narrow, timeout=60)
    assert [caller.problem for caller in callers] == [None] * THREADS
    assert module.calls_so_far() == sum(caller.made for caller in callers)
    assert [module.counted(number) for number in range(THREADS)] == [caller.made for caller in callers]
