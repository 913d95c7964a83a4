"""A crash inside a guarded module's function is an exception, and the program runs on.

Would catch: a signal or a way of calling that isn't guarded, an error that says less than it should, calls that stay
counted, a thread that is left in another state, data that get lost, or a version that doesn't go back.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import re
import signal
import threading
from pathlib import Path

import pytest

import midflight
from midflight._control import control_of
from midflight.artifact import backtrace

CRASHES = {
    "segv": (signal.SIGSEGV, 8),
    "fpe": (signal.SIGFPE, None),
    "ill": (signal.SIGILL, None),
    "stop": (signal.SIGABRT, None),
    "bus": (signal.SIGBUS, None),
    "fall": (signal.SIGSEGV, ...),
    "jump": (signal.SIGSEGV, 0),
    "compare": (signal.SIGSEGV, 8),
    "fill": (signal.SIGSEGV, 8),
    "order": (signal.SIGSEGV, 8),
    "smash": (signal.SIGSEGV, ...),
}
VALUES = {"fpe": (1,), "fall": (1,), "smash": (4,)}


@pytest.fixture
def module(crashing):
    """Its second version; guarded."""
    loaded = midflight.load(crashing.make(1), on_crash="raise", name="crashing")
    midflight.swap(loaded, crashing.make(2))
    return loaded


def crash(function, *values) -> midflight.ModuleCrashed:
    with pytest.raises(midflight.ModuleCrashed) as raised:
        function(*values)
    return raised.value


@pytest.mark.parametrize("name", CRASHES)
def test_each_signal(module, name) -> None:
    """It is raised with signal, address and backtrace, and the version before is current again."""
    number, address = CRASHES[name]
    error = crash(getattr(module, name), *VALUES.get(name, ()))
    assert error.signal == number
    assert address is ... or error.address == address
    assert number.name in error.what
    assert error.subject == f"crashing.{name}"
    assert "crashing has gone back to what version 1 was, now version 3" in str(error)
    assert module.whoami() == 1
    if name != "smash":
        assert any("crashing2-source.c:" in frame for frame in error.backtrace), error.backtrace


def test_backtrace_names_functions(module) -> None:
    """Each frame of the library's, innermost first."""
    inner, outer = crash(module.segv).backtrace
    assert inner.startswith("write_wild (crashing2-source.c:")
    assert outer.startswith("segv (crashing2-source.c:")


def test_backtrace_of_a_used_up_stack(module) -> None:
    """The same function again and again is said once."""
    frames = crash(module.fall, 1).backtrace
    assert len(frames) <= 2  # where it crashed may be another line
    assert re.fullmatch(r"fall \(crashing2-source\.c:\d+\), 3[012] times", frames[-1])


def test_backtrace_of_cxx(workshop) -> None:
    """Functions are named as C++ names them."""
    text = """
    namespace game { __attribute__((noinline)) int move(int *where, double) { return ++*where; } }
    extern "C" int crash(long where) { return game::move((int *)where, 1) + 1; }
    """
    module = midflight.load(workshop.library("game", text, suffix=".cc"), on_crash="raise")
    inner, outer = crash(module.crash, 8).backtrace
    assert inner.startswith("game::move(int*, double) (game-source.cc:")
    assert outer.startswith("crash (game-source.cc:")


LONG = "a" * 120
SHORTENED = {
    "std::map<int, long>::find(int const&)": "std::map<int, long>::find(int const&)",
    f"std::map<{LONG}>::find(int)": "std::map<…>::find(int)",
    f"std::pair<a<b>, c<d>> run<f(g)>({LONG})": "std::pair<…> run<…>(…)",
    f"operator<<(std::ostream&, box<{LONG}>)": "operator<<(std::ostream&, box<…>)",
    f"call::operator()<{LONG}>(int) const": "call::operator()<…>(int) const",
    f"{LONG}::run()": f"{LONG[:100]}…",
}


