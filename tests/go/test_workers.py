"""A package that takes the program with it: by a crash, a hang, an exit, a deadlock, or by what it leaves running."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import CallTimeoutError, WorkerCrashedError
from midflight.lanes import Limits
from midflight.lanes.go import GoError

if TYPE_CHECKING:
    from tests.go.conftest import Packages

ROUGH = """
import ("context"; "os"; "sync"; "time")
var Calls int
func Call() int { Calls++; return Calls }
func Exit() { os.Exit(3) }
func Crash() { done := make(chan int); go func() { panic("in a goroutine") }(); <-done }
func Deadlock() { var m sync.Mutex; m.Lock(); m.Lock() }
func Spin() { for { } }
func Pid() int { return os.Getpid() }
func Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func Races() { m := map[int]int{}; for i := range 8 { go func() { for { m[i]++ } }() }; time.Sleep(time.Hour) }
func Overflow(n int) int { var room [1 << 16]byte; room[n] = 1; return Overflow(n+1) + int(room[n/2]) }
func Chatter() {
    for i := range 10000 { println("line", i) }
    println("fatal error: not at all")
    done := make(chan int); go func() { panic("at last") }(); <-done
}
type Thing struct{ n int }
func (t *Thing) N() int { return t.n }
func New() *Thing { return &Thing{1} }
"""


def test_exit_and_a_panic_in_a_goroutine_end_the_worker_not_the_program(go: Packages):
    rough = go.make(ROUGH, name="rough.go")
    thing, first = rough.New(), rough.Pid()
    with pytest.raises(WorkerCrashedError, match="exited with status 3"):
        rough.Exit()
    assert rough.Pid() != first
    with pytest.raises(midflight.UnloadedError, match="lost when its worker process ended"):
        thing.N()
    with pytest.raises(WorkerCrashedError) as raised:
        rough.Crash()
    assert "panic: in a goroutine" in raised.value.text
    assert "rough.Crash.func1" in raised.value.text or "Crash.func1" in raised.value.text
    assert rough.Call() == 1


def test_fatal_errors_of_the_runtime_are_told(go: Packages):
    rough = go.make(ROUGH, name="rough.go")
    with pytest.raises(WorkerCrashedError) as raised:
        rough.Races()
    assert "fatal error: concurrent map" in raised.value.text
    assert "Races.func1" in raised.value.text
    assert rough.Call() == 1
    with pytest.raises(WorkerCrashedError) as raised:
        rough.Overflow(1)
    assert "fatal error: stack overflow" in raised.value.text
    assert ".Overflow(" in raised.value.text
    with pytest.raises(WorkerCrashedError) as raised:
        rough.Chatter()
    assert raised.value.text.startswith("panic: at last")
    assert raised.value.text.count("panic: at last") == 1


def test_what_a_package_prints_and_why_it_fails_reach_the_standard_error_output(
    go: Packages, capfd: pytest.CaptureFixture[str]
):
    rough = go.make(ROUGH, name="rough.go")
    with pytest.raises(WorkerCrashedError):
        rough.Chatter()
    with pytest.raises(WorkerCrashedError):
        rough.Races()
    told = capfd.readouterr().err
    assert told.count("line 9999\n") == 1
    assert "panic: at last" in told
    assert "fatal error: concurrent map" in told
    assert "Races.func1" in told


@pytest.mark.parametrize("name", ["Deadlock", "Spin"])
def test_a_deadlock_and_a_tight_loop_end_at_the_calls_limit(go: Packages, name: str):
    rough = go.make(ROUGH, name="rough.go", limits=Limits(call=0.3))
    start = time.monotonic()
    with pytest.raises(CallTimeoutError):
        getattr(rough, name)()
    assert time.monotonic() - start < 5
    assert rough.Call() == 1


def test_a_context_ends_at_its_timeout_and_the_worker_goes_on(go: Packages):
    rough = go.make(ROUGH, name="rough.go")
    pid = rough.Pid()
    with pytest.raises(GoError, match="context deadline exceeded") as raised:
        rough.Wait(timeout=0.01)
    assert raised.value.type_name == "context.deadlineExceededError"
    assert rough.Pid() == pid
    with pytest.raises(midflight.ArgumentTypeError, match="timeout is a number of seconds"):
        rough.Wait(timeout="soon")


def test_goroutines_still_running_at_the_swap_end_with_their_version(go: Packages, tmp_path: Path):
    path = tmp_path / "beats"
    text = f"""
    import ("os"; "time")
    func beat() {{ for {{ os.WriteFile("{path}-VERSION", []byte("x"), 0o600); time.Sleep(time.Millisecond) }} }}
    func init() {{ go beat() }}
    func Version() string {{ return "VERSION" }}
    """
    beats = go.make(text.replace("VERSION", "1"), name="beats.go")
    wait_for(lambda: path.with_name("beats-1").exists())
    go.write("beats.go", text.replace("VERSION", "2"))
    midflight.swap(beats)
    assert beats.Version() == "2"
    assert midflight.versions(beats)[0].status == "unloaded"
    path.with_name("beats-1").unlink(missing_ok=True)
    wait_for(lambda: path.with_name("beats-2").exists())
    assert not path.with_name("beats-1").exists()


def wait_for(condition) -> None:
    """Wait until something is so; pytest's time limit ends what never is."""
    tick = threading.Event()
    while not condition():
        tick.wait(0.001)


