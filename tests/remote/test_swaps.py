"""Catches swaps on the other side that a client doesn't see, sees late, or that make a call wrong."""

from __future__ import annotations

import threading

import pytest

import midflight
from midflight import IncompatibleError, MissingFunction, SwapError
from tests.remote.conftest import swapped

ONE = "int version(int a) { return 1000 * a + 1; }\nint old(void) { return 1; }\n"
TWO = "int version(int a) { return 1000 * a + 2; }\nint old(void) { return 2; }\n"
WIDER = "long version(long a, long b) { return a + b; }\nint fresh(void) { return 3; }\n"


def edit(tmp_path, text):
    (tmp_path / "lib.c").write_text(text)


def test_a_swap_there_is_a_swap_here(here, at, tmp_path):
    module, _ = here(ONE)
    lib = midflight.load("lib.c", lane=at)
    assert lib.version(1) == 1001
    edit(tmp_path, TWO)
    with swapped(lib):
        midflight.swap(module)
        assert lib.version(1) == 1002  # at once, whatever this side has heard
    now = midflight.versions(lib)[-1]
    assert now.artifact == midflight.versions(module)[-1].artifact
    assert now.path == f"version 2 at {at}"
    assert [one.status for one in midflight.versions(lib)] == ["unloaded", "current"]


def test_another_interface_is_taken_over(here, at, tmp_path):
    module, _ = here(ONE)
    lib = midflight.load("lib.c", lane=at)
    function = lib.version
    edit(tmp_path, WIDER)
    with swapped(lib):
        midflight.swap(module, compat="any")
    assert function(2**40, 1) == 2**40 + 1
    assert lib.fresh() == 3
    with pytest.raises(AttributeError):
        lib.old()


def test_a_call_by_the_old_interface_is_refused_without_being_run(here, at, tmp_path):
    module, _ = here(ONE)
    lib = midflight.load("lib.c", lane=at)
    lib.version(1)
    from midflight._control import control_of

    control = control_of(lib)
    control.source.connection.on_change = None  # this side doesn't follow
    edit(tmp_path, WIDER)
    midflight.swap(module, compat="any")
    with pytest.raises(MissingFunction, match="version 2 on the other side"):
        lib.old()


def test_swapping_from_here_is_refused_unless_allowed(here, at, tmp_path):
    module, _ = here(ONE)
    lib = midflight.load("lib.c", lane=at)
    edit(tmp_path, TWO)
    with pytest.raises(SwapError, match="without leave to swap"):
        midflight.swap(lib)
    assert lib.version(1) == 1001
    assert len(midflight.versions(module)) == 1


def test_swapping_from_here(here, at, tmp_path):
    module, _ = here(ONE, allow_swap=True)
    lib = midflight.load("lib.c", lane=at)
    edit(tmp_path, TWO)
    with swapped(lib):
        midflight.swap(lib)
    assert lib.version(1) == 1002
    assert midflight.versions(module)[-1].number == 2
    edit(tmp_path, "int version(int a) { return }")
    with pytest.raises(midflight.BuildError, match="the build failed"):
        midflight.swap(lib)
    edit(tmp_path, WIDER)
    with pytest.raises(IncompatibleError, match="old"):
        midflight.swap(lib)
    assert lib.version(1) == 1002


def test_a_pin_stays_in_its_version_while_that_is_loaded(here, at, tmp_path):
    module, _ = here(ONE)
    lib = midflight.load("lib.c", lane=at)
    edit(tmp_path, TWO)
    with midflight.pin(lib) as pinned, midflight.pin(module):
        with swapped(lib):
            midflight.swap(module)
        assert pinned.version(1) == 1001
        assert lib.version(1) == 1002
    edit(tmp_path, ONE + "\n/* third */ int third(void) { return 3; }")
    with midflight.pin(lib) as pinned:
        with swapped(lib):
            midflight.swap(module)
        with pytest.raises(midflight.UnloadedError):
            pinned.version(1)


def test_a_pointer_of_an_old_version_is_stale(here, at, tmp_path):
    text = "struct s { int x; }; static struct s one = {%d}; struct s *get(void) { return &one; }\n"
    text += "int x(struct s *s) { return s->x; }\n"
    module, _ = here(text % 1)
    lib = midflight.load("lib.c", lane=at)
    old = lib.get()
    edit(tmp_path, text % 2)
    with swapped(lib):
        midflight.swap(module)
    with pytest.raises(midflight.ArgumentTypeError, match="belongs to version 1, and version 2 is called"):
        lib.x(old)
    assert lib.x(lib.get()) == 2
    assert midflight.versions(module)[0].status == "draining"


def test_swaps_under_load(here, at, tmp_path):
    module, _ = here(ONE)
    lib = midflight.load("lib.c", lane=at)
    stop = threading.Event()
    failures, counts = [], []
    began = threading.Barrier(5)

    def work(index):
        began.wait(60)
        count = 0
        while not stop.is_set():
            count += 1
            try:
                result = lib.version(index)
            except BaseException as error:  # noqa: BLE001 - none may come
                failures.append(error)
                return
            if result not in {1000 * index + 1, 1000 * index + 2}:
                failures.append(result)
                return
        counts.append(count)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    began.wait(60)
    for turn in range(20):
        edit(tmp_path, (TWO, ONE)[turn % 2])
        midflight.swap(module)
        assert lib.version(0) == (2, 1)[turn % 2]
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(counts)


def test_interfaces_that_change_under_load(here, at, tmp_path):
    """Each call runs by the interface that it was made for, or is made again by the new one; none is mixed up."""
    first = "typedef struct p { int x; int y; } p;\nint side(int a) { return a; }\n"
    second = "typedef struct p { long y; int x; } p;\nlong side(int a) { return a; }\n"
    texts = [
        first + "p get(int a) { p r = {a, -a}; return r; }",
        second + "p get(int a) { p r = {-a, a}; return r; }",
    ]
    module, _ = here(texts[0])
    lib = midflight.load("lib.c", lane=at)
    stop = threading.Event()
    failures = []
    began = threading.Barrier(4)

    def work(index):
        began.wait(60)
        while not stop.is_set():
            got = lib.get(index)
            if (got.x, got.y) != (index, -index) or lib.side(index) != index:
                failures.append((got.x, got.y))

    threads = [threading.Thread(target=work, args=(index + 1,)) for index in range(3)]
    for thread in threads:
        thread.start()
    began.wait(60)
    for turn in range(10):
        edit(tmp_path, texts[(turn + 1) % 2])
        midflight.swap(module, compat="any")
        lib.get(1)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