@pytest.mark.parametrize("name", SHORTENED)
def test_long_names_are_shortened(name: str) -> None:
    """A frame is a line that can be read, whatever templates it comes from."""
    assert backtrace._without_arguments(name) == SHORTENED[name]


def test_first_version_stays(crashing) -> None:
    """There is nothing to go back to; calling it again is the caller's risk, and works."""
    module = midflight.load(crashing.make(7), on_crash="raise")
    for _ in range(3):
        assert "stays current, as there is no version before it to go back to" in str(crash(module.segv))
    assert module.whoami() == 7


def test_bus_error_has_an_address(module, tmp_path) -> None:
    """Of a page of a file that has become shorter."""
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file:
        pages = mmap.mmap(file.fileno(), 8192)
        place = ctypes.addressof((ctypes.c_char * 8192).from_buffer(pages)) + 4096
        file.truncate(4096)
        error = crash(module.peek, ctypes.c_void_p(place))
    assert (error.signal, error.address) == (signal.SIGBUS, place)
    assert error.backtrace[0].startswith("peek (")


def test_data_come_along(module) -> None:
    """By the usual rules, as they are at the crash."""
    midflight.variables(module)["data"] = 42
    crash(module.segv)
    assert module.whoami() == 1
    assert midflight.variables(module)["data"] == 42


def test_way_back_that_is_refused(crashing) -> None:
    """The error says so, and the version that has crashed stays."""
    module = midflight.load(crashing.make(1), on_crash="raise", name="crashing")
    midflight.swap(module, crashing.make(2), carry="fresh")

    @midflight.before_swap(module)
    def refuse(_swapping: object) -> None:
        raise RuntimeError("not now")

    error = crash(module.segv)
    assert "version 2 of crashing stays current, because going back failed" in str(error)
    assert module.whoami() == 2


# ---- ways of calling -------------------------------------------------------------------------------------------------


def _call(function) -> None:
    function(1)


def _pinned(module) -> None:
    with midflight.pin(module) as one:
        one.crash_at(1)


WAYS = {
    "integers": lambda m: m.crash_at(1),
    "floating": lambda m: m.floating(1.0),
    "stack": lambda m: m.many(1, 2, 3, 4, 5, 6, 7, 8),
    "struct result": lambda m: m.struct_result(1.0),
    "large struct": lambda m: m.large_argument(midflight.types(m).large()),
    "text": lambda m: m.text("words"),
    "buffer": lambda m: m.fill_array((ctypes.c_int * 3)(), 3),
    "keywords": lambda m: m.crash_at(count=1),
    "pinned": _pinned,
    "alias": lambda m: _call(m.crash_at),
    "signature": lambda m: midflight.function(m, "segv", signature="int segv(void)")(),
    "stable pointer": lambda m: m.call_back(m.jump_one, 1),
}


