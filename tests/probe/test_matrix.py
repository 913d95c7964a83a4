"""Versions that crash, hang or exit, in every place where a probe runs code of theirs.

================= ================================================================= =================================
place             refused by the probe (here)                                       met without it
================= ================================================================= =================================
constructor       all                                                               tests/crashes/test_matrix.py
check             all, of the program's and of the library's                        (only a probe runs checks)
first call        all, if a check makes it                                          tests/crashes/test_matrix.py
1,000th call      all, if a check makes so many                                     tests/crashes/test_matrix.py
unload            all                                                               tests/crashes/test_matrix.py
thread of its own all, while the probe lasts; a hang, if the library waits for it   tests/crashes/test_matrix.py
================= ================================================================= =================================

"All": a crash by each signal, a stack that is used up, a hang, each kind of exit, a C++ exception.  Catches: a probe
that lets one through, names the wrong place or reason, or loses the backtrace; a program that notices.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight._directory import private
from midflight.probing.pool import pool
from tests.probe.conftest import Calc, probing_processes

if TYPE_CHECKING:
    from tests.conftest import Workshop

HEAD = """
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static int *volatile nowhere;
static int overflow(volatile int depth)
{
    volatile char room[4096];
    room[0] = depth;
    return overflow(depth + 1) + room[0];
}
"""

DEEDS = {
    "crash": "*nowhere = 1;",
    "divide": "static volatile int zero; zero = 7 / zero;",
    "trap": "__builtin_trap();",
    "abort": "abort();",
    "overflow": "overflow(0);",
    "hang": "for (;;) pause();",
    "exit": "exit(3);",
    "leave": "_exit(4);",
    "quick": "quick_exit(5);",
}
SIGNALS = {
    "crash": signal.SIGSEGV,
    "divide": signal.SIGFPE,
    "trap": signal.SIGILL,
    "abort": signal.SIGABRT,
    "overflow": signal.SIGSEGV,
}
STATUS = {"exit": 3, "leave": 4, "quick": 5}

PLACES = {
    "constructor": "__attribute__((constructor)) static void place(void) { deed(); }",
    "c check": "int midflight_check_place(void) { deed(); return 0; }",
    "first call": "int call(void) { deed(); return 0; }",
    "1,000th call": "int call(void) { static int calls; if (++calls == 1000) deed(); return calls; }",
    "unload": "__attribute__((destructor)) static void place(void) { deed(); }",
    "thread of its own": """
        static pthread_t thread;
        static void *run(void *data) { deed(); return data; }
        __attribute__((constructor)) static void begin(void) { pthread_create(&thread, NULL, run, NULL); }
        int midflight_check_join(void) { int failed = pthread_join(thread, NULL); nowhere = NULL; return failed; }
        """,
}
WORDS = {
    "constructor": "while it was loaded, in a constructor",
    "c check": "in midflight_check_place (c-check-{deed}-source.c:",
    "first call": "in the check calls_it (test_matrix.py:",
    "1,000th call": "in the check calls_it (test_matrix.py:",
    "unload": "while it was unloaded",
    "thread of its own": "",  # it depends on when it comes to it
}


def calls_it(v):
    for _ in range(1000):
        v.call()


def _candidate(calc: Calc, deed: str, place: str):
    if "call" in place:
        midflight.check(calc.module)(calls_it)
    text = f"{HEAD} __attribute__((noinline)) static void deed(void) {{ {DEEDS[deed]} }} {PLACES[place]}"
    return calc.library(f"{place.replace(' ', '-')}-{deed}", text, "-pthread")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("deed", SIGNALS)
def test_a_crash_is_refused_with_its_place(calc: Calc, deed: str, place: str):
    error = calc.refused(_candidate(calc, deed, place))
    assert error.kind == "crash"
    assert error.signal == SIGNALS[deed]
    assert SIGNALS[deed].name in str(error)
    assert WORDS[place].format(deed=deed) in str(error)
    if (deed, place) == ("overflow", "thread of its own"):
        return  # a thread of the library's has no other stack to say anything from
    assert ("in a thread of its own" in str(error)) == (place == "thread of its own")
    culprit = "overflow" if deed == "overflow" else "deed"
    assert any(frame.startswith(culprit) and "-source.c:" in frame for frame in error.backtrace)
    if deed == "crash":
        assert error.address == 0


OTHERS = ["BUS", "TRAP", "SYS", "QUIT", "XCPU", "ALRM", "HUP", "TERM", "USR1", "USR2", "VTALRM", "PROF"]


@pytest.mark.parametrize("name", [f"SIG{name}" for name in OTHERS])
def test_any_signal_is_a_crash_and_says_where(calc: Calc, name: str):
    """Also one that ends a process without a core dump."""
    text = f"#include <signal.h>\nint midflight_check_it(void) {{ return raise({name}) + 1; }}"
    error = calc.refused(calc.library("raising", text))
    assert (error.kind, error.signal) == ("crash", signal.Signals[name])
    assert f"in midflight_check_it (raising-source.c:8): {name}" in str(error)
    assert any(frame.startswith("midflight_check_it (raising-source.c:8") for frame in error.backtrace)


def test_an_alarm_that_nobody_waits_for_is_a_crash(calc: Calc):
    """The kernel sends it, once."""
    text = "#include <unistd.h>\nint midflight_check_it(void) { ualarm(1000, 0); for (;;) pause(); }"
    error = calc.refused(calc.library("alarming", text), probe=midflight.Probe(timeout=60.0))
    assert (error.kind, error.signal) == ("crash", signal.SIGALRM)
    assert any(frame.startswith("midflight_check_it") for frame in error.backtrace)


@pytest.mark.parametrize("place", PLACES)
def test_a_hang_is_refused_and_says_where(calc: Calc, place: str):
    error = calc.refused(_candidate(calc, "hang", place), probe=midflight.Probe(timeout=1.0))
    assert error.kind == "hang"
    assert "within 1 s" in str(error)
    assert WORDS[place].format(deed="hang") in str(error)
    culprit = "midflight_check_join" if place == "thread of its own" else "deed"
    assert error.backtrace[0].startswith(culprit)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("deed", STATUS)
def test_an_exit_is_refused_with_its_status(calc: Calc, deed: str, place: str):
    error = calc.refused(_candidate(calc, deed, place))
    assert error.kind == "exit"
    assert f"with status {STATUS[deed]}" in str(error)
    assert WORDS[place].format(deed=deed) in str(error)


def test_a_thread_that_hangs_and_that_nobody_waits_for_is_told(calc: Calc):
    """Threads that serve look the same: there is no telling them from ones that hang."""
    text = PLACES["thread of its own"].replace("int midflight_check_join(void)", "int join(void)")
    text = f"{HEAD} static void deed(void) {{ {DEEDS['hang']} }} {text}"
    report = calc.swap(calc.library("serving", text, "-pthread"))
    assert any("its unloading couldn't be tried" in warning and "thread" in warning for warning in report.warnings)


def test_a_check_in_python_that_hangs_says_at_which_line(calc: Calc):
    @midflight.check(calc.module)
    def never_ends(v):
        while v.add(1, 1):
            pass

    error = calc.refused(calc.library("plain", "int x(void) { return 1; }"), probe=midflight.Probe(timeout=1.0))
    assert error.kind == "hang"
    assert "in the check never_ends" in str(error)
    assert "in never_ends" in error.text


# ---- C++ ------------------------------------------------------------------------------------------------------------

THROW = """
#include <stdexcept>
#include <thread>
static void deed() { throw std::runtime_error("no luck"); }
"""


@pytest.fixture
def cxx(workshop: Workshop) -> Calc:
    return Calc(workshop, ".cc")


def test_an_exception_of_a_constructor(cxx: Calc):
    text = THROW + "__attribute__((constructor)) static void place() { deed(); }"
    error = cxx.refused(cxx.library("constructor", text), midflight.ConstructorError)
    assert "no luck" in str(error)


def test_an_exception_of_a_check_in_c(cxx: Calc):
    error = cxx.refused(cxx.library("check", THROW + 'extern "C" int midflight_check_it() { deed(); return 0; }'))
    assert error.kind == "check"
    assert "midflight_check_it" in str(error)
    assert "no luck" in str(error)


def test_an_exception_that_a_check_in_python_doesnt_catch(cxx: Calc):
    midflight.check(cxx.module)(calls_it)
    error = cxx.refused(cxx.library("called", THROW + 'extern "C" int call() { deed(); return 0; }'))
    assert error.kind == "check"
    assert "the check calls_it" in str(error)
    assert "NativeExceptionError" in str(error)
    assert "no luck" in str(error)
    assert "v.call()" in error.text


@pytest.mark.parametrize(
    "place",
    [
        "__attribute__((destructor)) static void place() { deed(); }",
        'extern "C" int midflight_check_thread() { std::thread(deed).join(); return 0; }',
    ],
)
def test_an_exception_that_nobody_can_catch_ends_the_process(cxx: Calc, place: str):
    error = cxx.refused(cxx.library("terminate", THROW + place, "-pthread"))
    assert error.kind == "crash"
    assert error.signal == signal.SIGABRT
    assert "no luck" in error.text


# ---- afterwards -----------------------------------------------------------------------------------------------------


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("alone")
def test_nothing_is_left_of_probes_that_failed(calc: Calc):
    candidates = [_candidate(calc, deed, "constructor") for deed in ("crash", "exit")]
    calc.refused(candidates[0])
    pool.settle()
    descriptors, processes = _descriptors(), probing_processes()
    for candidate in candidates * 2:
        calc.refused(candidate)
        pool.settle()
    assert _descriptors() == descriptors
    assert len(probing_processes()) == len(processes) == 1  # the one that is kept ready
    assert not list(Path(private.new_path("look")).parent.glob("probe*"))
