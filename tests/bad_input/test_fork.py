"""`os.fork` is no error: the child keeps its versions and can swap, without disturbing the parent.

Would catch: a lock that another thread held at the moment of the fork, files of the parent's that the child removes,
a count of calls or threads that stayed behind, work for the background that nobody does in the child.

Every test runs in a process of its own, because forking a process with threads is what is tested.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PRELUDE = """
import os, signal, sys, threading, warnings
from pathlib import Path
import midflight
warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
one, two = sys.argv[1:3]

def child(work):
    "Run work in a fork's child; end with its words if it fails."
    number = os.fork()
    if number:
        _, status = os.waitpid(number, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == 0, f"the child ended with {code}"
        return
    signal.alarm(10)  # a lock that nobody gives back
    try:
        work()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def mapped(path):
    return path in Path("/proc/self/maps").read_text()
"""

SOURCE = """
static int kept = {0};
int value(void) {{ return {0}; }}
int next(void) {{ return kept++; }}
int through(int (*function)(void)) {{ return function(); }}
"""


@pytest.fixture
def run(workshop):
    """Run a script in a process of its own."""
    libraries = [workshop.library(f"f{n}", SOURCE.format(n)) for n in (1, 2)]

    def start(script: str, *more: object) -> None:
        command = [sys.executable, "-c", PRELUDE + script, *map(str, libraries), *map(str, more)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return start


def test_the_child_swaps_alone(run):
    run("""
m = midflight.load(one)
path = midflight.versions(m)[0].path
assert m.next() == 1

def work():
    assert m.next() == 2
    report = midflight.swap(m, two)
    assert (m.value(), report.old.status) == (2, "unloaded")
    assert not mapped(path)
    mine = midflight.versions(m)[1].path
    assert Path(mine).parent != Path(path).parent
    assert midflight.rollback(m).new.number == 3
    assert midflight.unload(m).status == "unloaded"

child(work)
assert Path(path).exists() and mapped(path)
assert (m.value(), m.next()) == (1, 2)
assert midflight.swap(m, two).old.status == "unloaded"
assert not Path(path).exists()
""")


def test_the_parents_files_outlive_the_child(run):
    run("""
m = midflight.load(one)
path = Path(midflight.versions(m)[0].path)
number = os.fork()
if not number:
    assert midflight.swap(m, two).changed
    sys.exit(0)  # with all that runs at exit
assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
assert path.exists() and m.value() == 1
assert len(list(path.parent.iterdir())) == 2  # the copy and the lock
""")


def test_a_fork_during_another_threads_swap(run, workshop):
    slow = workshop.library(
        "slow",
        """
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void begin(void)
{
    char byte = 1;
    if (write(atoi(getenv("BEGUN")), &byte, 1) != 1 || read(atoi(getenv("END")), &byte, 1) != 1)
        abort();
}
int value(void) { return 3; }
int next(void) { return 3; }
int through(int (*function)(void)) { return function(); }
""",
    )
    run(
        """
(begun_r, begun_w), (end_r, end_w) = os.pipe(), os.pipe()
os.environ |= {"BEGUN": str(begun_w), "END": str(end_r)}
m = midflight.load(one)
thread = threading.Thread(target=midflight.swap, args=(m, sys.argv[3]))
thread.start()
os.read(begun_r, 1)  # the other thread holds the module's queue, in the new version's constructor

def work():
    assert m.value() == 1
    assert midflight.swap(m, two).old.status == "unloaded"
    assert m.value() == 2

child(work)
os.write(end_w, b"x")
thread.join()
assert m.value() == 3
""",
        slow,
    )


@pytest.mark.parametrize(
    "lock",
    [
        "midflight._directory.private._mutex",
        "midflight._cache._lock",
        "midflight.build.compiler._lock",
        "midflight.artifact.reader._lock",
        "midflight._retire._reaper._mutex",
    ],
)
def test_a_lock_that_another_thread_held(run, workshop, lock):
    source = workshop.write("own.c", "int value(void) { return 8; }")
    run(
        f"""
import midflight._cache, midflight.build.compiler, midflight.artifact.reader, midflight._retire, midflight._directory
m = midflight.load(one)
held, end = threading.Event(), threading.Event()

def hold():
    with {lock}:
        held.set()
        end.wait()

thread = threading.Thread(target=hold, daemon=True)
thread.start()
held.wait()

def work():
    assert midflight.swap(m, two).changed
    assert midflight.load(sys.argv[3]).value() == 8
    midflight.versions(m)

child(work)
end.set()
thread.join()
""",
        source,
    )


def test_a_fork_inside_a_call(run):
    """The call goes on in the child, which holds the version until it returns."""
    run("""
m = midflight.load(one)

def fork_here():
    global number
    number = os.fork()
    if number:
        return 0
    report = midflight.swap(m, two, carry="fresh")  # one that moves data would wait for this very call
    assert (report.old.status, report.old.held_by) == ("draining", ("1 call",))
    assert m.value() == 2
    return 1

result = m.through(fork_here)
if number:
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
    assert result == 0 and midflight.versions(m)[0].status == "current"
else:
    assert result == 1
    assert midflight.versions(m)[0].status == "unloaded"
    os._exit(0)
""")


def test_a_call_of_another_thread_stays_behind(run):
    run("""
m = midflight.load(one)
inside, end = threading.Event(), threading.Event()
thread = threading.Thread(target=m.through, args=(lambda: (inside.set(), end.wait(), 5)[2],))
thread.start()
inside.wait()

def work():
    assert midflight.swap(m, two).old.status == "unloaded"  # that call doesn't exist here

child(work)
assert midflight.swap(m, two, carry="fresh").old.status == "draining"
end.set()
thread.join()
midflight.versions(m)
assert midflight.versions(m)[0].status == "unloaded"
""")


def test_threads_of_the_library_stay_behind(run, workshop):
    text = """
#include <pthread.h>
#include <unistd.h>
static int ends[2];
static void *work(void *unused) { char byte; while (read(ends[0], &byte, 1) != 1) { } return unused; }
int start(void) { pthread_t t; return pipe(ends) || pthread_create(&t, 0, work, 0) || pthread_detach(t); }
int stop(void) { return write(ends[1], "x", 1) != 1; }
int version%d;
"""
    paths = [workshop.library(f"threads{n}", text % n) for n in (1, 2)]
    run(
        """
m = midflight.load(sys.argv[3])
assert m.start() == 0

def work():
    assert midflight.swap(m, sys.argv[4]).old.status == "unloaded"

child(work)
old = midflight.swap(m, sys.argv[4]).old
assert old.status == "resident" and "that it started" in old.held_by[0]
os._exit(0)
""",
        *paths,
    )


def test_what_drains_in_the_child_is_unloaded_there(run, workshop):
    """By the child's own background thread, when the last holder has left."""
    text = """
#include <unistd.h>
static int out = -1;
int goodbye(int descriptor) { return out = descriptor; }
int value(void) { return %d; }
__attribute__((destructor)) static void leave(void) { if (out >= 0 && write(out, "x", 1) != 1) out = -1; }
"""
    paths = [workshop.library(f"drains{n}", text % n) for n in (1, 2)]
    run(
        """
m = midflight.load(sys.argv[3])
reader, writer = os.pipe()
m.goodbye(writer)
pin = midflight.pin(m)
pin.__enter__()
assert midflight.swap(m, sys.argv[4]).old.status == "draining"

def work():
    pin.__exit__(None, None, None)
    assert os.read(reader, 1) == b"x"

child(work)
""",
        *paths,
    )