@pytest.mark.parametrize("hold_gil", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_calling(crashing, way, hold_gil) -> None:
    """It is raised, nothing stays counted, and the crashed version is unloaded."""
    text = "int jump_one(int value) { return value + write_wild(); }"
    module = midflight.load(crashing.make(1, text), on_crash="raise", hold_gil=hold_gil, name="crashing")
    midflight.swap(module, crashing.make(2, text))
    old = control_of(module).need_current()
    crash(WAYS[way], module)
    assert module.whoami() == 1
    assert midflight.versions(module)[1].status == "unloaded", midflight.versions(module)
    assert old.code is None
    assert module.large_sum(midflight.types(module).large()) == 0


@pytest.mark.parametrize("count", [1, 1000])
def test_crash_at_a_later_call(module, count) -> None:
    """The first, or the thousandth."""
    for number in range(1, count):
        assert module.crash_at(count) == number
    assert crash(module.crash_at, count).signal == signal.SIGSEGV
    assert module.whoami() == 1


# ---- callbacks -------------------------------------------------------------------------------------------------------


def test_crash_after_a_callback(module) -> None:
    """The guard is there again when the callback has returned."""
    assert crash(module.call_back_and_crash, lambda value: value, 1).signal == signal.SIGSEGV


def test_crash_in_a_call_in_a_callback(module) -> None:
    """The inner call raises; the version goes back in the background, because this thread is still inside."""
    errors: list[midflight.ModuleCrashed] = []
    gone_back = threading.Event()
    midflight.subscribe(lambda event: gone_back.set() if isinstance(event, midflight.Swapped) else None)

    def inside(value: int) -> int:
        errors.append(crash(module.segv))
        return value

    assert module.call_back(inside, 5) == 6
    assert "goes back to what version 1 was when this thread's calls into it have ended" in str(errors[0])
    assert gone_back.wait(30)
    assert module.whoami() == 1


def test_crash_around_a_crash(crashing) -> None:
    """Each is raised by its own call, from the inside out."""
    module = midflight.load(crashing.make(1), on_crash="raise")

    def inside(_value: int) -> int:
        crash(module.segv)
        crash(module.call_back_and_crash, lambda _: crash(module.stop).signal, 1)
        return 0

    assert crash(module.call_back_and_crash, inside, 1).signal == signal.SIGSEGV
    assert control_of(module).need_current().table.inside == 0


def test_crash_passes_through_a_callback(module) -> None:
    """From Python to C to Python to C: uncaught, it ends the outer call too, which has gone on in C meanwhile."""
    errors: list[midflight.ModuleCrashed] = []

    def inside(_value: int) -> int:
        try:
            return module.segv()
        except midflight.ModuleCrashed as error:
            errors.append(error)
            raise

    assert crash(module.call_back, inside, 5) is errors[0]
    assert control_of(module).need_current().table.inside == 0


def test_exception_of_a_callback_is_the_context(crashing) -> None:
    """What the callback had raised may be why."""
    module = midflight.load(crashing.make(1), on_crash="raise")

    def fail(_value: int) -> int:
        raise KeyError("lost")

    error = crash(module.call_back_and_crash, fail, 1)
    assert isinstance(error.__context__, KeyError)


def test_cxx_exception_stays_one(workshop) -> None:
    """It passes the guard as it passes an unguarded call."""
    text = """
    #include <stdexcept>
    extern "C" int fail(int) { throw std::runtime_error("no"); }
    extern "C" int terminate(int) noexcept { throw std::runtime_error("no"); }
    extern "C" int crash(int) { *(volatile int *)8 = 1; return 0; }
    """
    module = midflight.load(workshop.library("thrower", text, suffix=".cc"), on_crash="raise")
    for _ in range(3):
        with pytest.raises(midflight.NativeExceptionError, match="no"):
            module.fail(1)
        assert crash(module.crash, 1).signal == signal.SIGSEGV
        assert crash(module.terminate, 1).signal == signal.SIGABRT


# ---- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["segv", "fall"])
def test_threads_at_once(crashing, name) -> None:
    """Each gets its own error, and one of them takes the version back."""
    module = midflight.load(crashing.make(1), on_crash="raise", name="crashing")
    midflight.swap(module, crashing.make(2))
    barrier = threading.Barrier(6)
    errors: list[midflight.ModuleCrashed] = []

    def run() -> None:
        function = getattr(module, name)
        barrier.wait()
        errors.append(crash(function, *VALUES.get(name, ())))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 6
    assert sum("has gone back" in str(error) for error in errors) == 1
    assert module.whoami() == 1
    assert control_of(module).need_current().table.inside == 0


@pytest.mark.parametrize("carry", ["fresh", "auto"])
def test_another_thread_is_inside_the_same_function(crashing, carry) -> None:
    """Its call goes on in its version.  Nobody waits for it but data that are to move: then the error says who."""
    module = midflight.load(crashing.make(1), on_crash="raise", name="crashing", carry=carry)
    midflight.swap(module, crashing.make(2))
    inside, go_on = threading.Event(), threading.Event()
    results: list[int] = []

    def wait(value: int) -> int:
        inside.set()
        assert go_on.wait(60)
        return value

    other = threading.Thread(target=lambda: results.append(module.meet(wait, 5)))
    other.start()
    assert inside.wait(60)
    text = str(crash(module.meet, None, 1))
    now = module.whoami()
    go_on.set()
    other.join()
    assert results == [1002]
    assert now == (1 if carry == "fresh" else 2)
    assert ("has gone back to what version 1 was" if carry == "fresh" else "because going back failed") in text
    assert carry == "fresh" or "meet" in text


def test_floating_mode_and_signals_are_back(module) -> None:
    """What was set before a call is set after its crash."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        crash(module.segv)
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert signal.SIGSEGV not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert module.half(3.0) == 1.5
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- hooks and constructors ------------------------------------------------------------------------------------------


def test_crash_in_a_constructor_is_a_refusal(crashing) -> None:
    """Of a swap, and of a load."""
    text = "__attribute__((constructor)) static void begin(void) { write_wild(); }"
    with pytest.raises(midflight.ConstructorError, match="SIGSEGV at address 0x8") as refused:
        midflight.load(crashing.make(1, text), on_crash="raise")
    assert any(frame.startswith("begin (") for frame in refused.value.backtrace)
    assert (refused.value.signal, refused.value.address) == (signal.SIGSEGV, 8)
    module = midflight.load(crashing.make(2), on_crash="raise")
    with pytest.raises(midflight.ConstructorError, match="SIGSEGV at address 0x8"):
        midflight.swap(module, crashing.make(3, text), probe=False)
    assert module.whoami() == 2


def test_crash_at_unload(crashing, caplog) -> None:
    """Of its destructors, only the one that crashes is cut short; the version is unloaded, and the log says so."""
    text = """
    #include <unistd.h>
    int ends;
    void set_ends(int file) { ends = file; }
    __attribute__((destructor(200))) static void last(void) { if (write(ends, "x", 1) != 1) abort(); }
    __attribute__((destructor)) static void end(void) { write_wild(); }
    """
    module = midflight.load(crashing.make(1, text), on_crash="raise", name="crashing")
    reading, writing = os.pipe()
    module.set_ends(writing)
    midflight.swap(module, crashing.make(2, text), carry="fresh")
    assert midflight.versions(module)[0].status == "unloaded"
    assert "crashing1.so: a destructor crashed when it was unloaded: SIGSEGV at address 0x8" in caplog.text
    assert os.read(reading, 1) == b"x"
    assert module.whoami() == 2


# ---- what is left --------------------------------------------------------------------------------------------------


def test_many_crashes_leave_nothing(crashing) -> None:
    """Hundreds: no descriptor, no mapping, no memory to speak of."""
    module = midflight.load(crashing.make(1), on_crash="raise")

    def round_of(count: int) -> tuple[int, int, int]:
        for _ in range(count):
            crash(module.segv)
            thread = threading.Thread(target=crash, args=(module.stop,))
            thread.start()
            thread.join()
        gc.collect()
        size = int(Path("/proc/self/statm").read_text().split()[1])
        return len(list(Path("/proc/self/fd").iterdir())), len(Path("/proc/self/maps").read_text().splitlines()), size

    before = round_of(20)
    after = round_of(150)
    assert after[0] == before[0]
    assert after[1] <= before[1] + 8
    assert after[2] <= before[2] + 512


def test_swaps_and_crashes_in_turns(crashing) -> None:
    """Versions that crash are unloaded, one after the other."""
    module = midflight.load(crashing.make(1), on_crash="raise")
    library = crashing.make(2)
    for _ in range(30):
        midflight.swap(module, library)
        crash(module.segv)
        assert module.whoami() == 1
    assert {version.status for version in midflight.versions(module)[:-1]} == {"unloaded"}
