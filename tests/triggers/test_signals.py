"""Would catch: a signal that does unsafe work, gets lost, or leaves another's handler replaced."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import midflight
from tests.triggers.conftest import text

if TYPE_CHECKING:
    import queue
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

WAIT = 60.0
SIGNAL = signal.SIGUSR1


@pytest.fixture(autouse=True)
def handler() -> Iterator[list[int]]:
    """A handler of the program's own, that was there before; it must be there afterwards."""
    came: list[int] = []

    def handle(signum: int, _: object) -> None:
        came.append(signum)

    before = signal.signal(SIGNAL, handle)
    yield came
    assert signal.signal(SIGNAL, before) is handle


def test_a_signal_swaps(source: Path, module: ModuleType, events: queue.Queue[object], handler: list[int]) -> None:
    with midflight.on_signal(SIGNAL, module):
        for number in (2, 3):
            source.write_text(text(number))
            os.kill(os.getpid(), SIGNAL)
            assert isinstance(events.get(timeout=WAIT), midflight.Swapped)
            assert module.number() == number
    assert handler == [SIGNAL, SIGNAL]


def test_a_burst_settles_to_the_newest(source: Path, module: ModuleType) -> None:
    with midflight.on_signal(SIGNAL, module) as trigger:
        for number in range(2, 12):
            source.write_text(text(number))
            signal.raise_signal(SIGNAL)
        assert trigger.runners[0].wait_idle(WAIT)
        assert module.number() == 11
        assert len(midflight.versions(module)) <= 11


def test_an_explicit_wish_tries_again(source: Path, module: ModuleType, events: queue.Queue[object]) -> None:
    source.write_text("int number(void) { return }\n")
    with midflight.on_signal(SIGNAL, module):
        for _ in range(2):
            signal.raise_signal(SIGNAL)
            assert isinstance(events.get(timeout=WAIT), midflight.Refused)
    assert module.number() == 1


def test_several_modules(source: Path, module: ModuleType, tmp_path: Path, events: queue.Queue[object]) -> None:
    path = tmp_path / "other.c"
    path.write_text(text(10))
    other = midflight.load(path)
    events.get(timeout=WAIT)
    with midflight.on_signal(SIGNAL, module, other):
        source.write_text(text(2))
        path.write_text(text(20))
        signal.raise_signal(SIGNAL)
        assert isinstance(events.get(timeout=WAIT), midflight.Swapped)
        assert isinstance(events.get(timeout=WAIT), midflight.Swapped)
    assert (module.number(), other.number()) == (2, 20)


def test_stopped_in_any_order(
    source: Path, module: ModuleType, events: queue.Queue[object], handler: list[int]
) -> None:
    first = midflight.on_signal(SIGNAL, module)
    second = midflight.on_signal(SIGNAL, module)
    first.stop()
    source.write_text(text(2))
    signal.raise_signal(SIGNAL)
    assert isinstance(events.get(timeout=WAIT), midflight.Swapped)
    second.stop()
    signal.raise_signal(SIGNAL)
    assert handler == [SIGNAL, SIGNAL]


def test_stopped_in_another_thread(module: ModuleType, handler: list[int]) -> None:
    trigger = midflight.on_signal(SIGNAL, module)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(trigger.stop).result(WAIT)
    signal.raise_signal(SIGNAL)
    assert handler == [SIGNAL]


def test_only_in_the_main_thread(module: ModuleType) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(midflight.TriggerError, match="main thread"):
        pool.submit(midflight.on_signal, SIGNAL, module).result(WAIT)


@pytest.mark.parametrize("signum", [signal.SIGKILL, 0, -1, 1000, "SIGHUP", None])
def test_what_is_no_signal(module: ModuleType, signum: int) -> None:
    with pytest.raises(midflight.TriggerError):
        midflight.on_signal(signum, module)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("midflight-swap")]


def test_what_is_no_module(module: ModuleType) -> None:
    with pytest.raises(midflight.TriggerError, match="no module"):
        midflight.on_signal(SIGNAL)
    with pytest.raises(midflight.SwapError):
        midflight.on_signal(SIGNAL, module, os)
