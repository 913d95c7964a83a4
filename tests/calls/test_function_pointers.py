"""Stable pointers: functions of a module as function pointers for other libraries.

Would catch: a pointer that goes on to a version that is gone, or that holds one for ever; a result or an argument that
is lost on the way; a call that enters while data move; a crash after the module's end.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading

import pytest

import midflight
from midflight import UnloadedError, UnsupportedFunctionError

libc = ctypes.CDLL(None)
ORDER = "int by_value(const void *a, const void *b) { int x = *(const int *)a, y = *(const int *)b; return %s(x - y); }"

DRIVER = r"""
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
typedef struct { double x; long n; } pair;
typedef struct { long items[5]; } large;
typedef double (*ten)(int, double, long, float, const char *, short, unsigned char, long, long, double);
double call_ten(ten f) { return f(-1, 2.5, -3, 4.5f, "five", -6, 7, 8, 9, 10.5); }
double call_pair(pair (*f)(pair), double x) { pair p = f((pair){x, 3}); return p.x + p.n; }
long call_large(large (*f)(large, int), long x)
{ large l = f((large){{x, 1, 2, 3, 4}}, 7); return l.items[0] + l.items[4]; }
typedef int (*plain)(int);
int call(plain f, int x) { return f ? f(x) : -1; }
plain kept;
void keep(plain f) { kept = f; }
int call_kept(int x) { return kept(x); }
static volatile int go_on;
static void *run(void *f) { long sum = 0; while (go_on) sum += ((plain)f)(1) > 0; return (void *)sum; }
static pthread_t threads[4];
void start(plain f) { go_on = 1; for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, run, f); }
long stop(void)
{
    long sum = 0;
    void *one;
    go_on = 0;
    for (int i = 0; i < 4; i++) { pthread_join(threads[i], &one); sum += (long)one; }
    return sum;
}
static sem_t entered, leave;
static pthread_t waiter;
static void *enter(void *f) { return (void *)(long)((plain)f)(5); }
void start_waiting(plain f)
{ sem_init(&entered, 0, 0); sem_init(&leave, 0, 0); pthread_create(&waiter, 0, enter, f); sem_wait(&entered); }
void meet(void) { sem_post(&entered); sem_wait(&leave); }
long end_waiting(void) { void *result; sem_post(&leave); pthread_join(waiter, &result); return (long)result; }
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Another library, which midflight knows nothing of."""
    directory = tmp_path_factory.mktemp("driver")
    (directory / "driver.c").write_text(DRIVER)
    output = directory / "driver.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-pthread", "-o", output, directory / "driver.c"], check=True)
    library = ctypes.CDLL(str(output))
    library.call_ten.restype = library.call_pair.restype = ctypes.c_double
    library.call_pair.argtypes = [ctypes.c_void_p, ctypes.c_double]
    library.call_large.restype = library.stop.restype = library.end_waiting.restype = ctypes.c_long
    return library


def sorted_by(compare) -> list[int]:
    items = (ctypes.c_int * 200)(*[(number * 7919) % 200 for number in range(200)])
    libc.qsort(items, ctypes.c_size_t(len(items)), ctypes.c_size_t(4), compare)
    return list(items)


@pytest.mark.here_only("a worker can't read what qsort points to")
def test_qsort_sorts_by_the_current_version(swapping) -> None:
    calc = swapping(ORDER % "+")
    compare = midflight.pointer(calc.by_value)
    assert sorted_by(compare) == list(range(200))
    swapping(ORDER % "-")
    assert sorted_by(compare) == list(range(199, -1, -1))


@pytest.mark.here_only("a worker can't read what qsort points to")
def test_qsort_while_the_module_is_swapped(swapping) -> None:
    """Every version sorts in the same way: one that ran half in nothing would not."""
    calc = swapping(ORDER % "+")
    compare = midflight.pointer(calc.by_value)
    stop = threading.Event()
    wrong = []

    def work() -> None:
        while not stop.is_set():
            if sorted_by(compare) != list(range(200)):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(12):
        swapping(ORDER % "+" + f" int version(void) {{ return {number}; }}")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    midflight._retire.settle()
    assert [version.status for version in midflight.versions(calc)][:-1] == ["unloaded"] * 12


@pytest.mark.here_only("structs by value are refused for callbacks from a worker's function")
def test_arguments_and_results(build, driver) -> None:
    calc = build("""
    typedef struct { double x; long n; } pair;
    typedef struct { long items[5]; } large;
    double ten(int a, double b, long c, float d, const char *e, short f, unsigned char g, long h, long i, double j) {
        int right = a == -1 && b == 2.5 && c == -3 && d == 4.5f && e[0] == 'f' && f == -6 && g == 7 && h == 8 && i == 9;
        return right ? j : -1;
    }
    pair twice(pair p) { return (pair){p.x * 2, p.n * 2}; }
    large next(large l, int by) { l.items[0] += by; l.items[4] += by; return l; }
    """)
    assert driver.call_ten(midflight.pointer(calc.ten)) == 10.5
    assert driver.call_pair(midflight.pointer(calc.twice), 1.5) == 9.0
    assert driver.call_large(midflight.pointer(calc.next), 5) == 5 + 4 + 14


def test_the_object_can_be_called_and_keeps_the_module(build, driver) -> None:
    pointer = midflight.pointer(build("int add(int x) { return x + 1; }").add)
    gc.collect()
    assert pointer(2) == 3
    assert driver.call(pointer, 4) == 5
    assert (
        pointer.address == midflight.pointer(pointer.function).address or pointer.function._address
    )  # a worker's differ
    with pytest.raises(ctypes.ArgumentError):
        pointer("text")


@pytest.mark.here_only("a worker's function is called through Python")
def test_threads_that_python_does_not_know_call_while_it_is_swapped(swapping, driver) -> None:
    calc = swapping("int add(int x) { return x + 1; }")
    driver.start(midflight.pointer(calc.add))
    for number in range(2, 12):
        swapping(f"int add(int x) {{ return x + {number}; }}")
    assert driver.stop() > 0
    midflight._retire.settle()
    assert [version.status for version in midflight.versions(calc)][:-1] == ["unloaded"] * 10


MEETS = "extern void meet(void); int add(int x) { meet(); return x + %d; }"


@pytest.mark.here_only("its calls are counted by Python")
def test_a_version_is_held_by_a_call_that_python_does_not_know_of(swapping, driver) -> None:
    meet = ctypes.CFUNCTYPE(None)(("meet", driver))
    calc = swapping(MEETS % 1, provides={"meet": meet})
    driver.start_waiting(midflight.pointer(calc.add))
    swapping(MEETS % 100)
    old, new = midflight.versions(calc)
    assert (old.status, old.held_by, new.status) == ("draining", ("1 call",), "current")
    assert driver.end_waiting() == 6
    control = midflight._control.control_of(calc)
    assert midflight._retire.wait_idle(control.generations[0], 10)
    assert midflight.versions(calc)[0].status == "unloaded"


@pytest.mark.here_only("its calls are counted by Python")
def test_a_swap_waits_for_it(swapping, driver) -> None:
    meet = ctypes.CFUNCTYPE(None)(("meet", driver))
    calc = swapping(MEETS % 1, provides={"meet": meet})
    driver.start_waiting(midflight.pointer(calc.add))
    results: list[int] = []
    timer = threading.Timer(0.05, lambda: results.append(driver.end_waiting()))
    timer.start()
    report = swapping(MEETS % 100, drain=20.0) and midflight.versions(calc)[0]
    timer.join()
    assert results == [6]
    assert report.status == "unloaded"


COUNTS = """
#include <stdint.h>
static int calls;
int version(void) { return %d; }
int add(int x) { __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED); return x; }
int count(void) { return calls; }
int midflight_save(void) { return 0; }
int midflight_restore(void) { return 0; }
"""


@pytest.mark.here_only("its calls are counted by Python")
def test_calls_wait_at_the_gate(swapping, driver) -> None:
    """Hooks that save make every swap close the gate; threads call all the time, and come through afterwards."""
    calc = swapping(COUNTS % 0)
    driver.start(midflight.pointer(calc.add))
    for number in range(1, 7):
        swapping(COUNTS % number)
    assert driver.stop() > 0
    assert calc.version() == 6


def test_cxx_exceptions_pass(build) -> None:
    text = """
    #include <stdexcept>
    extern "C" int fails(int x) { if (x < 0) throw std::runtime_error("negative"); return x; }
    """
    calc = build(text, "calc.cc")
    caller = build(
        """
        #include <stdexcept>
        extern "C" int fails(int);
        extern "C" int catches(int x)
        { try { return fails(x); } catch (const std::exception &e) { return e.what()[0]; } }
        extern "C" int lets_it_pass(int x) { return fails(x); }
        """,
        "caller.cc",
        provides=calc,
    )
    with pytest.raises(midflight.NativeExceptionError, match="negative"):
        caller.lets_it_pass(-1)
    assert caller.lets_it_pass(3) == 3
    if midflight.versions(caller)[0].lane == "here":  # from another process it can't be caught
        assert caller.catches(-1) == ord("n")
    assert midflight.versions(calc)[0].held_by == ()


CARRIED = """
static long calls;
int add(int x) { __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED); return x; }
long count(void) { return calls; }
"""


@pytest.mark.here_only("its calls are counted by Python")
def test_no_update_is_lost_while_data_move(swapping, driver) -> None:
    """A counter that threads raise through the pointer equals the number of their calls, after each swap moved it."""
    calc = swapping(CARRIED)
    driver.start(midflight.pointer(calc.add))
    for number in range(20):
        swapping(f"{CARRIED} int more{number % 2};")
    assert driver.stop() == calc.count() > 0


# ---- as arguments


@pytest.mark.here_only("a worker calls through Python")
def test_a_function_that_is_passed_is_called_without_python(build, swapping) -> None:
    lib = build("""
    typedef int (*operation)(int, int);
    int apply(operation function, int a, int b) { return function(a, b); }
    int is_at(operation function, unsigned long where) { return (unsigned long)function == where; }
    static operation kept;
    void keep(operation function) { kept = function; }
    int call_kept(int a) { return kept(a, 1); }
    """)
    calc = swapping("int add(int a, int b) { return a + b; } long wide(long a, long b) { return a * b; }")
    assert lib.apply(calc.add, 2, 3) == 5
    assert lib.is_at(calc.add, midflight.pointer(calc.add).address)
    assert lib.apply(calc.wide, 2, 3) == 6  # of another type: Python converts
    assert not lib.is_at(calc.wide, midflight.pointer(calc.wide).address)
    lib.keep(calc.add)
    swapping("int add(int a, int b) { return a - b; } long wide(long a, long b) { return a * b; }")
    assert lib.call_kept(10) == 9


# ---- the end


@pytest.mark.here_only("a worker's function is called through Python")
def test_after_the_end_a_call_from_python_raises(build) -> None:
    calc = build("int add(int a) { return a + 1; }")
    lib = build("int apply(int (*function)(int), int a) { return function(a); }")
    assert lib.apply(calc.add, 1) == 2
    pointer = midflight.pointer(calc.add)
    midflight.unload(calc)
    with pytest.raises(UnloadedError, match="add was called by its stable pointer"):
        lib.apply(ctypes.cast(pointer.address, ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)), 1)
    assert lib.apply(abs, -1) == 1


AFTER = """
import ctypes, gc, midflight, sys
calc = midflight.load(sys.argv[1])
pointer = midflight.pointer(calc.twice)
address = pointer.address
class pair(ctypes.Structure): _fields_ = [("items", ctypes.c_long * 5)]
if sys.argv[2] == "unload":
    midflight.unload(calc)
