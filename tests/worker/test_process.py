"""A worker's life: what it prints, how it sleeps, how many there are, what stays of it.

Would catch: output that is lost or out of order, an idle worker that uses the processor, calls that wait for each other
without need, a fork's child that disturbs its parent, anything that grows with the number of swaps.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import midflight
from tests.worker.conftest import LIBRARY, pid_of, state_of, wait_until, workers

# ---- output


def test_its_output_is_in_order_with_the_hosts(host, library) -> None:
    one = host(
        """
        m = midflight.load(sys.argv[1], lane="worker")
        for i in range(3):
            m.print(f"library {i}"); say("host", i)
        m.print_then_call(lambda x: say("inside") or 0)
        m.print_many(20000)
        say("end")
        """,
        library,
    )
    lines = [one.line() for _ in range(9)]
    assert lines == [
        "library 0", "host 0", "library 1", "host 1", "library 2", "host 2",
        "before the callback", "inside", "after the callback",
    ]  # fmt: skip
    assert [one.line() for _ in range(20000)] == [f"line {i} of the library" for i in range(20000)]
    assert one.line() == "end"
    assert one.process.wait(60) == 0


# ---- sleeping, and working at the same time


def _spent(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def _switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())))
    return total


def _asleep(pid: int) -> bool:
    states = [(task / "stat").read_text().rpartition(") ")[2][0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return set(states) == {"S"}


def test_an_idle_worker_sleeps(start, library) -> None:
    """Its threads aren't even scheduled while another worker works."""
    idle, busy = start(workers=4), midflight.load(library, lane="worker")
    for _ in range(1000):
        idle.add(1, 2)
    pid = pid_of(idle)
    wait_until(lambda: _asleep(pid))
    before = _spent(pid), _switches(pid)
    for _ in range(50_000):
        busy.add(1, 2)
    assert (_spent(pid), _switches(pid)) == before
    assert idle.add(1, 2) == 3


def test_as_many_calls_at_once_as_workers_and_no_more(start) -> None:
    lib = start(workers=3)
    inside, go = midflight.shared_array(1, np.int32), midflight.shared_array(1, np.int32)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(lib.meet, inside, go) for _ in range(4)]
        wait_until(lambda: inside[0] == 3)  # a barrier inside of the library: all three are in it
        assert not any(call.done() for call in calls)
        wait_until(lambda: midflight.versions(lib)[0].status == "current")
        assert inside[0] == 3
        go[0] = 1
        assert [call.result(60) for call in calls] == [1] * 4
    assert inside[0] == 4


def test_another_thread_runs_while_a_call_waits(lib) -> None:
    flag = midflight.shared_array(1, np.int32)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lib.spin, flag)
        wait_until(lambda: flag[0] == 1)
        flag[0] = 2
        call.result(60)


# ---- several modules; the ways of swapping


def test_several_modules_call_each_other(start, library) -> None:
    one, other, here = start(), start(name="other"), midflight.load(library)
    assert one.apply(lambda x: other.apply(lambda y: here.apply(lambda z: one.add(z, 1), y), x), 1) == 5
    assert len({one.process(), other.process(), here.process(), os.getpid()}) == 3
    midflight.unload(here)  # it keeps the callback, which refers to it


def test_pin_rollback_unload(lib, library) -> None:
    first = pid_of(lib)
    lib.count()
    library.write_text(LIBRARY.replace("return ++counter", "return counter += 10"))
    with midflight.pin(lib) as pinned:
        midflight.swap(lib)
        assert (pinned.count(), lib.count(), pinned.process()) == (2, 11, first)
        os.kill(first, signal.SIGKILL)
        assert pinned.count() == 1  # a fresh worker of the pinned version
    wait_until(lambda: state_of(first) == "" and len(workers()) == 1)
    midflight.rollback(lib)
    assert lib.count() == 12, "going back brings the data along too"
    kept = lib.count
    assert midflight.unload(lib).status == "unloaded"
    assert workers() == []
    with pytest.raises(midflight.UnloadedError):
        kept()


