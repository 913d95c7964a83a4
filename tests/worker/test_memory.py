"""Memory across the border: buffers, shared arrays, text, pointers, variables.

Would catch: a copy that isn't brought back, or is brought over twice where C sees one place; a shared array that is
copied; an address that is used in the wrong process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import midflight
from midflight import ArgumentTypeError, UnsupportedFunctionError, WorkerCrashedError
from midflight.lanes.worker.process import Process
from tests.worker.conftest import LIBRARY, pid_of, wait_until

# ---- copied buffers


def test_the_same_array_twice_is_one_place(lib) -> None:
    items = np.arange(4, dtype=np.int32)
    assert lib.copy(items, items, 4) == 1
    assert items.tolist() == [1, 2, 3, 4]
    assert lib.distance(np.zeros(1), np.zeros(1)) != 0


@pytest.mark.parametrize(
    ("one", "other"), [(slice(0, 6), slice(2, 8)), (slice(2, 8), slice(0, 6)), (slice(0, 8), slice(3, 4))]
)
def test_slices_of_one_array_overlap_over_there_too(lib, one, other) -> None:
    items = np.arange(8.0)
    assert lib.distance(items[one], items[other]) == (other.start or 0) - (one.start or 0)
    whole = np.arange(8, dtype=np.int32)
    expected = whole.copy()
    for index in range(1):
        expected[other.start + index] = expected[one.start + index] + 1
    lib.copy(whole[one], whole[other], 1)
    assert whole.tolist() == expected.tolist()


def test_an_empty_slice_before_the_whole(lib) -> None:
    items = np.arange(4, dtype=np.int32)
    for empty in (items[0:0], items[2:2], items[4:4]):
        lib.copy(empty, items, 0)
        lib.copy(items, empty, 0)
        assert lib.sum(items[0:0].astype(float), 0) == 0
    target = np.zeros(4, dtype=np.int32)
    lib.copy(items[0:0], items, 0)
    lib.copy(items, target, 4)
    assert target.tolist() == [1, 2, 3, 4]


def test_one_item_through_two_pointers(lib) -> None:
    number = ctypes.c_int(5)
    assert lib.swap_ends(number, number) == 5
    pair = np.array([1, 2], dtype=np.int32)
    lib.swap_ends(pair[0:1], pair[1:2])
    assert pair.tolist() == [2, 1]


def test_read_only_and_empty_buffers(lib) -> None:
    locked = np.ones(3)
    locked.flags.writeable = False
    assert lib.sum(locked, 3) == 3
    with pytest.raises(ArgumentTypeError, match="read-only"):
        lib.scale(locked, 3, 2.0)
    assert lib.sum(np.zeros(0), 0) == 0
    assert lib.sum(None, 0) == 0


@pytest.mark.parametrize("count", [1, 511, 512, 513, 1 << 20, 5_000_000])
def test_buffers_of_every_size_come_back_changed(lib, count) -> None:
    items = np.ones(count)
    lib.scale(items, count, 3.0)
    assert items[0] == items[-1] == 3.0
    assert items.sum() == 3.0 * count


def test_a_pointer_into_what_was_passed_is_one_into_the_callers_memory(lib) -> None:
    items = np.array([1.0, 9.0, 3.0])
    found = lib.largest(items, 3)
    assert found.address == items.ctypes.data + 8
    assert found.contents.value == 9.0


def test_unaligned_memory(lib) -> None:
    raw = bytearray(8 * 4 + 1)
    items = np.frombuffer(memoryview(raw)[1:], dtype=np.float64)
    items[:] = [1, 2, 3, 4]
    assert lib.sum(items, 4) == 10


# ---- shared arrays


def test_a_shared_array_isnt_copied(start) -> None:
    """The worker's write is seen while the call runs, and ours by the call."""
    lib = start()
    items, seen = midflight.shared_array(4, np.int32), midflight.shared_array(1, np.int32)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lib.say_written, items, seen)
        wait_until(lambda: items[0] == 77)
        seen[0] = 1
        call.result(60)


