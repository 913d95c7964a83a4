"""What a user gets for a library that is sound but can't be loaded, or is used wrongly, row by row.

Would catch: a constructor's exception that ends the process or leaves the loader locked, a refusal that leaves the new
library mapped, an error without the name that is missing.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import midflight
from tests.hazards.conftest import GOODBYE, Pipe, settled

UNRESOLVED = "int nobody_has_this(int); int answer(int n) { return nobody_has_this(n); } int fine(void) { return 6; }"

THROWS = """
#include <stdexcept>
struct Thrower { Thrower() { throw std::runtime_error("no configuration"); } };
static Thrower thrower;
extern "C" int answer(int n) { return n; }
"""

# Three constructors, in this order: one that says so, one that raises, one that mustn't run any more.
SEVERAL = """
#include <cstdlib>
#include <unistd.h>
static void say(char letter) { if (write(atoi(getenv("CONSTRUCTED")), &letter, 1) != 1) abort(); }
struct Said { Said() { say('c'); } ~Said() { say('d'); } };
static Said said;
__attribute__((constructor(101))) static void first() { say('1'); }
__attribute__((constructor(65000))) static void second() { say('2'); }
struct Thrower { Thrower() { throw 42; } };
static Thrower thrower;
__attribute__((destructor)) static void last() { say('l'); }
extern "C" int answer(int n) { return n; }
"""

THROWS_WITH_A_THREAD = """
#include <pthread.h>
#include <unistd.h>
#include <cstdlib>
static void *work(void *)
{
    char byte = 1;
    if (write(atoi(getenv("BEGUN")), &byte, 1) != 1 || read(atoi(getenv("END")), &byte, 1) != 1)
        abort();
    return nullptr;
}
struct Thrower
{
    Thrower() { pthread_t t; pthread_create(&t, nullptr, work, nullptr); pthread_detach(t); throw "too late"; }
};
static Thrower thrower;
extern "C" int answer(int n) { return n; }
"""


@pytest.fixture(params=["load", "swap"])
def attempt(request, running):
    """Both ways in: a first load, and a swap of a module that runs."""
    return midflight.load if request.param == "load" else lambda path: midflight.swap(running, path)


def tasks() -> set[str]:
    return {path.name for path in Path("/proc/self/task").iterdir()}


def maps() -> list[str]:
    return Path("/proc/self/maps").read_text().splitlines()


# ---- what it needs --------------------------------------------------------------------------------------------------


def test_an_unresolved_symbol(attempt, refused, workshop):
    path = workshop.library("unresolved", UNRESOLVED)
    with refused(midflight.UnresolvedSymbolError, str(path), "nobody_has_this", "link the library"):
        attempt(path)


def test_an_unresolved_symbol_that_nobody_calls(workshop):
    """Bound at the first call, as asked for, it does no harm."""
    module = midflight.load(workshop.library("unresolved", UNRESOLVED, "-Wl,-z,lazy"), lazy=True)
    assert module.fine() == 6


def test_a_missing_library(attempt, refused, workshop):
    dependency = workshop.library("libgone", "int other(void) { return 1; }", "-Wl,-soname,libgone.so")
    text = "int other(void); int answer(int n) { return n + other(); }"
    path = workshop.library("needs", text, str(dependency), "-Wl,-rpath,$ORIGIN")
    dependency.unlink()
    with refused(midflight.MissingLibraryError, str(path), "libgone.so", "install libgone.so"):
        attempt(path)


# ---- constructors ---------------------------------------------------------------------------------------------------


def test_a_constructor_that_throws(attempt, refused, workshop, good):
    path = workshop.library("throws", THROWS, suffix=".cc")
    with refused(midflight.ConstructorError, str(path), "no configuration", "mend the constructor"):
        attempt(path)
    # The loader's lock is free: another thread can load.
    loaded = []
    thread = threading.Thread(target=lambda: loaded.append(midflight.load(good(7))))
    thread.start()
    thread.join()
    assert loaded[0].answer(0) == 7


def test_a_constructor_that_throws_among_several(attempt, refused, workshop, monkeypatch):
    path = workshop.library("several", SEVERAL, suffix=".cc")
    out = Pipe()
    monkeypatch.setenv("CONSTRUCTED", str(out.write_end))
    with refused(midflight.ConstructorError, "C++ exception of type i"):
        attempt(path)
    said = os.read(out.read_end, 100).decode()
    out.close()
    assert said.startswith("1")  # each ran at most once, in order, and what was constructed was destroyed
    assert len(set(said)) == len(said)
    assert ("c" in said) == ("d" in said)


def test_a_constructor_that_throws_after_it_started_a_thread(running, workshop, monkeypatch, good):
    path = workshop.library("late", THROWS_WITH_A_THREAD, suffix=".cc")
    begun, end = Pipe(), Pipe()
    monkeypatch.setenv("BEGUN", str(begun.write_end))
    monkeypatch.setenv("END", str(end.read_end))
    before = tasks()
    with pytest.raises(midflight.ConstructorError):
        midflight.swap(running, path)
    begun.wait()
    (thread,) = tasks() - before
    assert any("running.2-" in line for line in maps())
    end.send()  # the thread goes on in code that is still there
    while thread in tasks():
        os.sched_yield()
    assert running.answer(1) == 101
    midflight.load(good(3))  # the next load sweeps it
    assert not any("running.2-" in line for line in maps())
    begun.close()
    end.close()


# ---- use ------------------------------------------------------------------------------------------------------------


def test_a_function_that_is_not_there(running, refused):
    with refused(midflight.MissingFunction, "anser", "answer", builtin=AttributeError):
        running.anser(1)
    with refused(midflight.MissingFunction, "anser", builtin=AttributeError):
        midflight.function(running, "anser")
    assert not hasattr(running, "anser")


def test_wrong_arguments(running, refused):
    with refused(midflight.ArgumentTypeError, "answer", builtin=TypeError):
        running.answer()
    with refused(midflight.ArgumentTypeError, "answer", builtin=TypeError):
        running.answer(1, 2)
    with refused(midflight.ArgumentTypeError, "n", builtin=TypeError):
        running.answer("1")
    with refused(midflight.ArgumentRangeError, "n", builtin=OverflowError):
        running.answer(2**31)


def test_use_after_unload(good, refused):
    module = midflight.load(good(2), name="ended")
    kept = module.answer
    midflight.unload(module)
    for use in (
        lambda: kept(1),
        lambda: module.answer(1),
        lambda: midflight.swap(module),
        lambda: midflight.rollback(module),
        lambda: midflight.unload(module),
        lambda: midflight.variables(module)["x"],
        lambda: midflight.function(module, "answer"),
        lambda: midflight.pin(module).__enter__(),
    ):
        with refused(midflight.UnloadedError, "ended", "unloaded"):
            use()
    assert [version.status for version in midflight.versions(module)] == ["unloaded"]


LINGERS = (
    GOODBYE
    + """
