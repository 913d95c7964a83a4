"""What a worker may use, and what a sandbox forbids.

Would catch: a limit that isn't set, that ends more than the worker, or that the library's own start uses up; a filter
with a hole, or one that keeps a library from computing.
"""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import midflight
from midflight import CallTimeoutError, Limits, WorkerCrashedError
from tests.worker.conftest import LIBRARY, pid_of, wait_until

MEGABYTE = 1 << 20


@pytest.mark.parametrize("workers", [1, 8])
def test_memory(start, workers) -> None:
    lib = start(limits=Limits(memory=64 * MEGABYTE), workers=workers)
    assert lib.grab(32 * MEGABYTE) == 1
    assert lib.grab(128 * MEGABYTE) == -errno.ENOMEM
    assert lib.grab(32 * MEGABYTE) == 1
    large = np.ones(16 * MEGABYTE)  # what is passed isn't the library's
    assert lib.sum(large, len(large)) == len(large)


def test_memory_that_a_constructor_fills(library) -> None:
    library.write_text(
        LIBRARY + "__attribute__((constructor)) static void begin(void) { if (grab(1 << 28) < 0) abort(); }"
    )
    with pytest.raises(WorkerCrashedError, match=r"before it was ready.*SIGABRT"):
        midflight.load(library, lane="worker", limits=Limits(memory=64 * MEGABYTE))
    assert midflight.load(library, lane="worker").add(1, 2) == 3


def test_cpu_time(start) -> None:
    lib = start(limits=Limits(cpu=1))
    flag = midflight.shared_array(1, np.int32)
    with pytest.raises(WorkerCrashedError, match=r"SIGXCPU \(it has used up its CPU time\)"):
        lib.spin(flag)
    assert lib.add(1, 2) == 3


def test_open_files(start) -> None:
    assert 5 <= start(limits=Limits(files=20)).open_many(100) < 20
    assert start().open_many(100) == 100


def test_call_time(start) -> None:
    lib = start(limits=Limits(call=0.05))
    for _ in range(2):
        with pytest.raises(CallTimeoutError, match=r"lib\.hang: it took longer than 0\.05 s") as caught:
            lib.hang()
        assert isinstance(caught.value, TimeoutError)
        assert lib.add(1, 2) == 3


def test_call_time_inside_a_callback(start) -> None:
    lib = start(limits=Limits(call=0.2))
    with pytest.raises((CallTimeoutError, WorkerCrashedError)):
        lib.apply(lambda _: lib.hang() or 0, 1)
    assert lib.add(1, 2) == 3


def test_a_call_isnt_to_blame_for_those_before_it(start) -> None:
    """One at a time: each takes a while, all together longer than one may."""
    lib = start(limits=Limits(call=2.0))
    pid = pid_of(lib)

    def spend(_: int) -> int:
        end = time.monotonic() + 0.35  # what is tested is the time itself
        wait_until(lambda: time.monotonic() > end)
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: lib.apply(spend, 1), range(8))) == [2] * 8
    assert pid_of(lib) == pid


# ---- the sandbox


@pytest.fixture
def caged(start):
    return start(sandbox=True, workers=2)


def test_what_a_sandbox_forbids(caged, tmp_path) -> None:
    there = tmp_path / "there"
    there.write_text("text")
    refused = {
        "socket": caged.try_socket(), "unix socket": caged.try_unix_socket(),
        "create": caged.try_write(str(tmp_path / "new")), "write": caged.try_write(str(there)),
        "fopen": caged.try_fopen(str(there)), "unlink": caged.try_unlink(str(there)),
        "mkdir": caged.try_mkdir(str(tmp_path / "directory")), "exec": caged.try_exec(), "fork": caged.try_fork(),
        "kill the host": caged.try_kill(os.getpid()), "kill all": caged.try_kill(-1),
        "a thread's socket": caged.try_socket_in_a_thread(),
    }  # fmt: skip
    assert refused == dict.fromkeys(refused, errno.EPERM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lib.c", "there"]


def test_every_thread_that_serves_is_in_the_sandbox(caged) -> None:
    inside, go = midflight.shared_array(1, np.int32), midflight.shared_array(1, np.int32)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(caged.meet, inside, go)
        wait_until(lambda: inside[0] == 1)
        assert caged.try_socket() == errno.EPERM
        go[0] = 1
        assert one.result(60) == 1
    assert caged.try_socket() == errno.EPERM


def test_what_a_sandbox_allows(caged, tmp_path) -> None:
    there = tmp_path / "there"
    there.write_text("text")
    assert caged.try_read(str(there)) == 0
    assert caged.try_thread() == 0
    assert caged.try_kill(pid_of(caged)) == 0
    assert caged.grab(MEGABYTE) == 1
    assert caged.sum(np.ones(1000), 1000) == 1000
    assert caged.sum(midflight.shared_array(10), 10) == 0
    assert caged.apply(lambda x: x * 2, 4) == 9
    with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
        caged.crash(None)
    with pytest.raises(WorkerCrashedError, match="SIGABRT"):
        caged.end_by_abort()


def test_a_sandboxed_worker_still_ends(caged, library) -> None:
    library.write_text(LIBRARY + "int more;")
    assert midflight.swap(caged).old.status == "unloaded"
    assert caged.try_socket() == errno.EPERM


def test_a_constructor_is_in_the_sandbox(library) -> None:
    library.write_text(
        LIBRARY + "static int found; __attribute__((constructor)) static void begin(void) { found = try_socket(); }"
        "int at_start(void) { return found; }"
    )
    assert midflight.load(library, lane="worker", sandbox=True).at_start() == errno.EPERM
    assert midflight.load(library, lane="worker").at_start() == 0


def test_without_a_sandbox_all_that_works(lib, tmp_path) -> None:
    assert (lib.try_socket(), lib.try_fork(), lib.try_write(str(tmp_path / "new"))) == (0, 0, 0)
