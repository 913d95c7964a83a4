"""Handles: Python objects that native code keeps as numbers.

Would catch: a forged or a stale number that gives an object or crashes, a number that C takes for a null pointer or
that doesn't fit a type of 64 bits, an object that is freed while its handle is alive, or never.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

import midflight
from midflight import HandleError

KEEPER = """
#include <stdint.h>
static void *kept;
void keep(void *handle) { kept = handle; }
void *give(void) { return kept; }
uint64_t as_number(uint64_t handle) { return handle; }
long as_long(long handle) { return handle; }
extern void tell(void *handle);
void visit(void) { tell(kept); }
"""


class Thing:
    """Something to keep."""


def test_native_code_gives_it_back(build) -> None:
    got = []
    lib = build(KEEPER, provides={"tell": lambda handle: got.append(midflight.object_of(handle))})
    thing = Thing()
    with midflight.handle(thing) as handle:
        lib.keep(handle)
        assert midflight.object_of(lib.give()) is thing
        assert midflight.object_of(lib.as_number(handle)) is thing
        assert midflight.object_of(lib.as_long(handle)) is thing
        lib.visit()
        assert got == [thing]
    with pytest.raises(HandleError, match="no handle, or one that has been released"):
        lib.visit()
    lib.keep(None)
    with pytest.raises(HandleError):
        lib.visit()


def test_it_is_carried_through_a_swap(swapping) -> None:
    lib = swapping(KEEPER, provides={"tell": lambda _handle: None})
    with midflight.handle("thing") as handle:
        lib.keep(handle)
        swapping(f"{KEEPER}int more;")
        assert midflight.object_of(lib.give()) == "thing"


def test_only_a_handle_goes_for_a_pointer(build) -> None:
    lib = build(KEEPER, provides={"tell": lambda _handle: None})
    with pytest.raises(midflight.ArgumentTypeError):
        lib.keep(int(midflight.handle(1)))


def test_an_object_lives_as_long_as_its_handle() -> None:
    thing = Thing()
    alive = weakref.ref(thing)
    handle = midflight.handle(thing)
    del thing
    gc.collect()
    assert alive() is not None
    midflight.release(handle)
    assert alive() is None
    for function in (midflight.object_of, midflight.release):
        with pytest.raises(HandleError):
            function(handle)


def test_a_place_that_is_used_again_has_another_number() -> None:
    numbers = set()
    for _ in range(1000):
        with midflight.handle("x") as handle:
            numbers.add(int(handle))
    assert len(numbers) == 1000
    assert all(0 < number < 1 << 63 for number in numbers)


@given(st.integers() | st.integers(0, 1 << 64))
def test_a_forged_number_gives_nothing(number: int) -> None:
    with midflight.handle(Thing()) as handle:
        if number != handle:
            with pytest.raises(HandleError):
                midflight.object_of(number)
            with pytest.raises(HandleError):
                midflight.release(number)
        assert isinstance(midflight.object_of(handle), Thing)


@given(st.integers(0, 62))
def test_a_number_with_one_wrong_bit_gives_nothing(bit: int) -> None:
    with midflight.handle(Thing()) as handle, pytest.raises(HandleError):
        midflight.object_of(int(handle) ^ 1 << bit)


@pytest.mark.parametrize("wrong", ["text", 1.5, None, ctypes.c_void_p(), b"", 0])
def test_what_is_no_number(wrong) -> None:
    with pytest.raises(HandleError):
        midflight.object_of(wrong)


def test_many_threads() -> None:
    wrong = []

    def work(name: str) -> None:
        for number in range(500):
            with midflight.handle((name, number)) as handle:
                if midflight.object_of(handle) != (name, number):
                    wrong.append(name)

    threads = [threading.Thread(target=work, args=(str(index),)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