def test_a_panic_in_init_refuses_the_version(go: Packages):
    rough = go.make("func One() int { return 1 }")
    go.write("greet.go", 'func init() { panic("not today") }\nfunc One() int { return 2 }')
    with pytest.raises(midflight.MidflightError, match="not today"):
        midflight.swap(rough)
    assert rough.One() == 1


def test_calls_run_side_by_side_up_to_workers(go: Packages):
    meet = go.make(
        """
        var seats = make(chan int)
        func Meet(give bool) int { if give { seats <- 1; return 0 }; return <-seats }
        """,
        name="meet.go",
        workers=2,
    )
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(meet.Meet, [True, False])) == [0, 1]


def test_many_threads_call_while_versions_come_and_go(go: Packages):
    text = "var Total int\nfunc Version() int { return VERSION }"
    module = go.make(text.replace("VERSION", "0"), workers=3)
    stop, seen = threading.Event(), [[] for _ in range(3)]

    def work(mine: list[int]) -> None:
        while not stop.is_set():
            mine.append(module.Version())

    threads = [threading.Thread(target=work, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        go.write("greet.go", text.replace("VERSION", str(number)))
        midflight.swap(module)
    stop.set()
    for thread in threads:
        thread.join()
    for mine in seen:
        assert mine == sorted(mine)
    assert module.Version() == 5


def open_descriptors() -> int:
    """How many descriptors this program has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_is_left_of_a_version(go: Packages):
    text = 'import "os"\nfunc Pid() int { return os.Getpid() } // VERSION'
    module = go.make(text)
    pids, descriptors = [module.Pid()], open_descriptors()
    for number in range(3):
        go.write("greet.go", text + str(number) + f"\nvar X{number} int")
        midflight.swap(module, compat="any")
        pids.append(module.Pid())
    assert open_descriptors() <= descriptors + 1
    for pid in pids[:-1]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    os.kill(pids[-1], signal.SIGKILL)
    assert module.Pid() != pids[-1]


def test_a_version_that_is_gone_is_freed_at_once(go: Packages):
    text = """
    import "context"
    var Count int
    type Item struct { Name string; Next *Item }
    func Take(item Item) (Item, error) { Count++; return item, nil }
    func Call(ctx context.Context, f func(int) int) int { return f(VERSION) }
    """
    module = go.make(text.replace("VERSION", "1"))
    gc.collect()
    gc.disable()
    try:
        for number in range(2, 5):
            assert module.Call(lambda value: value) == number - 1
            assert module.Take({"Name": "a"}).Name == "a"
            assert midflight.variables(module)["Count"] == number - 1
            old = weakref.ref(midflight._control.control_of(module).current.code)
            go.write("greet.go", text.replace("VERSION", str(number)))
            midflight.swap(module)
            assert old() is None
    finally:
        gc.enable()
