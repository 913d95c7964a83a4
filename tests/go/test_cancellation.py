"""A cancellation that comes before, during or after the call and doesn't reach its context, or reaches another's."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import Cancellation
from midflight.lanes.go import GoError

if TYPE_CHECKING:
    from tests.go.conftest import Packages

WAITS = """
import ("context"; "os")
func Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func Tell(ctx context.Context, begun func()) error { begun(); <-ctx.Done(); return ctx.Err() }
func Err(ctx context.Context) string { if err := ctx.Err(); err != nil { return err.Error() }; return "" }
func Pid() int { return os.Getpid() }
func Named(ctx context.Context, cancel string, timeout int) (string, error) { return cancel, ctx.Err() }
type Shop struct{ hidden int }
func NewShop() *Shop { return &Shop{} }
func (s *Shop) Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
"""


def test_before_a_call(go: Packages):
    waits = go.make(WAITS, name="waits.go")
    cancellation = Cancellation()
    assert not cancellation.cancelled
    assert waits.Err(cancel=cancellation) == ""
    cancellation.cancel()
    assert cancellation.cancelled
    assert waits.Err(cancel=cancellation) == "context canceled"
    with pytest.raises(GoError, match="context canceled"):
        waits.Wait(cancel=cancellation)
    with pytest.raises(GoError, match="context canceled"):
        waits.Wait(cancel=cancellation, timeout=60)


def test_during_calls_and_from_another_thread(go: Packages):
    waits = go.make(WAITS, name="waits.go", workers=3)
    cancellation, other, begun = Cancellation(), Cancellation(), threading.Barrier(3)
    shop = waits.NewShop()
    with ThreadPoolExecutor(3) as pool:
        both = [pool.submit(waits.Tell, begun.wait, cancel=cancellation) for _ in range(2)]
        begun.wait()
        untouched = pool.submit(waits.Wait, cancel=other, timeout=60)
        cancellation.cancel()
        for one in both:
            with pytest.raises(GoError, match="context canceled") as raised:
                one.result()
            assert raised.value.what == "context canceled"
        assert not untouched.done()
        other.cancel()
        with pytest.raises(GoError, match="context canceled"):
            untouched.result()
    with pytest.raises(GoError, match="context canceled"):
        shop.Wait(cancel=cancellation)


def test_inside_of_a_callback_and_after_the_call(go: Packages):
    waits = go.make(WAITS, name="waits.go")
    cancellation = Cancellation()
    pid = waits.Pid()
    with pytest.raises(GoError, match="context canceled"):
        waits.Tell(cancellation.cancel, cancel=cancellation)
    late = Cancellation()
    assert waits.Err(cancel=late) == ""
    late.cancel()
    late.cancel()
    assert waits.Err() == ""
    assert waits.Err(cancel=Cancellation()) == ""
    assert waits.Pid() == pid


def test_many_calls_cancelled_at_any_moment(go: Packages):
    waits = go.make(WAITS, name="waits.go", workers=4)

    def once(_number: int) -> str:
        cancellation = Cancellation()
        thread = threading.Thread(target=cancellation.cancel)
        thread.start()
        with pytest.raises(GoError) as raised:
            waits.Wait(cancel=cancellation)
        thread.join()
        return raised.value.what

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(once, range(400))) == {"context canceled"}


def test_a_call_that_waits_for_a_free_worker_begins_cancelled(go: Packages):
    waits = go.make(WAITS, name="waits.go", workers=1)
    first, second, begun = Cancellation(), Cancellation(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(waits.Tell, begun.set, cancel=first)
        begun.wait()
        two = pool.submit(waits.Wait, cancel=second)
        second.cancel()
        first.cancel()
        for call in (one, two):
            with pytest.raises(GoError, match="context canceled"):
                call.result()


def test_the_cancellation_of_a_task_is_one_of_the_call(go: Packages):
    waits = go.make(WAITS, name="waits.go")
    begun = threading.Event()

    async def main() -> list[str]:
        cancellation = Cancellation()
        task = asyncio.create_task(cancellation.run(waits.Tell, begun.set))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancellation.cancelled
        fresh = Cancellation()
        return [await fresh.run(waits.Err), await cancellation.run(waits.Err)]

    assert asyncio.run(main()) == ["", "context canceled"]


def test_an_interrupt_is_noticed_when_the_call_comes_back(go: Packages):
    waits = go.make(WAITS, name="waits.go")
    cancellation, begun = Cancellation(), threading.Event()
    pid, main = waits.Pid(), threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        begun.wait()
        signal.pthread_kill(main, signal.SIGINT)
        cancellation.cancel()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        waits.Tell(begun.set, cancel=cancellation)
    thread.join()
    assert waits.Pid() == pid


def test_what_is_not_a_cancellation_is_refused_and_names_give_way(go: Packages):
    waits = go.make(WAITS, name="waits.go")
    with pytest.raises(midflight.ArgumentTypeError, match=r"cancel is a midflight\.Cancellation, not Event"):
        waits.Wait(cancel=threading.Event())
    assert waits.Named("c", 1) == "c"
    done = Cancellation()
    done.cancel()
    with pytest.raises(GoError, match="context canceled"):
        waits.Named("c", 1, cancel_=done, timeout_=5)
    assert list(inspect.signature(waits.Named).parameters) == ["cancel", "timeout", "timeout_", "cancel_"]


def test_methods_of_values_and_other_versions(go: Packages):
    text = """
    import "context"
    var Count int
    type Word string
    func (w Word) Wait(ctx context.Context, begun func()) error { begun(); <-ctx.Done(); return ctx.Err() }
    func Make() Word { Count++; return "VERSION" }
    func Wait(ctx context.Context) error { Count++; <-ctx.Done(); return ctx.Err() }
    """
    words = go.make(text.replace("VERSION", "1"), name="words.go")
    word = words.Make()
    go.write("words.go", text.replace("VERSION", "2"))
    midflight.swap(words)
    cancellation = Cancellation()
    with pytest.raises(GoError, match="context canceled"):
        word.Wait(cancellation.cancel, cancel=cancellation)
    with pytest.raises(GoError, match="context canceled"):
        words.Wait(cancel=cancellation)
    assert midflight.variables(words)["Count"] == 2
