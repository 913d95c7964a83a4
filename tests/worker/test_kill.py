"""kill -9 of the worker and of the host, at every step.

Would catch: a worker that outlives its host, a zombie, a file or a mapping that stays, a host that waits for a
dead worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import midflight
from midflight import WorkerCrashedError
from tests.worker.conftest import LIBRARY, pid_of, state_of, wait_until, workers


def kill(pid: int) -> None:
    """Kill a worker of ours (it is our child, so its number can't be another's by now)."""
    os.kill(pid, signal.SIGKILL)


# ---- the worker


def test_before_it_is_ready(library) -> None:
    library.write_text(LIBRARY + "__attribute__((constructor)) static void begin(void) { hang(); }")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(midflight.load, library, lane="worker")
        wait_until(workers)
        for pid in workers():
            kill(pid)
        with pytest.raises(WorkerCrashedError, match=r"before it was ready.*SIGKILL"):
            loading.result(60)


def test_while_it_is_idle(lib) -> None:
    for _ in range(5):
        pid = pid_of(lib)
        wait_until(lambda pid=pid: state_of(pid) == "S")
        kill(pid)
        assert lib.add(1, 2) == 3


def test_inside_a_call(start) -> None:
    lib = start()
    flag = midflight.shared_array(1, np.int32)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lib.spin, flag)
        wait_until(lambda: flag[0] == 1)
        kill(pid_of(lib))
        with pytest.raises(WorkerCrashedError, match="SIGKILL"):
            call.result(60)
    assert lib.add(1, 2) == 3


def test_inside_a_callback_and_a_nested_call(lib) -> None:
    def die(n: int) -> int:
        if n == 0:
            kill(pid_of(lib))
            wait_until(lambda: not workers() or state_of(workers()[0]) == "Z")
            return 0
        return lib.nest(die, n)

    for depth in (1, 4):
        with pytest.raises(WorkerCrashedError, match="SIGKILL"):
            lib.nest(die, depth)
        assert lib.add(1, 2) == 3


def test_during_a_swap(lib, library) -> None:
    """The version that is being prepared dies; the module goes on with the one that it has."""
    before = pid_of(lib)
    library.write_text(LIBRARY + "__attribute__((constructor)) static void begin(void) { hang(); }")
    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(midflight.swap, lib)
        wait_until(lambda: set(workers()) - {before})
        assert lib.add(1, 2) == 3
        for pid in set(workers()) - {before}:
            kill(pid)
        with pytest.raises(WorkerCrashedError):
            swapping.result(60)
    assert pid_of(lib) == before
    library.write_text(LIBRARY + "int more;")
    midflight.swap(lib)
    assert lib.add(1, 2) == 3


def test_the_old_version_during_a_swap(lib, library) -> None:
    kill(pid_of(lib))
    library.write_text(LIBRARY + "int more;")
    assert midflight.swap(lib).old.status == "unloaded"
    assert lib.add(1, 2) == 3


def test_while_it_is_retired(start, library) -> None:
    lib = start(LIBRARY + "__attribute__((destructor)) static void end(void) { hang(); }")
    old = pid_of(lib)
    library.write_text(LIBRARY)
    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(midflight.swap, lib)
        wait_until(lambda: pid_of(lib) != old)
        kill(old)
        assert swapping.result(60).old.status == "unloaded"


def test_a_hundred_workers_at_once(library) -> None:
    with ThreadPoolExecutor(8) as pool:
        modules = list(pool.map(lambda _: midflight.load(library, lane="worker"), range(100)))
        assert len(set(workers())) == 100
        assert len(set(pool.map(lambda module: module.process(), modules))) == 100
        for module in modules[::2]:
            kill(pid_of(module))
        assert list(pool.map(lambda module: module.add(1, 2), modules)) == [3] * 100
        for version in pool.map(midflight.unload, modules):
            assert version.status == "unloaded"
    assert workers() == []


# ---- the host

STEPS = {
    "idle": 'm = midflight.load(sys.argv[1], lane="worker")\nsay(pid(m))\nsys.stdin.read()',
    "inside a call": 'm = midflight.load(sys.argv[1], lane="worker")\nsay(pid(m))\nm.hang()',
    "inside a callback": """
        m = midflight.load(sys.argv[1], lane="worker")
        m.apply(lambda x: say(pid(m)) or sys.stdin.read(), 1)
    """,
    "inside a nested call": """
        m = midflight.load(sys.argv[1], lane="worker")
        m.nest(lambda n: say(pid(m)) or m.hang() or 0, 1)
    """,
    "several threads inside": """
        m = midflight.load(sys.argv[1], lane="worker", workers=3)
        for _ in range(3): threading.Thread(target=m.hang, daemon=True).start()
        say(pid(m)); sys.stdin.read()
    """,
    "a fork's child has it too": """
        m = midflight.load(sys.argv[1], lane="worker")
        if os.fork() == 0:
            say(pid(m)); m.hang()
        os.wait()
    """,
}


def _forked_by(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid), "python"], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.parametrize("step", STEPS)
def test_the_host_is_killed(host, library, step) -> None:
    one = host(STEPS[step], library)
    pid = int(one.line())
    assert state_of(pid)
    children = _forked_by(one.process.pid)
    one.kill()
    for child in children:  # what a host has forked is its own business
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    one.check_traces([pid])


HANGING = {
    "before the worker is ready": ("constructor", "midflight.load(sys.argv[1], lane='worker')"),
    "while the worker is retired": ("destructor", "midflight.unload(midflight.load(sys.argv[1], lane='worker'))"),
}


@pytest.mark.parametrize("step", HANGING)
def test_the_host_is_killed_while_the_library_hangs(host, library, tmp_path, step) -> None:
    kind, code = HANGING[step]
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    said = os.open(fifo, os.O_RDWR)
    body = f'char text[20]; int f = open("{fifo}", O_WRONLY); int n = sprintf(text, "%d\\n", getpid());'
    library.write_text(
        LIBRARY + f"__attribute__(({kind})) static void edge(void) {{ {body} if (write(f, text, n)) hang(); }}"
    )
    one = host("from midflight.lanes.worker import process\nprocess.GRACE = 60.0\n" + code, library)
    pid = int(os.read(said, 20))
    os.close(said)
    one.kill()
    one.check_traces([pid])


def test_a_host_that_ends_as_usual_leaves_nothing(host, library) -> None:
    one = host('m = midflight.load(sys.argv[1], lane="worker")\nsay(pid(m), m.add(1, 2))', library)
    pid, answer = one.line().split()
    assert answer == "3"
    assert one.process.wait(60) == 0
    one.check_traces([int(pid)])
    assert one.process.stderr.read() == ""