def test_slices_of_a_shared_array(lib) -> None:
    items = midflight.shared_array((4, 3))
    items[:] = 1
    lib.scale(items[1:3], 6, 5.0)
    assert items.sum(axis=1).tolist() == [3, 15, 15, 3]
    assert lib.distance(items, items[2]) == 6
    with pytest.raises(ArgumentTypeError, match="contiguous"):
        lib.sum(items[:, 1], 4)


def test_shared_and_copied_memory_in_one_call(lib) -> None:
    shared, own = midflight.shared_array(3, np.int32), np.arange(3, dtype=np.int32)
    assert lib.copy(own, shared, 3) == 0
    assert shared.tolist() == [1, 2, 3]
    assert lib.copy(shared, own, 3) == 0
    assert own.tolist() == [2, 3, 4]


def test_a_shared_array_in_several_workers_and_after_a_crash(start, library) -> None:
    one, other = start(), midflight.load(library, lane="worker")
    items = midflight.shared_array(2)
    items[:] = 1
    for lib in (one, other):
        lib.scale(items, 2, 2.0)
    assert items.tolist() == [4, 4]
    os.kill(pid_of(one), signal.SIGKILL)
    one.scale(items, 2, 2.0)
    assert items.tolist() == [8, 8]


def test_many_shared_arrays_are_freed_again_in_the_worker_too(lib) -> None:
    def mapped() -> int:
        with Path(f"/proc/{pid_of(lib)}/maps").open() as maps:
            return sum("midflight:shared" in line for line in maps)

    for _ in range(50):
        items = midflight.shared_array(1000)
        lib.scale(items, 1000, 1.0)
    assert mapped() >= 1
    del items
    wait_until(lambda: mapped() == 0)


def test_a_view_keeps_a_shared_array(lib) -> None:
    view = midflight.shared_array(10)[3:5]
    view[:] = 4
    assert lib.sum(view, 2) == 8


def test_what_cant_be_shared() -> None:
    for dtype in (object, [("a", "O")]):
        with pytest.raises(ArgumentTypeError, match="Python objects"):
            midflight.shared_array(3, dtype)
    with pytest.raises(TypeError):
        midflight.shared_array(3, "no such type")
    with pytest.raises((ValueError, MemoryError, OverflowError)):
        midflight.shared_array(-1)
    with pytest.raises((ValueError, MemoryError, OverflowError)):
        midflight.shared_array(1 << 62)
    assert midflight.shared_array(0).shape == (0,)
    assert midflight.shared_array((2, 0, 3)).shape == (2, 0, 3)
    assert midflight.shared_array(()).shape == ()


def test_a_shared_array_here(library) -> None:
    lib = midflight.load(library)
    items = midflight.shared_array(3)
    items[:] = 2
    lib.scale(items, 3, 2.0)
    assert items.tolist() == [4, 4, 4]


# ---- text


def test_text(lib) -> None:
    assert lib.length("größe 🐍") == len("größe 🐍".encode())
    assert [lib.text_of(which) for which in range(4)] == [None, "gr\udcfc\udcdf", "", "text"]
    for size in (0, 1, 255, 256, 257, 100_000, 10_000_000):
        assert len(lib.long_text(size)) == size
        assert lib.length("y" * size) == size


def test_text_in_a_struct_is_an_address(lib) -> None:
    """Not what ctypes would read from there: in this process there is something else, or nothing."""
    found = lib.get_named()
    assert found.n == 7
    assert isinstance(found.name, int)


# ---- pointers


def test_pointers_are_opaque_and_go_back(lib) -> None:
    point = lib.make_point(2.5, 3)
    assert lib.get_x(point) == 2.5
    assert lib.move(point, 1.0) == 3.5
    assert re.fullmatch(r"<struct point \* 0x[0-9a-f]+>", repr(point))
    for use in (lambda: point.contents, lambda: point[0]):
        with pytest.raises(UnsupportedFunctionError, match="memory of a worker process"):
            use()
    with pytest.raises(ArgumentTypeError, match="pointer of type"):
        lib.sum(point, 1)


