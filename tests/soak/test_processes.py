"""What becomes of a soak when processes come and go.

Would catch: a program that can't end because something is watched; a child of a fork whose soak never ends, or ends its
parent's; a call that a fork has left behind and that is taken for one that hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

import midflight
from midflight._control import control_of
from tests.soak.conftest import calls

FAILS = 'throw std::runtime_error("it failed")'


@pytest.fixture
def module(make, load):
    return load(make())


PROGRAM = """
import sys, threading, midflight
module = midflight.load(sys.argv[1], lane=sys.argv[3])
soak = midflight.swap(module, sys.argv[2], soak=1000).soak
module.work(1)
print([thread.name for thread in threading.enumerate() if "soak" in thread.name], soak.state)
"""


@pytest.mark.parametrize("lane_name", ["here", "worker"])
def test_a_program_ends_in_the_middle_of_a_soak(make, lane_name) -> None:
    arguments = [sys.executable, "-c", PROGRAM, str(make()), str(make()), lane_name]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "['midflight-soak-watcher'] under way\n"


def in_child(what) -> int:
    """Run something in a forked child; return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if what() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_goes_on_by_itself(module, make, clock) -> None:
    soak = midflight.swap(module, make(FAILS), soak=30).soak

    def child() -> bool:
        failed = calls(module.work, 20)
        clock.pass_(0.1)
        return failed == 20 and soak.wait(20) == "went back" and module.whoami() == 1

    assert in_child(child) == 0
    assert (soak.state, soak.stats.new.calls) == ("under way", 0)
    assert module.whoami() == 2
    clock.pass_(30)
    assert soak.wait(20) == "passed"


def test_a_child_that_has_another_threads_call_doesnt_take_it_for_a_hang(make, clock) -> None:
    module = midflight.load(make())
    soak = midflight.swap(module, make(), soak=30).soak
    inside, go_on = threading.Event(), threading.Event()

    def stay(_x) -> int:
        inside.set()
        assert go_on.wait(20)
        return 1

    other = threading.Thread(target=module.call, args=(stay, 1))
    other.start()
    assert inside.wait(20)
    assert len(soak.stats.new.under_way) == 1
    assert in_child(lambda: soak.stats.new.under_way == () and soak.stats.new.calls == 0) == 0
    go_on.set()
    other.join()
    clock.pass_(30)
    assert soak.wait(20) == "passed"


def test_a_hundred_soaks_leave_nothing(make, load, clock) -> None:
    """Threads, pins, versions: each soak gives back what it took."""
    module = load(make())
    paths = [make(), make()]
    soaks = [midflight.swap(module, paths[i % 2], soak=30).soak for i in range(100)]
    clock.pass_(30)
    assert soaks[-1].wait(20) == "passed"
    assert {soak.state for soak in soaks[:-1]} == {"superseded"}
    end = time.monotonic() + 20
    while time.monotonic() < end and any(one.status == "draining" for one in midflight.versions(module)):
        os.sched_yield()
    assert {one.status for one in midflight.versions(module)[:-1]} == {"unloaded"}
    current = control_of(module).need_current()
    assert (current.table.pins, current.table.observer, current.observers) == (0, None, 0)
