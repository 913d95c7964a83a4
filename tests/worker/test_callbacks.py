"""Callbacks from a worker into this process.

Would catch: an argument in the wrong register, memory that isn't brought over or back, an exception that is lost, two
threads that wait for each other, a callback of a worker that is gone.
"""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import midflight
from midflight import ArgumentTypeError, WorkerCrashedError, WorkerError
from tests.worker.conftest import pid_of, workers


def test_numbers_in_all_registers_and_on_the_stack(lib) -> None:
    got = []
    assert lib.wide(lambda *values: got.extend(values) or sum(values)) == sum(range(1, 17)) + 17.5
    assert got == [*range(1, 17), 17.5]


def test_an_exception_is_raised_by_the_call(lib) -> None:
    def fail(_: int) -> int:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        lib.apply(fail, 1)
    with pytest.raises(midflight.ArgumentRangeError):
        lib.apply(lambda _: 2**40, 1)
    with pytest.raises(ZeroDivisionError):
        lib.nest(lambda n: lib.nest(lambda _: 1 // 0, 1) if n == 0 else 0, 1)
    assert lib.apply(lambda x: x, 1) == 2


@pytest.mark.parametrize("size", [0, 1, 4095, 100_000, 5_000_000])
def test_text_comes_whole(lib, size) -> None:
    got = []
    assert lib.tell(lambda text, number: got.append((text, number)) or 3, size) == 3
    assert got == [("y" * size, 0.5)]


def test_structs_are_copied_back_unless_const(lib) -> None:
    def change(point) -> None:
        point.contents.x += 4
        point.contents.n = 9

    assert lib.through(change) == 509
    assert lib.look(lambda point, n: point.contents.x * n, 3) == 9
    assert lib.through_null(bool) == 1


def test_what_was_passed_to_the_call_is_seen_whole(lib) -> None:
    items = np.arange(100, dtype=np.int32)
    for memory in (items, midflight.shared_array(100, np.int32)):
        memory[:] = items
        assert lib.each(memory, 100, lambda first, count: sum(first[:count])) == sum(range(100))


def test_nested_calls_and_their_data(lib) -> None:
    def down(n: int) -> int:
        before = np.full(1000, float(n))
        result = lib.nest(down, n)
        assert lib.sum(before, 1000) == 1000 * n
        assert lib.long_text(n * 1000) == "x" * n * 1000
        return result

    assert lib.nest(down, 10) == 10


def test_threads_of_the_librarys_own(lib) -> None:
    seen = set()

    def function(x: int) -> int:
        seen.add(threading.current_thread().name)
        return lib.add(x, 0) * 2

    expected = sum(2 * (thread * 100 + i) for thread in range(4) for i in range(20))
    assert lib.apply_in_threads(function, 4) == expected
    assert seen == {"midflight-callbacks"}
    assert lib.apply_in_threads(function, 4) == expected


def test_an_exception_in_a_thread_of_the_librarys_own_is_logged(lib, caplog) -> None:
    assert lib.apply_in_threads(lambda _: 1 // 0, 1) == 0
    assert "a callback that native code called on its own failed" in caplog.text
    caplog.clear()  # it keeps the exception, and that keeps the module


def test_many_threads_with_callbacks_of_their_own(start) -> None:
    """Each gives new functions, while others hold all slots: nobody waits for somebody who waits for him."""
    lib = start(workers=2)

    def run(thread: int) -> int:
        total = 0
        for turn in range(20):
            total += lib.apply(lambda x, turn=turn: lib.apply(lambda y: y + turn, x), thread)
        return total

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run, range(6))) == [20 * thread + sum(range(20)) + 40 for thread in range(6)]


def test_a_kept_callback(lib) -> None:
    lib.keep(lambda x: x * 3)
    assert lib.call_kept(5) == 15


def test_a_kept_callback_is_gone_with_its_worker(lib) -> None:
    """The fresh worker knows of none; and the same function gets a fresh pointer."""

    def function(x: int) -> int:
        return x * 3

    lib.keep(function)
    with pytest.raises(WorkerCrashedError):
        lib.crash(None)
    assert lib.call_kept(5) == -1
    lib.keep(function)
    assert lib.call_kept(5) == 15
    assert lib.apply_in_threads(function, 1) == 3 * sum(range(20))


def test_many_different_callbacks(lib) -> None:
    functions = [lambda x, by=by: x + by for by in range(1024)]
    for by, function in enumerate(functions):
        assert lib.apply(function, 0) == by + 1
    assert lib.apply(functions[0], 0) == 1
    before = pid_of(lib)
    with pytest.raises(WorkerError, match="1024 different callbacks"):
        lib.apply(lambda x: x, 0)
    assert lib.apply(functions[1023], 0) == 1024
    assert pid_of(lib) == before


def test_pointers_as_results(lib) -> None:
    points = [lib.make_point(1.5, 2)]
    assert lib.with_pointer(lambda _: points[0], None) == points[0]
    points.clear()  # the version keeps the callback, and a pointer would keep the version
    assert lib.with_pointer(lambda _: None, None) is None
    number = ctypes.c_int(5)
    for wrong in (number, ctypes.pointer(number), ctypes.c_void_p(4096)):
        with pytest.raises(ArgumentTypeError, match="where a pointer is expected"):
            lib.with_pointer(lambda _, wrong=wrong: wrong, None)


def test_a_pointer_to_a_pointer_is_an_address(lib) -> None:
    """What ctypes would read through it isn't in this process."""
    assert lib.deref(lambda pointer: isinstance(pointer, int)) == 1


def test_a_callback_that_swaps_and_one_that_unloads(lib, library) -> None:
    def swap(_: int) -> int:
        library.write_text(library.read_text() + "\nint more;\n")
        midflight.swap(lib, carry="fresh")
        return lib.add(20, 20)

    assert lib.apply(swap, 1) == 41
    assert lib.apply(lambda _: midflight.unload(lib).number, 1) == 3
    assert midflight.versions(lib)[-1].status == "unloaded"
    assert workers() == []
