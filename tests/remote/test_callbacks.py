"""Catches Python functions that another process calls wrongly, in the wrong thread, or whose exceptions get lost."""

from __future__ import annotations

import ctypes
import logging
import threading

import pytest

import midflight
from midflight import ArgumentRangeError, ArgumentTypeError


def test_called_back_during_the_call_in_the_same_thread(lib):
    threads = []

    def function(a, b):
        threads.append(threading.current_thread())
        return a * b

    assert lib.apply(function, 6, 7) == 42
    assert threads == [threading.current_thread()]
    assert lib.apply(None, 1, 2) == -999
    assert lib.apply(max, 3, 9) == 9


def test_many_times_in_order(lib):
    got = []
    lib.each(got.append, 500)
    assert got == list(range(500))


def test_exceptions_are_the_same_objects(lib):
    error = ZeroDivisionError("mine")

    def fail(_a, _b):
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        lib.apply(fail, 1, 2)
    assert caught.value is error
    with pytest.raises(KeyboardInterrupt):
        lib.apply(lambda _a, _b: (_ for _ in ()).throw(KeyboardInterrupt()), 1, 2)
    assert lib.add(1, 2) == 3


def test_the_first_exception_wins(lib):
    def fail(index):
        raise ValueError(index)

    with pytest.raises(ValueError, match="0"):
        lib.each(fail, 5)


def test_calls_from_inside_callbacks(lib):
    def down(n, _):
        return 0 if n == 0 else 1 + lib.apply(down, n - 1, 0)

    assert lib.apply(down, 30, 0) == 30

    def fail(n, _):
        if n == 0:
            raise LookupError("at the bottom")
        return lib.apply(fail, n - 1, 0)

    with pytest.raises(LookupError, match="at the bottom"):
        lib.apply(fail, 5, 0)


def test_what_a_callback_returns_is_checked_as_here(lib):
    with pytest.raises(ArgumentRangeError, match="doesn't fit int"):
        lib.apply(lambda _a, _b: 2**31, 1, 2)
    with pytest.raises(ArgumentTypeError, match="returned str where int is expected"):
        lib.apply(lambda _a, _b: "x", 1, 2)
    with pytest.raises(ArgumentTypeError, match="something that can be called"):
        lib.apply(3, 1, 2)
    assert lib.number(lambda: 2) == 2.0


def test_structs_and_enums_and_text(lib):
    types = midflight.types(lib)

    def change(pointer):
        pointer.contents.x += 1
        pointer[0].y = 10
        with pytest.raises(ArgumentTypeError, match="beside it"):
            pointer[1]

    assert lib.use_point(change, 1, 2.0) == 12.0
    got = []

    def see(point, color):
        got.append((point.x, point.y, color))
        return 1.5

    assert lib.see_value(see, 3) == 1.5
    assert got == [(3, 0.5, types.color.BLUE)]
    assert got[0][2] is types.color.BLUE
    assert lib.recolor(lambda color: types.color.BLUE if color is types.color.RED else 0) == 4
    texts = []
    assert lib.label(texts.append) == "done"
    assert texts == ["label ü"]


def test_opaque_pointers_go_through(lib):
    corner = lib.corner()
    seen = []

    def function(data):
        seen.append(data)
        return data

    result = lib.through(function, corner)
    assert lib.x_of(result) == 7
    assert lib.x_of(seen[0]) == 7
    assert lib.through(lambda _data: None, None) is None
    with pytest.raises(ArgumentTypeError, match="pointer of the other process"):
        lib.through(lambda _data: 1234, corner)
    with pytest.raises(ArgumentTypeError, match="pointer of the other process"):
        lib.through(lambda _data: ctypes.c_int(1), corner)


def test_a_callable_that_the_library_keeps(lib):
    def function(a, b):
        return 10 * a + b

    lib.keep(function)
    assert lib.call_kept(1, 2) == 12
    assert lib.is_kept(function) is True
    assert lib.is_kept(lambda a, b: a + b) is False


def test_called_by_a_thread_of_the_library(lib, caplog):
    assert lib.from_thread(lambda a, b: a + b) == 42

    def fail(_a, _b):
        raise ValueError("far away")

    with caplog.at_level(logging.ERROR, logger="midflight"):
        assert lib.from_thread(fail) == 0
    assert "far away" in caplog.text


def test_callbacks_of_many_threads_do_not_use_up_the_server(lib):
    """More calls wait in callbacks, and make calls from there, than the server has threads."""
    count = 40
    together = threading.Barrier(count)
    results = []

    def function(a, b):
        together.wait(60)
        return lib.add(a, b)

    def work(number):
        results.append(lib.apply(function, number, 1) == number + 1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * count


def test_a_kept_callable_of_a_client_that_is_gone(server, lib):
    import gc

    other = midflight.load("other.c", lane=server.address)
    other.keep(lambda a, _b: a)
    assert lib.call_kept(5, 0) == 5
    del other
    gc.collect()
    midflight.load("other.c", lane=server.address)
    with pytest.raises((midflight.ConnectionLostError, midflight.RemoteError)):
        while True:  # until the server has seen that the client is gone
            lib.call_kept(5, 0)
