"""What a crash of a worker is to its callers.

Would catch: a crash that ends the program, a call that waits for ever for a dead worker, a call that was begun and is
made again, a crash that doesn't say where it was, a version that crashes for ever.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import midflight
from midflight import WorkerCrashedError
from tests.worker.conftest import LIBRARY, pid_of, state_of, wait_until

CRASHES = {
    "crash": (lambda lib: lib.crash(None), signal.SIGSEGV),
    "overflow": (lambda lib: lib.overflow(), signal.SIGSEGV),
    "abort": (lambda lib: lib.end_by_abort(), signal.SIGABRT),
    "own thread": (lambda lib: lib.crash_elsewhere(), signal.SIGSEGV),
    "in a callback": (lambda lib: lib.apply(lambda _: lib.crash(None), 1), signal.SIGSEGV),
    "after a callback": (lambda lib: lib.apply(lambda _: os.kill(pid_of(lib), signal.SIGKILL) or 1, 1), signal.SIGKILL),
}


@pytest.mark.parametrize("kind", CRASHES)
def test_a_crash_is_an_exception_and_the_next_call_gets_a_fresh_worker(lib, kind) -> None:
    crash, number = CRASHES[kind]
    assert [lib.count(), lib.count()] == [1, 2]
    before = pid_of(lib)
    with pytest.raises(WorkerCrashedError) as caught:
        crash(lib)
    assert caught.value.signal == number
    assert signal.Signals(number).name in str(caught.value)
    assert lib.count() == 1
    assert pid_of(lib) != before
    assert midflight.versions(lib)[0].status == "current"


def test_the_error_says_where(lib) -> None:
    with pytest.raises(WorkerCrashedError) as caught:
        lib.crash(None)
    assert caught.value.address == 0
    assert caught.value.backtrace[0].startswith("crash (lib.c:")
    assert "crash (lib.c:" in str(caught.value)


def test_a_library_that_exits_is_told_from_one_that_crashes(lib) -> None:
    for status in (0, 3):
        with pytest.raises(WorkerCrashedError, match=rf"lib\.leave: .*exited with status {status}") as caught:
            lib.leave(status)
        assert caught.value.signal == 0
        assert lib.add(1, 2) == 3


def test_a_constructor_that_crashes_refuses_the_version(lib, library) -> None:
    before = pid_of(lib)
    for body, words in (("*(volatile int *)8 = 1;", "SIGSEGV"), ("abort();", "SIGABRT"), ("exit(4);", "status 4")):
        library.write_text(LIBRARY + f"__attribute__((constructor)) static void begin(void) {{ {body} }}")
        with pytest.raises(WorkerCrashedError, match=words) as caught:
            midflight.swap(lib)
        assert caught.value.stage == "load"
        assert "version 1 of lib goes on running" in str(caught.value)
    assert pid_of(lib) == before


def test_a_destructor_that_crashes_is_logged(start, library, caplog) -> None:
    lib = start(LIBRARY + "__attribute__((destructor)) static void end(void) { *(volatile int *)8 = 1; }")
    library.write_text(LIBRARY)
    with caplog.at_level(logging.ERROR, "midflight"):
        report = midflight.swap(lib)
    assert report.old.status == "unloaded"
    assert any("SIGSEGV" in record.getMessage() for record in caplog.records)
    assert lib.add(1, 2) == 3


def test_a_destructor_that_hangs_is_ended_by_force(start, library) -> None:
    lib = start(LIBRARY + "__attribute__((destructor)) static void end(void) { hang(); }")
    old = pid_of(lib)
    library.write_text(LIBRARY)
    assert midflight.swap(lib).old.status == "unloaded"
    assert state_of(old) == ""
    assert lib.add(1, 2) == 3


def test_destructors_and_exit_hooks_run_at_the_end(start, library, tmp_path) -> None:
    told = tmp_path / "told"
    hooks = f"""
    static void note(const char *word) {{ FILE *f = fopen("{told}", "a"); fputs(word, f); fclose(f); }}
    static void at_exit(void) {{ note("exit hook\\n"); }}
    __attribute__((constructor)) static void begin(void) {{ atexit(at_exit); }}
    __attribute__((destructor)) static void end(void) {{ note("destructor\\n"); }}
    """
    lib = start(LIBRARY + hooks)
    assert not told.exists()
    library.write_text(LIBRARY)
    midflight.swap(lib)
    assert sorted(told.read_text().splitlines()) == ["destructor", "exit hook"]


def test_all_threads_inside_are_told_and_no_call_is_made_twice(start) -> None:
    """A counter in shared memory proves that what was begun isn't begun again."""
    lib = start(workers=4)
    inside, go = midflight.shared_array(1, np.int32), midflight.shared_array(1, np.int32)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(lib.meet, inside, go) for _ in range(4)]
        wait_until(lambda: inside[0] == 4)
        os.kill(pid_of(lib), signal.SIGKILL)
        errors = [call.exception(60) for call in calls]
    assert [type(error) for error in errors] == [WorkerCrashedError] * 4
    assert inside[0] == 4
    assert lib.add(2, 3) == 5


