"""Catches Python functions that C calls with other arguments or too late, and exceptions of theirs that are lost."""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import weakref

import pytest

import midflight
from midflight import ArgumentRangeError, ArgumentTypeError

SOURCE = r"""
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
typedef struct point { int x; double y; } point;
enum color { RED = 1, BLUE = 4 };
typedef int (*operation)(int, int);
typedef double (*everything)(signed char, unsigned char, short, unsigned short, int, unsigned, long, unsigned long,
                             float, double, bool, char);
static operation kept;
int apply(operation function, int a, int b) { return function ? function(a, b) : -999; }
int apply_pointer(int (*function)(int, int), int a, int b) { return function(a, b); }
void keep(operation function) { kept = function; }
int call_kept(int a, int b) { return kept(a, b); }
bool is_kept(operation function) { return function == kept; }
double all(everything function)
{ return function(-128, 255, -32768, 65535, INT32_MIN, 4294967295u, INT64_MIN, UINT64_MAX, 0.5f, -0.25, true, 'A'); }
const char *text(const char *(*function)(const char *, const char *)) { return function("gr\xc3\xbc\xc3\x9f \xff", 0); }
int fill(int (*function)(char *, size_t), char *into, size_t size) { return function(into, size); }
double use_point(double (*function)(point *), int x, double y)
{ point p = {x, y}; double r = function(&p); return r + p.x; }
double use_value(double (*function)(point, int), int x, double y) { return function((point){x, y}, 2); }
const point *find(const point *(*function)(int), int which) { return function(which); }
enum color recolor(enum color (*function)(enum color), enum color now) { return function(now); }
signed char tiny(signed char (*function)(void)) { return function(); }
unsigned char byte(unsigned char (*function)(void)) { return function(); }
char letter(char (*function)(void)) { return function(); }
bool truth(bool (*function)(void)) { return function(); }
float narrow(float (*function)(void)) { return function(); }
double wide(double (*function)(void)) { return function(); }
uint64_t big(uint64_t (*function)(void)) { return function(); }
void *pass(void *(*function)(void *), void *data) { return function(data); }
void each(void (*function)(int), int count) { for (int i = 0; i < count; i++) function(i); }
int sort(int *items, size_t count, int (*compare)(const void *, const void *))
{ qsort(items, count, sizeof *items, compare); return items[0]; }
int choose(int (*function)(operation), operation inner) { return function(inner); }
long double strange(long double (*function)(long double), int x) { return function(x); }
int strange_inner(int (*function)(long double), int x) { return function ? function(x) : x; }
int dotted(int (*function)(int, ...), int x) { return function ? function(x, 1) : x; }
int by_struct(point (*function)(int), int x) { return function ? function(x).x : x; }
static void *run(void *data) { operation function = (operation)data; return (void *)(intptr_t)function(20, 22); }
long from_thread(operation function)
{
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, 0, run, (void *)function)) return -1;
    pthread_join(thread, &result);
    return (long)result;
}
int depth(int (*function)(int), int n) { return n == 0 ? 0 : 1 + function(n - 1); }
int via_struct(point by_value, operation function) { return function(by_value.x, 1); }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


# ---- arguments and results


def test_a_function_a_method_a_class_and_a_partial(lib):
    from functools import partial

    class Adder:
        def __init__(self, more=0, _=0):
            self.more = more

        def add(self, a, b):
            return a + b + self.more

        __call__ = add

        def __index__(self):
            return self.more

    assert lib.apply(lambda a, b: a - b, 5, 3) == 2
    assert lib.apply(Adder(10).add, 1, 2) == 13
    assert lib.apply(Adder(20), 1, 2) == 23
    assert lib.apply(Adder, 7, 0) == 7
    assert lib.apply(partial(pow, mod=7), 3, 4) == 4
    assert lib.apply(max, 3, 9) == 9
    assert lib.apply_pointer(min, 3, 9) == 3
    assert lib.apply(function=max, a=1, b=2) == 2


def test_all_scalar_arguments(lib):
    got = []

    def function(*values):
        got.extend(values)
        return 12.5

    assert lib.all(function) == 12.5
    assert got == [-128, 255, -32768, 65535, -(2**31), 2**32 - 1, -(2**63), 2**64 - 1, 0.5, -0.25, True, 65]
    assert [type(one) for one in got] == [int] * 8 + [float] * 2 + [bool, int]


@pytest.mark.here_only("the callback returns memory of this process")
def test_text_comes_as_str_and_a_buffer_as_memory(lib):
    got = []
    static = ctypes.create_string_buffer("zurück".encode())

    def function(*values):
        got.extend(values)
        return static

    assert lib.text(function) == "zurück"
    assert got == ["grüß \udcff", None]

    def write(into, size):
        ctypes.memmove(into, b"abc", 3)
        return size

    memory = bytearray(8)
    assert lib.fill(write, memory, 8) == 8
    assert memory == b"abc" + bytes(5)


def test_structs_by_pointer_and_by_value(lib):
    def by_pointer(pointer):
        found = pointer.contents.x + pointer.contents.y
        pointer.contents.x = 1000
        return found

    assert lib.use_point(by_pointer, 3, 0.5) == 1003.5
    assert lib.use_value(lambda point, factor: (point.x + point.y) * factor, 3, 0.5) == 7.0


def test_enums(lib):
    color = midflight.types(lib).color
    got = []

    def function(value):
        got.append(value)
        return color.BLUE

    assert lib.recolor(function, 1) is color.BLUE
    assert lib.recolor(function, 77) is color.BLUE
    assert got == [color.RED, 77]
    assert isinstance(got[0], color)


def test_integer_results_and_their_ranges(lib):
    assert lib.tiny(lambda: -128) == -128
    assert lib.byte(lambda: 255) == 255
    assert lib.letter(lambda: -3) == -3
    assert lib.letter(lambda: 65) == 65
    assert lib.big(lambda: 2**64 - 1) == 2**64 - 1
    assert lib.truth(list) is False
    for function, number in (
        (lib.tiny, 128),
        (lib.tiny, -129),
        (lib.byte, 256),
        (lib.byte, -1),
        (lib.letter, 300),
        (lib.big, -1),
    ):
        with pytest.raises(ArgumentRangeError, match=f"a callback returned {number}"):
            function(lambda number=number: number)
    for wrong in (1.5, "1", None, []):
        with pytest.raises(ArgumentTypeError, match="a callback returned"):
            lib.tiny(lambda wrong=wrong: wrong)


def test_floating_results_and_their_ranges(lib):
    assert lib.wide(lambda: 1e300) == 1e300
    assert lib.wide(lambda: 3) == 3.0
    assert lib.narrow(lambda: 0.1) == ctypes.c_float(0.1).value
    assert lib.narrow(lambda: float("-inf")) == float("-inf")
    for function, number in ((lib.narrow, 1e39), (lib.narrow, 10**400), (lib.wide, 10**400)):
        with pytest.raises(ArgumentRangeError, match="doesn't fit"):
            function(lambda number=number: number)
    for wrong in ("1.5", None, 1j):
        with pytest.raises(ArgumentTypeError, match="a callback returned"):
            lib.wide(lambda wrong=wrong: wrong)


@pytest.mark.here_only("the callback returns memory of this process")
def test_pointer_results(lib):
    point = midflight.types(lib).point(3, 4.5)
    assert lib.find(lambda _: point, 0).contents.y == 4.5
    assert lib.find(lambda _: ctypes.pointer(point), 0).address == ctypes.addressof(point)
    assert lib.find(lambda _: lib.find(lambda _: point, 0), 0)[0].x == 3
    assert lib.find(lambda _: None, 0) is None
    for wrong in (b"temporary", "temporary", 1.5, object()):
        with pytest.raises(ArgumentTypeError, match="where a pointer is expected"):
            lib.find(lambda _, wrong=wrong: wrong, 0)


@pytest.mark.here_only("the address is this process's")
def test_void_pointers_are_addresses(lib):
    number = ctypes.c_int(5)
    got = []
    through = getattr(lib, "pass")
    assert through(lambda data: got.append(data) or data, number).address == ctypes.addressof(number)
    assert through(got.append, None) is None
    assert got == [ctypes.addressof(number), None]


def test_qsort(lib):
    items = (ctypes.c_int * 5)(5, 1, 4, 2, 3)

    def compare(one, other):
        return ctypes.c_int.from_address(one).value - ctypes.c_int.from_address(other).value

    assert lib.sort(items, 5, compare) == 1
    assert list(items) == [1, 2, 3, 4, 5]


@pytest.mark.here_only("the function that comes in is called directly")
def test_function_pointers_come_as_what_can_be_called(lib):
    assert lib.choose(lambda inner: inner(3, 4), lambda a, b: a * b) == 12


# ---- what can be passed


def test_none_is_the_null_pointer(lib):
    assert lib.apply(None, 1, 2) == -999


def test_a_ctypes_function_object_is_passed_as_it_is(lib):
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    function = prototype(lambda a, b: a * b)
    assert lib.apply(function, 6, 7) == 42
    lib.keep(function)
    assert lib.is_kept(function) is True
    assert lib.is_kept(prototype(min)) is False
    weak = weakref.ref(function)
    lib.keep(None)
    del function
    gc.collect()
    assert weak() is None, "its life is the user's business"


def test_a_function_of_the_library_itself(lib):
    lib.keep(max)
    assert lib.apply(lib.call_kept, 1, 2) == 2


@pytest.mark.parametrize("wrong", [5, "max", b"max", [], 1.5, object()], ids=repr)
def test_what_cant_be_called(lib, wrong):
    with pytest.raises(ArgumentTypeError, match=r"'function'.*something that can be called is expected"):
        lib.apply(wrong, 1, 2)


def test_the_same_callable_makes_nothing_new(lib):
    class Host:
        def add(self, a, b):
            return a + b

    host = Host()
    lib.keep(host.add)
    assert lib.is_kept(host.add) is True
    assert lib.is_kept(Host().add) is False
    lib.keep(max)
    assert lib.is_kept(max) is True
    assert lib.is_kept(min) is False


def test_equal_callables_are_not_the_same(lib):
    class Always:
        def __init__(self, result):
            self.result = result

        def __eq__(self, other):
            return isinstance(other, Always)

        def __hash__(self):
            return 1

        def __call__(self, _a, _b):
            return self.result

    assert [lib.apply(Always(result), 0, 0) for result in (1, 2, 3)] == [1, 2, 3]


def test_unhashable_callables(lib):
    class Unhashable:
        __hash__ = None

        def __call__(self, a, b):
            return a + b

    assert lib.apply(Unhashable(), 1, 2) == 3


def test_one_callable_from_many_threads_is_one_function_pointer(lib):
    def function(a, b):
        return a + b

    barrier = threading.Barrier(4)
    results = []

    def keep():
        barrier.wait()
        results.extend([lib.apply(function, 1, 2) for _ in range(200)])

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [3] * 800


def test_a_callback_that_the_library_keeps(lib):
    def remember():
        base = 100
        lib.keep(lambda a, b: a + b + base)

    remember()
    gc.collect()
    assert lib.call_kept(1, 2) == 103
    assert lib.call_kept(3, 4) == 107


KEEPING = """
typedef int (*function)(int);
static function kept;
void keep(function f) { kept = f; }
int go(int x) { return kept(x); }
"""


@pytest.mark.here_only("a worker's function pointers end with it, and such a swap is refused")
def test_a_kept_callback_outlives_its_version_where_data_come_along(swapping):
    lib = swapping(KEEPING)
    lib.keep(lambda x: x + 1)
    for number in range(3):
        swapping(f"{KEEPING}int more{number};")
        gc.collect()
        assert lib.go(1) == 2
    assert midflight.versions(lib)[0].status == "unloaded"


def test_a_kept_callback_goes_when_its_version_does(swapping):
    lib = swapping(SOURCE)

    class Host:
        def add(self, a, b):
            return a + b

    host = Host()
    lib.keep(host.add)
    weak = weakref.ref(host)
    del host
    gc.collect()
    assert lib.call_kept(1, 2) == 3
    swapping(SOURCE + "\nint newer;", carry="fresh")
    gc.collect()
    assert midflight.versions(lib)[0].status == "unloaded"
    assert weak() is None


# ---- nested calls, threads


def test_calls_into_the_module_from_a_callback(lib):
    def function(n):
        return lib.depth(function, n)

    assert lib.depth(function, 30) == 30


def test_endless_recursion_is_an_exception(lib):
    def function(n):
        return lib.depth(function, n)

    with pytest.raises(RecursionError):
        lib.depth(function, 10**6)
    assert lib.depth(function, 5) == 5


def test_a_callback_from_a_thread_of_the_library(lib):
    threads = []

    def function(a, b):
        threads.append(threading.get_ident())
        return a + b

    assert lib.from_thread(function) == 42
    assert threads != [threading.get_ident()]


# ---- exceptions


def test_an_exception_reaches_the_caller(lib):
    error = LookupError("mine")

    def function(_a, _b):
        raise error

    with pytest.raises(LookupError) as caught:
        lib.apply(function, 1, 2)
    assert caught.value is error
    assert caught.traceback[-1].name == "function"
    assert lib.apply(max, 1, 2) == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration, MemoryError])
def test_every_kind_of_exception_does(lib, kind):
    def function(_):
        raise kind

    with pytest.raises(kind):
        lib.each(function, 3)


def test_the_first_exception_is_the_one(lib):
    seen = []

    def function(index):
        seen.append(index)
        raise ValueError(index)

    with pytest.raises(ValueError, match=r"^0$"):
        lib.each(function, 3)
    assert seen == [0, 1, 2], "the native loop goes on; it sees 0"


def test_exceptions_pass_each_level_of_nested_calls(lib):
    caught = []

    def inner(_):
        raise ValueError("deep")

    def outer(_):
        try:
            lib.each(inner, 1)
        except ValueError as error:
            caught.append(str(error))
            raise KeyError("outer") from error

    with pytest.raises(KeyError, match="outer"):
        lib.each(outer, 1)
    assert caught == ["deep"]


def test_an_exception_that_is_handled_inside_stays_inside(lib):
    def inner(_):
        raise ValueError("deep")

    def outer(a, b):
        with pytest.raises(ValueError, match="deep"):
            lib.each(inner, 1)
        return a + b

    assert lib.apply(outer, 1, 2) == 3


def test_an_exception_from_a_call_with_a_struct_by_value(lib):
    def function(_a, _b):
        raise LookupError("mine")

    point = midflight.types(lib).point(5, 0)
    assert lib.via_struct(point, lambda a, b: a + b) == 6
    with pytest.raises(LookupError, match="mine"):
        lib.via_struct(point, function)
    assert lib.via_struct(point, lambda a, b: a + b) == 6


def test_an_exception_in_a_thread_of_the_library_is_logged(lib, caplog):
    def function(_a, _b):
        raise LookupError("nobody waits for this")

    with caplog.at_level(logging.ERROR, logger="midflight"):
        assert lib.from_thread(function) == 0
    assert "native code called on its own" in caplog.text
    assert "nobody waits for this" in caplog.text


def test_a_wrong_number_of_parameters_is_an_exception_too(lib):
    with pytest.raises(TypeError, match="positional argument"):
        lib.apply(lambda: 1, 1, 2)


# ---- what Python can't be called with


def test_unsupported_types_of_callbacks_are_refused_with_the_reason(lib):
    with pytest.raises(ArgumentTypeError, match="long double"):
        lib.strange_inner(lambda x: x, 1)
    with pytest.raises(ArgumentTypeError, match="further arguments"):
        lib.dotted(lambda x: x, 1)
    with pytest.raises(ArgumentTypeError, match="a callback can't return"):
        lib.by_struct(lambda x: x, 1)
    assert lib.strange_inner(None, 1) == 1
    assert lib.dotted(None, 2) == 2
    assert lib.by_struct(None, 3) == 3
    with pytest.raises(midflight.UnsupportedFunctionError):
        lib.strange(None, 1)