def test_a_transaction(start, tmp_path) -> None:
    one, other = start(), start(name="other")
    pids = {pid_of(one), pid_of(other)}
    broken = tmp_path / "broken.c"
    broken.write_text(LIBRARY + "__attribute__((constructor)) static void begin(void) { abort(); }")
    better = tmp_path / "better.c"
    better.write_text(LIBRARY.replace("return a + b", "return a - b"))
    with pytest.raises(midflight.WorkerCrashedError), midflight.transaction() as together:
        together.swap(one, better)
        together.swap(other, broken)
    assert set(workers()) == pids
    assert (one.add(1, 1), other.add(1, 1)) == (2, 2)
    with midflight.transaction() as together:
        together.swap(one, better)
        together.swap(other, better)
    assert (one.add(1, 1), other.add(1, 1)) == (0, 0)
    assert not set(workers()) & pids


def test_aswap_and_calls_from_tasks(lib, library) -> None:
    async def play() -> set[int]:
        found = set()
        for turn in range(5):
            library.write_text(LIBRARY.replace("return a + b", f"return a + b + {turn}"))
            swapping = asyncio.ensure_future(midflight.aswap(lib))
            while not swapping.done():
                found.add(lib.add(0, 0))
                await asyncio.sleep(0)
            await swapping
        return found

    assert asyncio.run(play()) <= set(range(5))
    assert lib.add(0, 0) == 4


def test_a_version_moves_between_lanes(library) -> None:
    """What decides is the module's lane; another module may have the same bytes elsewhere."""
    here, there = midflight.load(library, lane="here"), midflight.load(library, lane="worker")
    assert (midflight.versions(here)[0].lane, midflight.versions(there)[0].lane) == ("here", "worker")
    assert here.process() == os.getpid() != there.process()
    with pytest.raises(midflight.SourceError, match="no lane"):
        midflight.load(library, lane="elsewhere")
    with pytest.raises(midflight.SourceError, match="too few"):
        midflight.load(library, lane="worker", workers=0)


# ---- fork


def test_a_forks_child_gets_a_worker_of_its_own(host, library) -> None:
    one = host(
        """
        m = midflight.load(sys.argv[1], lane="worker")
        shared = [m.count() for _ in range(3)]
        before = m.process()
        child = os.fork()
        if child == 0:
            own = m.process()
            say("child", m.count(), own != before, m.apply(lambda x: x * 2, 5))
            midflight.swap(m, sys.argv[1]); say("child", midflight.unload(m).status)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        say("parent", m.count(), m.process() == before, m.apply(lambda x: x * 3, 5))
        """,
        library,
    )
    assert one.line() == "child 1 True 11"
    assert one.line() == "child unloaded"
    assert one.line() == "parent 4 True 16"
    assert one.process.wait(60) == 0


def test_a_fork_inside_a_callback(host, library) -> None:
    """The child's way back out of the call ends there; the parent's call goes on."""
    one = host(
        """
        m = midflight.load(sys.argv[1], lane="worker")
        children = []
        def fork(x):
            children.append(os.fork())
            return 5
        try:
            answer = m.apply(fork, 1)
        except midflight.WorkerError as error:
            assert children == [0], children
            say("child", "forked in the middle of the call" in str(error), m.add(1, 2)); os._exit(0)
        assert os.waitpid(children[0], 0)[1] == 0
        say("parent", answer, m.add(3, 4))
        """,
        library,
    )
    assert one.line() == "child True 3"
    assert one.line() == "parent 6 7"
    assert one.process.wait(60) == 0


def test_a_fork_while_other_threads_are_at_work(host, library) -> None:
    one = host(
        """
        m = midflight.load(sys.argv[1], lane="worker", workers=2)
        stop = threading.Event()
        def work():
            while not stop.is_set(): m.apply(abs, 1)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if m.apply(abs, 2) == 3 else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        say("done", m.add(1, 2))
        """,
        library,
    )
    assert one.line() == "done 3"
    assert one.process.wait(60) == 0


# ---- what stays


def test_a_thousand_swaps_leave_nothing(tmp_path) -> None:
    sources = [tmp_path / f"v{number}.c" for number in range(2)]
    for number, source in enumerate(sources):
        source.write_text(f"int v(int (*f)(int)) {{ return f({number}); }}")
    lib = midflight.load(sources[0], lane="worker", name="lib")

    def swap(times: int) -> None:
        for turn in range(times):
            midflight.swap(lib, sources[(turn + 1) % 2])
            assert lib.v(abs) == (turn + 1) % 2

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(workers())

    swap(50)
    wait_until(lambda: len(workers()) == 1)  # the last but one may still be about to end
    before, memory = held(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    threads = threading.active_count()
    swap(1000)
    wait_until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
    wait_until(lambda: threading.active_count() <= threads)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000
