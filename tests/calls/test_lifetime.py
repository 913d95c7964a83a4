"""Catches code that is unloaded while something can still call it, and code that nothing can call but that stays."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest

import midflight
from midflight import _retire
from tests.lanes import is_there

SOURCE = """
static int calls;
int f(int a) { calls++; return a + 1; }
int g(int a) { return f(a) * 10; }
struct p { int x; } p;
struct p *get(void) { return &p; }
"""
BETTER = SOURCE.replace("a + 1", "a + 2")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "lib.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def until_unloaded(monkeypatch):
    """Return a function that waits until a version has been unloaded in the background."""
    retired = threading.Semaphore(0)
    retire = _retire.retire_if_idle

    def told(generation):
        result = retire(generation)
        if result:
            retired.release()
        return result

    def wait(version):
        while version.status != "unloaded":
            assert retired.acquire(timeout=60), version

    monkeypatch.setattr(_retire, "retire_if_idle", told)
    return wait


def test_a_function_outlives_its_module(source, load):
    f = load(source).f
    gc.collect()
    assert f(1) == 2
    assert f.__module__ == "lib"


def test_the_version_goes_when_the_last_function_does(source, until_unloaded, load):
    lib = load(source)
    version = midflight.versions(lib)[0]
    place = version.path
    f, g = lib.f, lib.g
    del lib
    gc.collect()
    assert (f(1), g(1)) == (2, 20)
    del f
    gc.collect()
    assert g(1) == 20
    assert version.status == "current"
    assert is_there(place)
    del g
    gc.collect()
    until_unloaded(version)
    assert not is_there(place)
    assert not Path(place).exists()


def test_a_module_that_nobody_keeps_is_unloaded(source, until_unloaded, load):
    lib = load(source)
    version, weak = midflight.versions(lib)[0], weakref.ref(lib)
    del lib
    gc.collect()
    assert weak() is None
    until_unloaded(version)


def test_a_callback_that_leads_back_to_its_module_keeps_nothing(tmp_path, until_unloaded, load):
    path = tmp_path / "calling.c"
    path.write_text("int go(int (*f)(int), int x) { return f(x); }")
    module = load(path)
    assert module.go(lambda x, module=module: len(module.__name__) + x, 1) == 8
    version = midflight.versions(module)[0]
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None
    until_unloaded(version)


@pytest.mark.here_only("Pointer.contents")
def test_a_pointer_keeps_its_version_without_module_and_functions(source, until_unloaded, load):
    lib = load(source)
    version = midflight.versions(lib)[0]
    pointer = lib.get()
    del lib
    gc.collect()
    pointer.contents.x = 5
    assert pointer[0].x == 5
    assert version.status != "unloaded"
    del pointer
    gc.collect()
    until_unloaded(version)


def test_functions_follow_swaps_that_another_holder_asks_for(source, load):
    lib = load(source)
    kept = [lib.f, lib.g]
    source.write_text(BETTER)
    midflight.swap(lib)
    del lib
    gc.collect()
    assert [function(1) for function in kept] == [3, 30]


def test_a_deleted_attribute_changes_nothing(source, load):
    lib = load(source)
    f = lib.f
    del lib.f
    assert f(1) == 2
    assert lib.g(1) == 20
    source.write_text(BETTER)
    midflight.swap(lib)
    assert f(1) == lib.f(1) == 3


def test_a_swap_from_a_values_own_conversion(source, load):
    """The version that a call is counted in stays, whatever converting its arguments does."""
    lib = load(source)

    class Swapping:
        def __index__(self):
            source.write_text(BETTER)
            midflight.swap(lib, carry="fresh")  # data can't move from inside a call
            gc.collect()
            return 1

    assert lib.f(Swapping()) == 2, "it began in version 1"
    assert lib.f(1) == 3
    assert midflight.versions(lib)[0].status in {"draining", "unloaded"}


def test_a_swap_while_another_call_converts_a_callback(tmp_path, load):
    """Making a function pointer runs Python code, in the middle of which another thread may swap."""
    path = tmp_path / "lib.c"
    text = "int f(int (*g)(int), int a) { return g(a) + 1; }"
    path.write_text(text)
    lib = load(path)
    converting, swapped = threading.Event(), threading.Event()

    class Slow:
        def __index__(self):
            converting.set()
            assert swapped.wait(60)
            return 1

    results = []
    thread = threading.Thread(target=lambda: results.append(lib.f(abs, Slow())))
    thread.start()
    assert converting.wait(60)
    path.write_text(text.replace("+ 1", "+ 2"))
    midflight.swap(lib)
    assert midflight.versions(lib)[0].held_by == ("1 call",)
    swapped.set()
    thread.join()
    assert results == [2]
    assert lib.f(abs, 1) == 3


def test_unload_from_a_values_own_conversion(source, load):
    lib = load(source)

    class Unloading:
        def __index__(self):
            midflight.unload(lib)
            gc.collect()
            return 1

    assert lib.f(Unloading()) == 2
    with pytest.raises(midflight.UnloadedError):
        lib.f(1)


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_the_end_of_the_process_is_quiet(source):
    outcome = run(
        """
        import sys, midflight
        lib = midflight.load(sys.argv[1])
        kept = [lib.f, lib.get(), lib.get().contents, midflight.variables(lib)["p"], lib]
        kept.append(kept)
        print(lib.f(1))
        """,
        source,
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "2\n", "")


def test_a_sub_interpreter_gets_a_clear_refusal(source):
    outcome = run(
        """
        import sys, midflight
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        lib = midflight.load(sys.argv[1])
        one = interpreters.create()
        interpreters.run_string(one, "try:\\n import midflight\\nexcept ImportError:\\n print('refused', flush=True)")
        interpreters.destroy(one)
        print(lib.f(1))
        try:
            lib.f("x")
        except midflight.ArgumentTypeError:
            print("still ours")
        """,
        source,
    )
    assert (outcome.returncode, outcome.stdout) == (0, "refused\n2\nstill ours\n"), outcome.stderr
