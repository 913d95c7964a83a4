"""Would catch: a lost trigger, a swap that overlaps another, a refusal reported twice, a thread that stays."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from midflight._errors import BuildError, UnloadedError
from midflight.triggers.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import FakeTarget

WAIT = 20.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "calc.c"
    path.write_text("0")
    return path


@pytest.fixture
def target(source: Path, make_target: Callable[..., FakeTarget]) -> FakeTarget:
    return make_target(source)


@pytest.fixture
def runner(target: FakeTarget) -> Iterator[Runner]:
    runner = Runner(target)
    runner.acquire()
    yield runner
    runner.release()


def test_a_mark_without_new_bytes_does_nothing(runner: Runner, target: FakeTarget) -> None:
    runner.mark()
    assert runner.wait_idle(WAIT)
    assert target.none_left()


def test_a_forced_mark_swaps_anyway(runner: Runner, target: FakeTarget) -> None:
    runner.mark(force=True)
    assert runner.wait_idle(WAIT)
    assert target.next() == "0"


def test_a_burst_during_a_swap_is_one_more_swap_with_the_newest_bytes(
    runner: Runner, target: FakeTarget, source: Path
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def first_swap() -> None:
        entered.set()
        assert leave.wait(WAIT)

    target.on_swap = first_swap
    source.write_text("1")
    runner.mark()
    assert entered.wait(WAIT)
    target.on_swap = lambda: None
    for number in range(2, 50):
        source.write_text(str(number))
        runner.mark()
    leave.set()
    assert runner.wait_idle(WAIT)
    assert (target.next(), target.next(), target.none_left()) == ("1", "49", True)


def test_broken_content_is_tried_once(runner: Runner, target: FakeTarget, source: Path) -> None:
    tried = []

    def refuse() -> None:
        tried.append(source.read_text())
        if tried[-1] == "broken":
            raise BuildError("the build failed", output="")

    target.on_swap = refuse
    source.write_text("broken")
    for _ in range(5):
        runner.mark()
        assert runner.wait_idle(WAIT)
    assert tried == ["broken"]
    source.write_text("good")
    runner.mark()
    assert runner.wait_idle(WAIT)
    assert tried == ["broken", "good"]
    assert target.next() == "good"


def test_an_unexpected_error_does_not_end_it(runner: Runner, target: FakeTarget, source: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    target.on_swap = fail
    source.write_text("1")
    runner.mark()
    assert runner.wait_idle(WAIT)
    target.on_swap = lambda: None
    source.write_text("2")
    runner.mark()
    assert target.next() == "2"


def test_a_missing_source_is_waited_for(runner: Runner, target: FakeTarget, source: Path) -> None:
    source.unlink()
    runner.mark()
    assert runner.wait_idle(WAIT)
    assert target.none_left()
    source.write_text("back")
    runner.mark()
    assert target.next() == "back"


def test_an_unloaded_module_ends_it(runner: Runner, target: FakeTarget, source: Path) -> None:
    def unloaded() -> None:
        raise UnloadedError("the module has been unloaded")

    target.on_swap = unloaded
    source.write_text("1")
    runner.mark()
    assert runner.wait_idle(WAIT)
    assert not [thread for thread in threading.enumerate() if thread.name == "midflight-swap-fake"]


def test_the_thread_is_there_for_as_long_as_somebody_uses_it(target: FakeTarget) -> None:
    def threads() -> int:
        return sum(thread.name == "midflight-swap-fake" for thread in threading.enumerate())

    runner = Runner(target)
    runner.acquire()
    runner.acquire()
    runner.release()
    assert threads() == 1
    runner.release()
    assert threads() == 0
    runner.acquire()
    runner.mark(force=True)
    assert target.next() == "0"
    runner.release()
    assert threads() == 0


def test_release_from_inside_a_swap_does_not_wait_for_itself(target: FakeTarget) -> None:
    runner = Runner(target)
    target.on_swap = runner.release
    runner.acquire()
    runner.mark(force=True)
    assert target.next() == "0"


def test_marks_from_a_signal_handler_that_interrupts_marks(runner: Runner, target: FakeTarget) -> None:
    """A handler that took a lock which the interrupted code holds would hang here."""
    came: list[int] = []

    def handle(signum: int, _: object) -> None:
        runner.mark(force=True)
        came.append(signum)

    before = signal.signal(signal.SIGVTALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 1e-4, 1e-4)
        while len(came) < 10:
            runner.mark()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert runner.wait_idle(WAIT)
    assert target.next() == "0"