def test_a_call_that_had_not_begun_is_made_again(start) -> None:
    """One worker, one call inside; those that wait for their turn go to the fresh worker."""
    lib = start()
    flag, inside, go = (midflight.shared_array(1, np.int32) for _ in range(3))
    go[0] = 1
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lib.spin, flag)
        wait_until(lambda: flag[0] == 1)
        started = threading.Barrier(3)
        waiting = [pool.submit(lambda: (started.wait() and None) or lib.meet(inside, go)) for _ in range(2)]
        started.wait()
        assert inside[0] == 0
        os.kill(pid_of(lib), signal.SIGKILL)
        with pytest.raises(WorkerCrashedError):
            first.result(60)
        assert [call.result(60) for call in waiting] == [1, 1]
    assert inside[0] == 2


def test_a_begun_call_that_crashes_is_made_once(lib) -> None:
    begun = midflight.shared_array(1, np.int64)
    for number in (1, 2):
        with pytest.raises(WorkerCrashedError):
            lib.crash_after(begun)
        assert begun[0] == number


def test_a_version_that_crashes_again_and_again_gives_way_to_the_one_before(lib, library, caplog) -> None:
    swapped = threading.Event()
    unsubscribe = midflight.subscribe(lambda event: type(event).__name__ == "Swapped" and swapped.set())
    try:
        library.write_text(LIBRARY.replace("return a + b;", "return *(volatile int *)8 + a + b;"))
        midflight.swap(lib)
        swapped.clear()
        for _ in range(3):
            with pytest.raises(WorkerCrashedError):
                lib.add(1, 2)
        assert swapped.wait(60)
    finally:
        unsubscribe()
    assert lib.add(1, 2) == 3
    assert [version.number for version in midflight.versions(lib)] == [1, 2, 3]
    wait_until(lambda: any("version 2 crashes again and again" in one.getMessage() for one in caplog.records))


def test_a_first_version_that_crashes_again_and_again_goes_on(lib) -> None:
    for _ in range(7):
        with pytest.raises(WorkerCrashedError):
            lib.crash(None)
        assert lib.add(1, 2) == 3


def test_a_worker_that_dies_before_each_call_is_told_after_some_attempts(start) -> None:
    """Its own thread crashes at once, so no call is ever begun, or is begun and dies: never an endless loop."""
    source = (
        LIBRARY
        + """
    static void *soon(void *unused) { (void)unused; raise(SIGKILL); return 0; }
    void arm(void) { }
    __attribute__((constructor)) static void begin(void)
    {
        if (getenv("MIDFLIGHT_TEST_DIE")) { pthread_t t; pthread_create(&t, 0, soon, 0); pthread_join(t, 0); }
    }
    """
    )
    lib = start(source)
    os.environ["MIDFLIGHT_TEST_DIE"] = "1"
    try:
        os.kill(pid_of(lib), signal.SIGKILL)
        with pytest.raises(WorkerCrashedError, match="before it was ready"):
            lib.add(1, 2)
    finally:
        del os.environ["MIDFLIGHT_TEST_DIE"]
    assert lib.add(1, 2) == 3


CXX = """
#include <stdexcept>
#include <string>
struct odd { int n; };
extern "C" int fail(int how)
{
    if (how == 1) throw std::runtime_error("it went wrong");
    if (how == 2) throw odd{3};
    if (how == 3) throw 42;
    return how;
}
extern "C" int apply(int (*f)(int), int x) { try { return f(x); } catch (...) { return -77; } }
"""


def test_cxx_exceptions(tmp_path) -> None:
    source = tmp_path / "lib.cc"
    source.write_text(CXX)
    lib = midflight.load(source, lane="worker")
    before = pid_of(lib)
    for how, type_name, what in ((1, "std::runtime_error", "it went wrong"), (2, "odd", ""), (3, "int", "")):
        with pytest.raises(midflight.NativeExceptionError) as caught:
            lib.fail(how)
        assert what in str(caught.value)
        assert caught.value.type_name == type_name
    with pytest.raises(midflight.NativeExceptionError, match="it went wrong"):
        lib.apply(lambda _: lib.fail(1), 1)
    assert lib.fail(0) == 0
    assert pid_of(lib) == before
    midflight.unload(lib)  # it keeps the callback, which refers to it


def test_a_cxx_exception_in_a_constructor(tmp_path) -> None:
    source = tmp_path / "lib.cc"
    source.write_text(CXX + "static int begun = (fail(1), 1);")
    with pytest.raises(midflight.ConstructorError, match="it went wrong"):
        midflight.load(source, lane="worker")


def test_a_cxx_exception_in_a_thread_of_its_own(tmp_path) -> None:
    source = tmp_path / "lib.cc"
    source.write_text(CXX + '#include <thread>\nextern "C" void elsewhere() { std::thread([] { fail(1); }).join(); }')
    lib = midflight.load(source, lane="worker", flags=["-pthread"])
    with pytest.raises(WorkerCrashedError, match="SIGABRT"):
        lib.elsewhere()
    assert lib.fail(0) == 0
