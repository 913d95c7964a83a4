"""Every fact of FACTS.md about calling that the call path rests on.

Would catch: a module that CPython can't specialise, a count of calls that drifts under threads (a version that is
unloaded too early, or never), a function object whose entry changes with a swap.
"""

from __future__ import annotations

import ctypes
import threading
import types

import midflight
from midflight._control import control_of

ADD = "int add(int a, int b) {{ return a + b + {0}; }} int fail(void *p) {{ return p == 0; }}"
THREADS, CALLS = 8, 3000


def versions_of(workshop):
    return [workshop.library(f"a{n}", ADD.format(n)) for n in (0, 1000)]


def test_a_module_is_an_exact_module(workshop):
    module = midflight.load(versions_of(workshop)[0])
    assert type(module) is types.ModuleType
    assert module.__dict__["add"] is module.add  # an attribute of its own, found without __getattr__


def test_the_count_of_calls_is_exact_under_threads(workshop):
    one, two = versions_of(workshop)
    module = midflight.load(one)
    table = control_of(module).current.table
    barrier = threading.Barrier(THREADS + 1)
    wrong = []

    def call():
        barrier.wait()
        for n in range(CALLS):
            if module.add(n, 1) not in {n + 1, n + 1001}:
                wrong.append(n)
            try:
                module.add(n)  # a call that is refused must not be counted either
            except TypeError:
                continue
            wrong.append(n)

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    for n in range(20):
        midflight.swap(module, (two, one)[n % 2])
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (table.inside, table.pins, table.pointers) == (0, 0, 0)
    last = control_of(module).current.table
    assert (last.inside, last.pins, last.pointers) == (0, 0, 0)
    assert {version.status for version in midflight.versions(module)[:-1]} == {"unloaded"}


def slot_of(function: object) -> int:
    """The vectorcall entry of an object, as CPython reads it."""
    offset = ctypes.c_ssize_t.from_address(id(type(function)) + type_offset()).value
    return ctypes.c_void_p.from_address(id(function) + offset).value or 0


def type_offset() -> int:
    """Where tp_vectorcall_offset lies in a type: after the header of a variable object and four words."""
    words = 3 + 4  # refcount, type, size; name, basicsize, itemsize, dealloc
    return words * ctypes.sizeof(ctypes.c_void_p)


def test_a_function_is_one_object_with_one_entry(workshop):
    one, two = versions_of(workshop)
    module = midflight.load(one)
    function, alias = module.add, module.add
    entry = slot_of(function)
    assert entry
    for n in range(10):
        midflight.swap(module, (two, one)[n % 2])
        assert module.add is function
        assert slot_of(function) == entry
    assert alias(1, 2) == 3


def test_holding_and_releasing_the_gil_count_alike(workshop):
    paths = versions_of(workshop)
    for hold in (True, False, ["add"]):
        module = midflight.load(paths[0], hold_gil=hold)
        table = control_of(module).current.table
        assert module.add(1, 1) == 2
        assert table.inside == 0
        assert midflight.unload(module).status == "unloaded"
