"""Several modules, all or nothing.

Would catch: a module that is swapped although another one was refused, a caller that sees one module's new version and
after that another's old one, two transactions that wait for each other.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight


@pytest.fixture
def pair(numbered, load):
    return load(numbered.make(1), name="left"), load(numbered.make(1), name="right")


def test_all_are_swapped(pair, numbered) -> None:
    left, right = pair
    with midflight.transaction() as together:
        together.swap(left, numbered.make(2))
        together.swap(right, numbered.make(3))
        assert (left.whoami(), right.whoami()) == (1, 1)
    assert (left.whoami(), right.whoami()) == (2, 3)
    assert [report.module for report in together.reports] == ["left", "right"]


@pytest.mark.parametrize("order", [0, 1])
def test_one_refusal_refuses_all(pair, numbered, workshop, order) -> None:
    left, right = pair
    broken = workshop.library("broken", "int other(void) { return 0; }\n")
    swaps = [(left, numbered.make(2)), (right, broken)]
    refused = []
    unsubscribe = midflight.subscribe(refused.append)
    try:
        with pytest.raises(midflight.IncompatibleError), midflight.transaction() as together:
            for module, source in swaps[::-1] if order else swaps:
                together.swap(module, source)
    finally:
        unsubscribe()
    assert (left.whoami(), right.whoami()) == (1, 1)
    for module in pair:
        assert all(version.status in {"current", "unloaded"} for version in midflight.versions(module))
    assert {event.name for event in refused} == {"left", "right"}


def test_an_exception_in_the_block_drops_it(pair, numbered) -> None:
    left, _ = pair
    with pytest.raises(ZeroDivisionError), midflight.transaction() as together:
        together.swap(left, numbered.make(2))
        raise ZeroDivisionError
    assert left.whoami() == 1


def test_misuse_is_refused(pair, numbered) -> None:
    left, _ = pair
    together = midflight.transaction()
    with pytest.raises(midflight.SwapError, match="inside its with block"):
        together.swap(left, numbered.make(2))
    with pytest.raises(midflight.SwapError, match="named twice"), together:
        together.swap(left, numbered.make(2))
        together.swap(left, numbered.make(3))
    assert left.whoami() == 1


def test_nobody_sees_new_left_and_then_old_right(pair, numbered) -> None:
    """Right is read after left: it can't be older than left."""
    left, right = pair
    stop = threading.Event()
    start = threading.Barrier(2)

    def look() -> list[tuple[int, int]]:
        start.wait()
        wrong = []
        while not stop.is_set():
            seen = left.whoami(), right.whoami()
            if seen[1] < seen[0]:
                wrong.append(seen)
        return wrong

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        start.wait()
        try:
            for number in range(2, 60):
                with midflight.transaction() as together:
                    together.swap(left, numbered.make(number))
                    together.swap(right, numbered.make(number))
        finally:
            stop.set()
        assert looking.result() == []


def test_transactions_in_opposite_order_dont_wait_for_each_other(pair, numbered) -> None:
    start = threading.Barrier(2)

    def swap_both(first, second, base: int) -> None:
        start.wait()
        for number in range(base, base + 20):
            with midflight.transaction() as together:
                together.swap(first, numbered.make(number))
                together.swap(second, numbered.make(number))

    left, right = pair
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(swap_both, left, right, 100)
        other = pool.submit(swap_both, right, left, 200)
        one.result(60)
        other.result(60)
    assert left.whoami() == right.whoami()