def test_pointers_of_others_are_refused(start, library) -> None:
    lib = start()
    own = lib.make_point(1, 1)
    other = midflight.load(library, lane="worker").make_point(2, 2)
    here = midflight.load(library)
    for foreign, words in ((other, "another worker process"), (here.make_point(3, 3), "this process")):
        with pytest.raises(ArgumentTypeError, match=words):
            lib.get_x(foreign)
    with pytest.raises(ArgumentTypeError, match="a worker process: it can be passed to functions of its own"):
        here.get_x(own)
    assert lib.get_x(own) == 1


def test_a_pointer_of_another_version_is_refused_and_keeps_it(lib, library) -> None:
    old = lib.make_point(1, 1)
    library.write_text(LIBRARY + "int more;")
    report = midflight.swap(lib)
    assert report.old.held_by == ("1 pointer",)
    with pytest.raises(ArgumentTypeError, match="another worker process, of another version"):
        lib.get_x(old)
    del old
    assert midflight.versions(lib)[0].status == "unloaded"


def test_a_pointer_of_a_dead_worker_is_refused(lib) -> None:
    old = lib.make_point(1, 1)
    with pytest.raises(WorkerCrashedError):
        lib.crash(None)
    with pytest.raises(ArgumentTypeError, match="or one that has ended"):
        lib.get_x(old)
    assert lib.get_x(lib.make_point(4, 1)) == 4


def test_addresses_of_this_process_are_refused(lib) -> None:
    with pytest.raises(ArgumentTypeError, match="can't follow"):
        lib.with_pointer(None, ctypes.c_void_p(4096))
    assert lib.with_pointer.__name__ == "with_pointer"
    point = midflight.types(lib).point(1.5, 2)
    assert lib.get_x(ctypes.pointer(point)) == 1.5
    assert lib.move(ctypes.pointer(point), 1.0) == 2.5
    assert point.x == 2.5


# ---- variables


def test_variables_are_read_and_written_and_structs_are_copies(lib) -> None:
    values = midflight.variables(lib)
    values["variable"] = 9
    assert values["variable"] == 9
    copy = values["place"]
    copy.x = 100.0
    assert values["place"].x == 1.5
    values["place"] = copy
    assert values["place"].x == 100.0
    with pytest.raises(WorkerCrashedError):
        lib.crash(None)
    assert (values["variable"], values["place"].x) == (5, 1.5)


TEXTS = """
const char *title = "gr\\xfc\\xdf", *empty = "", *none;
double numbers[4] = {1, 2, 3, 4};
"""


@pytest.fixture
def dying(monkeypatch):
    """Return a context in which a worker dies after a request to it was made up, and before it is sent."""
    request = Process.request

    def late(self, *arguments, **options):
        link = self.link
        os.kill(link.pid, signal.SIGKILL)
        assert link.gone(-1)
        died.append(link.pid)
        return request(self, *arguments, **options)

    @contextlib.contextmanager
    def context():
        died.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Process, "request", late)
            yield
        assert died

    died: list[int] = []
    return context


@pytest.mark.parametrize(
    ("name", "value"),
    [("variable", 5), ("title", "gr\udcfc\udcdf"), ("empty", ""), ("none", None), ("numbers", [1.0, 2.0, 3.0, 4.0])],
)
def test_a_variable_is_found_in_the_worker_that_is_asked_after_all(start, dying, name, value) -> None:
    """The fresh worker has the library somewhere else."""
    values = midflight.variables(start(LIBRARY + TEXTS))
    for _ in range(3):
        with dying():
            found = values[name]
        assert (list(found) if name == "numbers" else found) == value


def test_a_variable_is_written_in_the_worker_that_is_asked_after_all(start, dying) -> None:
    lib = start(LIBRARY + TEXTS + "int get(void) { return variable; } double first(void) { return numbers[0]; }")
    values = midflight.variables(lib)
    for written in (70, 80, 90):
        with dying():
            values["variable"] = written
        assert values["variable"] == lib.get() == written
        with dying():
            values["numbers"] = [written, 0, 0, 0]
        assert values["numbers"][0] == lib.first() == written
        assert lib.get() == 5, "another worker: it has the library as it was loaded"
