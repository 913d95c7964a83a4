"""Functions that a library calls and its host provides.

Would catch: a service that isn't bound, or is bound to the wrong symbol; an argument that arrives as something else; an
exception that is lost; a replacement that calls under way see, or that later calls don't; a slip of the pen that is
noticed only when the function is called; a constructor that finds nothing to call.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import subprocess
import threading

import pytest

import midflight
from midflight import ServiceError, UnresolvedSymbolError

RULES = """
#include <pthread.h>
#include <stdint.h>
struct point { int x; double y; };
extern void say(const char *text);
extern double scale(double value, int by);
extern int change(struct point *p);
extern int apply(int (*function)(int), int x);
extern uint64_t wide(signed char, unsigned short, int64_t, uint64_t, float, double, int, int, int, int, int, double);
extern int maybe(int) __attribute__((weak));
static int twice(int x) { return 2 * x; }
void talk(int times) { for (int i = 0; i < times; i++) say("gr\\xc3\\xbc\\xc3\\x9f"); }
double scaled(double value, int by) { return scale(value, by) + 1; }
double moved(int x) { struct point p = {x, 0.5}; int r = change(&p); return r + p.x + p.y; }
int applied(int x) { return apply(twice, x); }
uint64_t widest(void) { return wide(-1, 65535, INT64_MIN, UINT64_MAX, 0.5f, -0.25, 1, 2, 3, 4, 5, 1e300); }
int perhaps(int x) { return maybe ? maybe(x) : -1; }
static void *run(void *text) { say(text); return 0; }
int from_thread(void) { pthread_t t; return pthread_create(&t, 0, run, "own") || pthread_join(t, 0); }
"""


def change(point) -> int:
    point.contents.x += 4
    point.contents.y *= 2
    return 1000


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def services(said):
    return {
        "say": said.append,
        "scale": lambda value, by: value * by,
        "change": change,
        "apply": lambda function, x: function(x) + 1,
        "wide": lambda *values: int(values == (-1, 65535, -(2**63), 2**64 - 1, 0.5, -0.25, 1, 2, 3, 4, 5, 1e300)),
    }


@pytest.fixture
def rules(build, services):
    return build(RULES, "rules.c", provides=services)


def test_arguments_and_results(rules, said) -> None:
    rules.talk(2)
    assert said == ["grüß", "grüß"]
    assert rules.scaled(1.5, 4) == 7.0
    assert rules.moved(10) == 1000 + 14 + 1.0
    assert rules.widest() == 1


@pytest.mark.here_only("a worker's functions can't be called from a callback by their address")
def test_a_function_pointer_can_be_called(rules) -> None:
    assert rules.applied(21) == 43


def test_a_weak_function_may_be_left_out(rules, build, services) -> None:
    assert rules.perhaps(1) == -1
    assert build(RULES, "rules.c", provides=[services, {"maybe": lambda x: x + 1}]).perhaps(1) == 2


def test_an_exception_is_raised_by_the_call(build, services) -> None:
    def fail(_text: str) -> None:
        raise KeyError("mine")

    rules = build(RULES, "rules.c", provides=services | {"say": fail, "scale": lambda _value, _by: "text"})
    with pytest.raises(KeyError, match="mine"):
        rules.talk(2)
    with pytest.raises(midflight.ArgumentTypeError, match="str where double"):
        rules.scaled(1.0, 1)
    assert rules.perhaps(0) == -1


def test_a_thread_of_the_librarys_own_calls_it(rules, said, caplog) -> None:
    assert rules.from_thread() == 0
    assert said == ["own"]

    @midflight.provide(rules)
    def say(text: str) -> None:
        raise KeyError(text)

    with caplog.at_level(logging.ERROR, logger="midflight"):
        assert rules.from_thread() == 0
    assert "KeyError" in caplog.text


# ---- replacing


def test_a_service_is_replaced_while_it_is_in_use(rules) -> None:
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def slow(text: str) -> None:
        inside.set()
        assert leave.wait(10)
        seen.append(f"old {text}")

    midflight.provide(rules, "say")(slow)
    caller = threading.Thread(target=rules.talk, args=(2,))
    caller.start()
    assert inside.wait(10)
    midflight.provide(rules, "say")(lambda text: seen.append(f"new {text}"))
    leave.set()
    caller.join()
    assert seen == ["old grüß", "new grüß"]


def test_every_call_runs_one_of_the_functions_that_were_provided(rules) -> None:
    """Four threads call while a fifth one replaces: nobody finds nothing, or half of something."""
    start = threading.Barrier(5)
    results: list[set[float]] = [set() for _ in range(4)]

    def call(mine: set[float]) -> None:
        start.wait()
        for _ in range(300):
            mine.add(rules.scaled(1.0, 1))

    threads = [threading.Thread(target=call, args=(one,)) for one in results]
    for thread in threads:
        thread.start()
    start.wait()
    for number in range(300):
        midflight.provide(rules, "scale")(lambda _value, _by, number=number: float(number))
    for thread in threads:
        thread.join()
    assert set().union(*results) <= {2.0} | {number + 1.0 for number in range(300)}
    assert rules.scaled(1.0, 1) == 300.0


def test_a_new_version_calls_what_is_provided_now(swapping) -> None:
    source = "extern int level(void); int now(void) { return level() + %d; }"
    game = swapping(source % 0, provides={"level": lambda: 1})
    assert game.now() == 1
    midflight.provide(game, "level")(lambda: 2)
    swapping(source % 10)
    assert game.now() == 12
    midflight.provide(game, "later")(lambda: 500)
    swapping("extern int level(void), later(void); int now(void) { return level() + later(); }")
    assert game.now() == 502


def test_a_service_that_a_later_version_does_not_call_is_a_warning(swapping) -> None:
    game = swapping("extern int level(void); int now(void) { return level(); }", provides={"level": lambda: 1})
    swapping("int now(void) { return 5; }")
    assert game.now() == 5
    midflight.rollback(game)
    assert game.now() == 1


def test_what_is_missing_in_a_new_version_leaves_the_old_one(swapping) -> None:
    game = swapping("extern int level(void); int now(void) { return level(); }", provides={"level": lambda: 1})
    with pytest.raises(UnresolvedSymbolError, match="nothing defines depth"):
        swapping("extern int level(void), depth(void); int now(void) { return level() + depth(); }")
    assert game.now() == 1


KEEPS = """
typedef int (*function)(int);
extern int level(int);
static function kept;
void keep(void) { kept = level; }
int now(int x) { return kept(x); }
"""


def test_data_may_hold_a_service(swapping) -> None:
    """Its address is good for the next versions too, whatever their types are."""
    game = swapping(KEEPS, provides={"level": lambda x: x + 1})
    game.keep()
    for number in range(2):
        swapping(f"{KEEPS}int more{number};")
        assert game.now(1) == 2
    midflight.provide(game, "level")(lambda x: x + 10)
    assert game.now(1) == 11
    swapping(KEEPS + "struct other { int x; } more;")
    gc.collect()
    assert game.now(1) == 11


# ---- constructors


SAYS_AT_START = """
extern int level(int);
static int first;
__attribute__((constructor)) static void start(void) { first = level(20); }
int now(void) { return first; }
"""


def test_a_constructor_may_call_a_service(build) -> None:
    assert build(SAYS_AT_START, provides={"level": lambda x: x + 2}).now() == 22


def test_what_a_service_raises_in_a_constructor_is_raised_by_load(build, swapping) -> None:
    def level(_: int) -> int:
        raise LookupError("not yet")

    with pytest.raises(LookupError, match="not yet"):
        build(SAYS_AT_START, provides={"level": level})
    game = swapping(SAYS_AT_START, provides={"level": lambda x: x})
    midflight.provide(game, "level")(level)
    with pytest.raises(LookupError, match="not yet"):
        swapping(SAYS_AT_START + "int more;")
    assert game.now() == 20
    assert [version.status for version in midflight.versions(game)] == ["current"]


# ---- types


def test_cxx_names(build) -> None:
    text = """
    namespace host { int level(double x); }
    void say(const char *text);
    extern "C" int plain(int);
    extern "C" int run(int x) { say("x"); return host::level(x) + plain(x); }
    """
    said: list[str] = []
    game = build(text, "game.cc", provides={"host::level": lambda x: int(x * 2), "say": said.append, "plain": abs})
    assert game.run(-3) == -3
    assert build(text, "game.cc", provides={"level": lambda _: 1, "say": print, "plain": abs}).run(-1) == 2
    assert said == ["x"]


def without_debug_information(tmp_path, text: str, *, suffix: str = ".c"):
    source, library = tmp_path / f"ready{suffix}", tmp_path / "libready.so"
    source.write_text(text)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_a_ready_library_without_declarations_is_told_by_annotations(load, tmp_path) -> None:
    library = without_debug_information(
        tmp_path, 'extern double half(int, const char *); double run(int x) { return half(x, "t"); }'
    )
    options = {"interface": "double run(int x);"}
    with pytest.raises(ServiceError, match="doesn't say what type half has"):
        load(library, provides={"half": lambda x, _text: x / 2}, **options)

    def half(x: ctypes.c_int, text: str) -> float:
        return x / 2 if text == "t" else 0.0

    ready = load(library, provides={"half": half}, **options)
    assert ready.run(-3) == -1.5

    with pytest.raises(ServiceError, match="parameter x"):

        @midflight.provide(ready, "half")
        def other(x: ctypes.c_long, text: str) -> float:
            return x / len(text)


def test_cxx_names_without_debug_information(load, tmp_path) -> None:
    text = """
    namespace host { namespace inner { int level(double); } }
    int plain(int);
    extern "C" int run(int x) { return host::inner::level(x / 2.0) + plain(x); }
    """
    library = without_debug_information(tmp_path, text, suffix=".cc")

    def level(x: float) -> ctypes.c_int:
        return int(x * 4)

    def plain(x: ctypes.c_int) -> ctypes.c_int:
        return -x

    for name in ("level", "host::inner::level"):
        lib = load(library, provides={name: level, "plain": plain}, interface="int run(int x);")
        assert lib.run(3) == 3


def test_slips_are_told_at_load(build, services) -> None:
    with pytest.raises(ServiceError, match=r"sayy is provided.*it calls say, scale"):
        build(RULES, "rules.c", provides=services | {"sayy": print})
    with pytest.raises(ServiceError, match="too many positional"):
        build(RULES, "rules.c", provides=services | {"scale": lambda _: 1.0})
    with pytest.raises(ServiceError, match="can't be called"):
        build(RULES, "rules.c", provides=services | {"scale": 3})
    with pytest.raises(ServiceError, match="provides= is a int"):
        build(RULES, "rules.c", provides=3)
    with pytest.raises(ServiceError, match="no module of midflight's"):
        build(RULES, "rules.c", provides=ctypes)


def test_all_that_is_missing_is_named(build) -> None:
    with pytest.raises(UnresolvedSymbolError, match="nothing defines scale, change, apply, wide") as caught:
        build(RULES, "rules.c", provides={"say": print})
    assert "provides=" in str(caught.value)
    assert "maybe" not in str(caught.value)


def test_a_variable_cannot_be_provided(build) -> None:
    with pytest.raises(ServiceError, match="count is a variable"):
        build("extern int count; int get(void) { return count; }", provides={"count": lambda: 1})


def test_dots_cannot_be_provided(build) -> None:
    with pytest.raises(ServiceError, match="variadic"):
        build(
            'extern int log_it(const char *, ...); int run(void) { return log_it("", 1); }', provides={"log_it": print}
        )
    with pytest.raises(ServiceError, match="long double"):
        build("extern int odd(long double); int run(void) { return odd(1); }", provides={"odd": print})
