"""Objects that a library makes, as a Python class.

Would catch: an object that is freed twice, never, or after its module's end; an instance that goes on with the old
place of an object that has moved, or with a version that is gone; functions that are taken for methods and aren't.
"""

from __future__ import annotations

import gc
import inspect
import threading

import pytest

import midflight
from midflight import (
    ArgumentTypeError,
    InterfaceError,
    MissingFunction,
    StateError,
    UnloadedError,
    WorkerCrashedError,
    _core,
)

COUNTER = """
#include <midflight.h>
#include <stdlib.h>
typedef struct counter { %s long n; } counter;
static long alive;
counter *new_counter(long start) { counter *c = MF_NEW(counter, 1); c->n = start; alive++; return start < 0 ? 0 : c; }
long counter_add(counter *self, long by) { return self->n += by * %d; }
int counter_same(const counter *self, const counter *other) { return self == other; }
void free_counter(counter *self) { alive--; MF_FREE(self); }
long living(void) { return alive; }
int counter_limit(void) { return 5; }
void crash(void) { abort(); }
"""


@pytest.fixture
def counters(swapping):
    return swapping(COUNTER % ("", 1))


def test_one_line_makes_a_class(counters) -> None:
    counter = midflight.wrap(counters, "counter")
    assert counter.__name__ == "Counter"
    assert sorted(name for name in vars(counter) if not name.startswith("_")) == ["add", "same"]
    assert list(inspect.signature(counter).parameters) == ["start"]
    assert list(inspect.signature(counter.add).parameters) == ["self", "by"]
    assert "counter_add" in counter.add.__doc__
    one, other = counter(5), counter(start=7)
    assert (one.add(2), one.add(by=3), other.add(1)) == (7, 10, 8)
    assert one.same(one)
    assert not one.same(other)