else:
    del calc, pointer
    gc.collect()
function = ctypes.CFUNCTYPE(pair, ctypes.c_long)(address)
print(list(function(3).items), list(function(4).items))
"""


@pytest.mark.here_only("a worker's function is called through Python")
@pytest.mark.parametrize("how", ["unload", "forget"])
def test_after_the_end_a_call_returns_zero_and_says_so_once(tmp_path, how) -> None:
    source = tmp_path / "calc.c"
    source.write_text("struct p { long items[5]; }; struct p twice(long x) { return (struct p){{x, x, x, x, x}}; }")
    run = subprocess.run([sys.executable, "-c", AFTER, source, how], capture_output=True, text=True, check=True)
    assert run.stdout == "[0, 0, 0, 0, 0] [0, 0, 0, 0, 0]\n"
    assert run.stderr.count("calc.twice was called by its stable pointer, but") == 1


@pytest.mark.here_only("a worker's function is called through Python")
def test_a_version_that_calls_it_otherwise_is_not_reached(build, swapping) -> None:
    calc = swapping("double half(double x) { return x / 2; }")
    lib = build("double apply(double (*function)(double), double a) { return function(a); }")
    assert lib.apply(calc.half, 3) == 1.5
    pointer = midflight.pointer(calc.half)
    swapping("double half(const char *text) { return text[0]; }", compat="any")
    with pytest.raises(midflight.MissingFunction, match="other parameters"):
        lib.apply(ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(pointer.address), 1)
    midflight.rollback(calc)
    assert pointer(5) == 2.5


def test_what_has_no_pointer(build) -> None:
    calc = build("int f(const char *format, ...) { return format[0]; }")
    for wrong in (calc.f, print, 3, calc):
        with pytest.raises(UnsupportedFunctionError):
            midflight.pointer(wrong)
    midflight.unload(calc)
    with pytest.raises(UnloadedError):
        midflight.pointer(calc.f)