int linger(int begun, int end)
{
    char byte = 1;
    if (write(begun, &byte, 1) != 1 || read(end, &byte, 1) != 1)
        return -1;
    return 5;
}
"""
)


def test_an_unload_during_a_call(workshop, refused):
    module = midflight.load(workshop.library("lingers", LINGERS))
    begun, end, goodbye, results = Pipe(), Pipe(), Pipe(), []
    module.say_goodbye_to(goodbye.write_end)
    thread = threading.Thread(target=lambda: results.append(module.linger(begun.write_end, end.read_end)))
    thread.start()
    begun.wait()
    version = midflight.unload(module)
    assert (version.status, version.held_by) == ("draining", ("1 call",))
    with refused(midflight.UnloadedError):
        module.linger(0, 0)
    end.send()
    thread.join()
    goodbye.wait()
    assert settled(module, 1).status == "unloaded"
    assert results == [5]
    for one in (begun, end, goodbye):
        one.close()


SLOW_START = """
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void begin(void)
{
    char byte = 1;
    if (write(atoi(getenv("BEGUN")), &byte, 1) != 1 || read(atoi(getenv("END")), &byte, 1) != 1)
        abort();
}
int answer(int n) { return n; }
"""


def test_an_unload_during_a_swap(good, workshop, monkeypatch):
    """The unload waits for its turn; in the end the module is unloaded, with both its versions."""
    begun, end, swapped = Pipe(), Pipe(), []
    monkeypatch.setenv("BEGUN", str(begun.write_end))
    monkeypatch.setenv("END", str(end.read_end))
    module = midflight.load(good(1))
    slow = workshop.library("slow", SLOW_START)
    swapping = threading.Thread(target=lambda: swapped.append(midflight.swap(module, slow)))
    swapping.start()
    begun.wait()  # the new version is being loaded
    unloading = threading.Thread(target=midflight.unload, args=(module,))
    unloading.start()
    assert module.answer(1) == 2
    end.send()
    swapping.join()
    unloading.join()
    assert swapped[0].changed
    assert [version.status for version in midflight.versions(module)] == ["unloaded", "unloaded"]
    with pytest.raises(midflight.UnloadedError):
        module.answer(1)
    begun.close()
    end.close()


def test_a_swap_during_an_unload(workshop, good):
    """A swap that is asked for while unload runs the library's destructors finds the module ended."""
    text = """
    #include <unistd.h>
    static int begun = -1, end = -1;
    int pipes(int a, int b) { begun = a; end = b; return 0; }
    int answer(int n) { return n; }
    __attribute__((destructor)) static void leave(void)
    {
        char byte = 1;
        if (begun >= 0 && write(begun, &byte, 1) == 1 && read(end, &byte, 1) != 1)
            begun = -1;
    }
    """
    begun, end = Pipe(), Pipe()
    module = midflight.load(workshop.library("leaving", text))
    module.pipes(begun.write_end, end.read_end)
    unloading = threading.Thread(target=midflight.unload, args=(module,))
    unloading.start()
    begun.wait()
    with pytest.raises(midflight.UnloadedError):
        midflight.swap(module, good(1))
    end.send()
    unloading.join()
    assert [version.status for version in midflight.versions(module)] == ["unloaded"]
    begun.close()
    end.close()