def test_it_is_freed_once(counters) -> None:
    counter = midflight.wrap(counters, "counter")
    one = counter(1)
    assert counters.living() == 1
    one.free()
    one.free()
    assert counters.living() == 0
    with pytest.raises(UnloadedError, match="has been freed"):
        one.add(1)
    with counter(1):
        assert counters.living() == 1
    del one
    gc.collect()
    assert counters.living() == 0
    cycle = [counter(1)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert counters.living() == 0


def test_four_threads_free_it_once(counters) -> None:
    counter = midflight.wrap(counters, "counter")
    for _ in range(50):
        one, start = counter(1), threading.Barrier(4)
        threads = [threading.Thread(target=lambda one=one, start=start: start.wait() and one.free()) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.free()
    assert counters.living() == 0


def test_it_is_not_freed_after_the_end(counters) -> None:
    one = midflight.wrap(counters, "counter")(1)
    midflight.unload(counters)
    with pytest.raises(UnloadedError):
        one.add(1)
    one.free()
    del one
    gc.collect()


def test_what_could_not_be_made(counters) -> None:
    counter = midflight.wrap(counters, "counter")
    with pytest.raises(midflight.MidflightError, match="returned a null pointer"):
        counter(-1)


def test_types_are_checked(build, counters) -> None:
    counter = midflight.wrap(counters, "counter")
    with pytest.raises(ArgumentTypeError, match="is a method of Counter"):
        counter.add(3, 4)
    with pytest.raises(ArgumentTypeError):
        counter(1).same(3)
    points = build("""
    #include <stdlib.h>
    typedef struct point { int x; } point;
    point *point_create(void) { return calloc(1, sizeof(point)); }
    void point_destroy(point *p) { free(p); }
    """)
    with pytest.raises(ArgumentTypeError, match=r"a pointer (of type|into the memory of another worker)"):
        counter(1).same(midflight.wrap(points, "point")())


# ---- swaps


def test_instances_follow_their_objects(counters, swapping) -> None:
    counter = midflight.wrap(counters, "counter")
    one = counter(5)
    swapping(COUNTER % ("", 10))
    assert one.add(1) == 15
    swapping(COUNTER % ("double more[4];", 100), compat="any")
    assert one.add(1) == 115
    assert one.same(one)
    assert counters.living() == 1
    later = counter(1)
    assert not one.same(later)
    assert [version.status for version in midflight.versions(counters)] == ["unloaded", "unloaded", "current"]
    midflight.rollback(counters)
    assert one.add(1) == 125
    one.free()
    later.free()
    assert counters.living() == 0


def test_a_call_right_after_the_switch_finds_its_object(counters, swapping, monkeypatch) -> None:
    one = midflight.wrap(counters, "counter")(5)
    block = midflight.new(counters, "counter", 1)
    counters.counter_add(block, 3)
    switch, found = _core.switch, []

    def switch_and_call(pairs) -> None:
        switch(pairs)
        found.extend((one.add(1), counters.counter_add(block, 1)))

    monkeypatch.setattr(_core, "switch", switch_and_call)
    swapping(COUNTER % ("double more[4];", 1), compat="any")
    assert found == [6, 4]
    assert (one.add(1), counters.counter_add(block, 1)) == (7, 5)


def test_no_call_is_lost_while_objects_move(counters, swapping) -> None:
    """Four threads add to one object, which moves with each swap."""
    one = midflight.wrap(counters, "counter")(0)
    lock, stop = threading.Lock(), threading.Event()
    calls = [0]

    def work() -> None:
        while not stop.is_set():
            with lock:  # the library's own += isn't atomic
                one.add(1)
                calls[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 9):
        swapping(COUNTER % (f"double more[{number}];", 1), compat="any")
    stop.set()
    for thread in threads:
        thread.join()
    assert one.add(0) == calls[0]


def test_new_objects_while_objects_move(counters, swapping) -> None:
    counter = midflight.wrap(counters, "counter")
    stop, wrong = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            with counter(20) as one:
                value = one.add(1)
                if value != 21:
                    wrong.append(value)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 7):
        swapping(COUNTER % (f"double more[{number}];", 1), compat="any")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert counters.living() == 0


def test_kept_instances_stay_with_their_version(counters, swapping) -> None:
    counter = midflight.wrap(counters, "counter", objects="keep")
    one = counter(5)
    swapping(COUNTER % ("", 10))
    two = counter(5)
    assert (one.add(1), two.add(1)) == (6, 15)
    assert midflight.versions(counters)[0].status == "draining"
    one.free()
    with pytest.raises(UnloadedError):
        one.add(1)
    midflight._retire.settle()
    assert midflight.versions(counters)[0].status == "unloaded"


def test_started_afresh_there_are_no_instances(counters, swapping) -> None:
    one = midflight.wrap(counters, "counter")(5)
    swapping(COUNTER % ("", 10), carry="fresh")
    with pytest.raises(UnloadedError, match="afresh"):
        one.add(1)
    one.free()
    assert counters.living() == 0


PLAIN = """
#include <stdlib.h>
typedef struct box { %s int n; } box;
box *box_new(void) { return calloc(1, sizeof(box)); }
int box_put(box *self, int n) { self->n = n; return n; }
int box_get(box *self) { return self->n %s; }
void box_free(box *self) { free(self); }
"""


@pytest.mark.here_only("the old worker's own memory ends with it")
def test_ordinary_memory_may_stay_if_its_type_does(swapping) -> None:
    module = swapping(PLAIN % ("", ""))
    box = midflight.wrap(module, "box")()
    box.put(7)
    swapping(PLAIN % ("", "+ 1"))
    assert box.get() == 8
    with pytest.raises(StateError, match=r"lib\.box at 0x\w+ points to memory that isn't a typed block"):
        swapping(PLAIN % ("double more;", ""), compat="any")
    assert box.get() == 8
    box.free()
    swapping(PLAIN % ("double more;", ""), compat="any")


def test_a_worker_that_has_crashed(tmp_path) -> None:
    (tmp_path / "counters.c").write_text(COUNTER % ("", 1) + PLAIN % ("", ""))
    counters = midflight.load(tmp_path / "counters.c", lane="worker")
    one, box = midflight.wrap(counters, "counter")(5), midflight.wrap(counters, "box")()
    with pytest.raises(WorkerCrashedError):
        counters.crash()
    for gone in (lambda: one.add(1), box.get):
        with pytest.raises(ArgumentTypeError, match="one that has ended"):
            gone()
    one.free()
    box.free()
    assert midflight.wrap(counters, "counter")(5).add(1) == 6


# ---- finding the functions


def test_functions_are_named_explicitly(build) -> None:
    module = build("""
    #include <stdlib.h>
    struct thing { int n; };
    struct thing *acquire(int n) { struct thing *t = malloc(sizeof *t); t->n = n; return t; }
    int look(struct thing *t) { return t->n; }
    void drop(struct thing *t) { free(t); }
    int other(int x) { return x; }
    """)
    thing = midflight.wrap(module, "thing", new="acquire", free="drop", methods={"value": "look"})
    with thing(3) as one:
        assert one.value() == 3
    assert midflight.wrap(module, "thing", new="acquire", free="drop", methods=["look"])(4).look() == 4
    with pytest.raises(InterfaceError, match="other doesn't take what acquire returns"):
        midflight.wrap(module, "thing", new="acquire", methods=["other"])
    with pytest.raises(InterfaceError, match="doesn't return a pointer"):
        midflight.wrap(module, "thing", new="other")
    with pytest.raises(MissingFunction, match="no function makes a thing"):
        midflight.wrap(module, "thing")
    with pytest.raises(MissingFunction, match="there is no function nothing"):
        midflight.wrap(module, "thing", new="acquire", free="nothing")
    with pytest.raises(InterfaceError, match="neither 'move' nor 'keep'"):
        midflight.wrap(module, "thing", new="acquire", objects="stay")
