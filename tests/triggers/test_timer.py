"""Would catch: a timer that misses new bytes, swaps without any, reports refusals again and again, or stays."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

import midflight
from tests.triggers.conftest import text

if TYPE_CHECKING:
    import queue
    from pathlib import Path
    from types import ModuleType

WAIT = 60.0


def save(path: Path, content: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("midflight-t", "midflight-s"))]


def test_new_bytes_are_found(source: Path, module: ModuleType, events: queue.Queue[object]) -> None:
    times = source.stat()
    with midflight.every(0.01, module):
        for number in (2, 3):
            save(source, text(number))
            os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
            assert isinstance(events.get(timeout=WAIT), midflight.Swapped)
            assert module.number() == number
    assert threads() == []


def test_a_refusal_is_reported_once(source: Path, module: ModuleType, events: queue.Queue[object]) -> None:
    looks = threading.Semaphore(0)
    with midflight.every(0.001, module) as timer:
        save(source, "int number(void) { return }\n")
        assert isinstance(events.get(timeout=WAIT), midflight.Refused)
        runner = timer.runners[0]
        mark = runner.mark
        runner.mark = lambda: (mark(), looks.release())  # type: ignore[assignment,method-assign,func-returns-value]
        for _ in range(5):
            assert looks.acquire(timeout=WAIT)
            assert runner.wait_idle(WAIT)
        save(source, text(2))
        assert isinstance(events.get(timeout=WAIT), midflight.Swapped)
    assert module.number() == 2


def test_all_timers_share_a_thread(module: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "other.c"
    path.write_text(text(1))
    other = midflight.load(path)
    with midflight.every(0.01, module, other), midflight.every(5, module), midflight.every(1000, other):
        assert threads().count("midflight-timer") == 1
        assert len(threads()) == 3
    assert threads() == []


def test_a_module_that_is_gone_ends_its_timer(source: Path) -> None:
    module = midflight.load(source)
    timer = midflight.every(0.001, module)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "midflight-timer"]
    del module
    gc.collect()
    assert not timer.active
    thread.join(WAIT)
    assert not thread.is_alive()
    timer.stop()
    assert threads() == []


@pytest.mark.parametrize("seconds", [0, -1, 1e-9, float("nan"), float("inf"), "1", None, True])
def test_what_is_no_time(module: ModuleType, seconds: float) -> None:
    with pytest.raises(midflight.TriggerError):
        midflight.every(seconds, module)


def test_what_is_no_module() -> None:
    with pytest.raises(midflight.TriggerError, match="no module"):
        midflight.every(1)
    with pytest.raises(midflight.SwapError):
        midflight.every(1, os)
