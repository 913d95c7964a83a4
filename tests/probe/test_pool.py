"""Where probing processes come from and go to.

Catches: a fork of the program used for a probe, a process, descriptor or zombie that is left behind, a probe that
outlives its program, a program that notices its probes, a process that is killed and takes the swap with it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import midflight
from midflight.probing import memory, process
from midflight.probing import pool as pools
from midflight.probing.pool import Pool, pool
from tests.probe.conftest import Calc, ended, probing_processes


@pytest.fixture
def second(calc: Calc):
    return calc.library("second", "int second(void) { return 2; }")


def _ready() -> process.Process:
    """Return the process that waits in the pool."""
    pool.warm_up()
    pool.settle()
    found = pool._ready
    assert found is not None
    found.until_ready()
    return found


def test_a_process_serves_once_and_the_next_one_is_made_ready(calc: Calc, second):
    first = _ready()
    calc.swap(second)
    pool.settle()
    assert not first.alive
    assert pool._ready is not None
    assert pool._ready.alive
    assert pool._ready.pid != first.pid
    assert probing_processes() == {pool._ready.pid}


def test_a_check_or_a_watcher_makes_one_ready(calc: Calc, monkeypatch: pytest.MonkeyPatch):
    for warm in (lambda: midflight.check(calc.module)(len), lambda: midflight.watch(calc.module).stop()):
        made = Pool()
        monkeypatch.setattr(pools, "pool", made)
        warm()
        made.settle()
        assert made._ready is not None
        made._ready.end()


def test_none_is_made_ready_where_nothing_is_probed(calc: Calc, monkeypatch: pytest.MonkeyPatch):
    made = Pool()
    monkeypatch.setattr(pools, "pool", made)
    monkeypatch.setenv("MIDFLIGHT_PROBE", "off")
    midflight.check(calc.module)(len)
    midflight.watch(calc.module).stop()
    assert made._keeper is None


def test_it_is_no_fork_and_has_nothing_of_the_programs(calc: Calc, second, tmp_path: Path):
    """Neither its descriptors nor its memory, its group or its session."""
    marked = (tmp_path / "open").open("w")
    os.set_inheritable(marked.fileno(), True)
    pid, name, group = os.getpid(), str(tmp_path / "open"), os.getpgrp()

    @midflight.check(calc.module)
    def is_another(_v):
        assert os.getpid() != pid
        assert os.getpgrp() == os.getsid(0) == os.getpid() != group
        links = {path.name: str(path.resolve()) for path in Path("/proc/self/fd").iterdir()}
        assert links["0"] == "/dev/null"
        assert "pipe:" in links["1"]
        assert name not in links.values()
        assert "pytest" not in sys.modules
        assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)  # no core dump, wherever they go

    calc.swap(second)
    marked.close()


@pytest.fixture
def reaping():
    """Let somebody else take the status of whatever child ends: here the kernel."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    pool.settle()
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("reaping")
def test_a_program_that_waits_for_any_child_may_probe(calc: Calc, second):
    """The status is gone then; what the process has noted itself isn't."""
    calc.swap(second)
    bad = calc.library("bad", "static int *volatile nowhere; int midflight_check_it(void) { return *nowhere; }")
    error = calc.refused(bad)
    assert (error.kind, error.signal) == ("crash", signal.SIGSEGV)
    ending = calc.library("ending", "#include <stdlib.h>\nint midflight_check_it(void) { exit(3); }")
    error = calc.refused(ending)
    assert error.kind == "exit"
    assert "ended its process in midflight_check_it" in str(error)


def test_one_that_was_killed_while_it_waited_is_replaced(calc: Calc, second):
    os.kill(_ready().pid, signal.SIGKILL)
    assert calc.swap(second).stages["probe"] > 0


class _Killed(process.Process):
    """One that somebody kills when it has got its job."""

    left = 0
    killed = 0

    def _listen(self, deadline, most, outcome):
        if self._ready and _Killed.left:
            _Killed.left -= 1
            _Killed.killed += 1
            os.kill(self.pid, signal.SIGKILL)
        super()._listen(deadline, most, outcome)


@pytest.mark.parametrize(("times", "passes"), [(1, True), (2, False)])
def test_one_that_is_killed_during_a_probe_is_retried_once(
    calc: Calc, second, monkeypatch: pytest.MonkeyPatch, times: int, passes: bool
):
    monkeypatch.setattr(pools, "Process", _Killed)
    monkeypatch.setattr(pools, "pool", Pool())
    monkeypatch.setattr(_Killed, "left", times)
    monkeypatch.setattr(_Killed, "killed", 0)
    if passes:
        calc.swap(second)
    else:
        error = calc.refused(second)
        assert error.kind == "crash"
        assert error.signal == signal.SIGKILL
        assert "was killed" in str(error)
    assert _Killed.killed == times
    pools.pool.settle()
    process.end_all()


def test_one_that_the_system_has_killed_for_want_of_memory_says_so(
    calc: Calc, second, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """It isn't tried again: that would take the same memory.  The kernel's count of such ends tells."""
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 7\noom_kill 3\n")

    class Starved(_Killed):
        def _listen(self, deadline, most, outcome):
            if self._ready:
                counts.write_text("pgfault 9\noom_kill 4\n")
            super()._listen(deadline, most, outcome)

    monkeypatch.setattr(memory, "_COUNTS", counts)
    monkeypatch.setattr(pools, "Process", Starved)
    monkeypatch.setattr(pools, "pool", Pool())
    monkeypatch.setattr(_Killed, "left", 1)
    error = calc.refused(second)
    assert error.kind == "memory"
    assert "that the system had none left and ended its process" in str(error)
    pools.pool.settle()
    process.end_all()


def test_an_idle_one_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pools, "IDLE", 0.05)
    made = Pool()
    made.warm_up()
    keeper = made._keeper
    assert keeper is not None
    keeper.join(30)
    assert not keeper.is_alive()
    assert made._ready is None
    assert made._keeper is None
    made.warm_up()  # and it begins again
    made.settle()


def test_probes_of_several_modules_go_side_by_side(workshop):
    both = threading.Barrier(2, timeout=30)
    calcs = [Calc(workshop), Calc(workshop)]
    found = []

    def probe(number: int):
        calc = calcs[number]
        library = calc.library(f"next-{number}", f"int next_{number}(void) {{ return {number}; }}")
        both.wait()
        found.append(calc.swap(library).stages["probe"])

    threads = [threading.Thread(target=probe, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2


# ---- where there is none --------------------------------------------------------------------------------------------


@pytest.fixture
def no_python(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pools, "pool", Pool())
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")


@pytest.mark.usefixtures("no_python")
def test_without_a_process_a_swap_goes_on_with_a_warning(calc: Calc, second):
    report = calc.swap(second)
    assert report.changed
    assert any("couldn't be probed: no process for it can be started" in warning for warning in report.warnings)


@pytest.mark.usefixtures("no_python")
def test_without_a_process_a_probe_that_was_asked_for_refuses(calc: Calc, second):
    error = calc.refused(second, probe=True)
    assert error.kind == "start"
    assert "no process for it can be started" in str(error)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("frozen", True, "is this program, frozen, and no Python interpreter"),
        ("executable", "/usr/bin/uwsgi", "/usr/bin/uwsgi (sys.executable) isn't a Python interpreter"),
        ("executable", None, "doesn't say which interpreter could be started"),
        ("executable", "", "doesn't say which interpreter could be started"),
    ],
)
def test_a_program_with_python_in_it_isnt_started_again(calc: Calc, second, monkeypatch, name, value, words):
    """It says why, and what to do: name an interpreter."""
    monkeypatch.setattr(pools, "pool", Pool())
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, value, raising=False)
        error = calc.refused(second, probe=True)
    assert error.kind == "start"
    assert words in str(error)
    assert "let sys.executable name an interpreter of this Python" in str(error)
    assert calc.swap(second, probe=True).stages["probe"] > 0


def test_an_interpreter_that_doesnt_get_ready_says_what_it_wrote(calc: Calc, second, monkeypatch, tmp_path: Path):
    broken = tmp_path / "json.py"
    broken.write_text("raise ImportError('this json is broken')")
    monkeypatch.setattr(pools, "pool", Pool())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = calc.refused(second, probe=True)
    assert error.kind == "start"
    assert "this json is broken" in str(error)


# ---- ends -----------------------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys
import midflight
from midflight.probing.pool import pool
calc = midflight.load(sys.argv[1], name="calc", compat="any")
pool.warm_up()
pool.settle()
pool._ready.until_ready()
print(pool._ready.pid, flush=True)
"""


def _program(text: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MIDFLIGHT_PROBE"}
    command = [sys.executable, "-c", PROGRAM + text, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment)


def test_all_end_with_the_interpreter(second):
    program = _program("midflight.swap(calc, sys.argv[2])\nprint(midflight.versions(calc)[-1])", second, second)
    first = int(program.stdout.readline())
    rest, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    assert "Error" not in rest
    assert ended(first)
    listing = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listing.splitlines() if line.split()[0] == str(program.pid)]


@pytest.mark.parametrize("where", ["idle", "constructor"])
def test_all_end_with_a_program_that_is_killed(calc: Calc, where: str, tmp_path: Path):
    text = f"""
        #include <stdio.h>
        #include <unistd.h>
        __attribute__((constructor)) static void begin(void)
        {{
            FILE *file = fopen("{tmp_path}/pids.new", "w");
            int grandchild = fork();
            if (grandchild != 0) {{
                fprintf(file, "%d %d", getpid(), grandchild);
                fclose(file);
                rename("{tmp_path}/pids.new", "{tmp_path}/pids");
            }}
            for (;;) pause();
        }}
        """
    hanging = calc.library("hanging", text)
    ready = "print('ready', flush=True)\n"
    program = _program(
        f"{ready}midflight.swap(calc, sys.argv[2])" if where == "constructor" else f"{ready}sys.stdin.read()",
        calc.library("again", ""),
        hanging,
    )
    pids = [int(program.stdout.readline())]
    assert program.stdout.readline() == "ready\n"
    program.stdout.close()
    if where == "constructor":
        end = time.monotonic() + 30
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        pids = [int(text) for text in (tmp_path / "pids").read_text().split()]
    program.kill()
    program.stdin.close()
    program.wait()
    assert all(map(ended, pids))


def test_what_a_candidate_has_started_ends_with_its_probe(calc: Calc, tmp_path: Path):
    text = f"""
        #include <stdio.h>
        #include <unistd.h>
        int midflight_check_forks(void)
        {{
            FILE *file = fopen("{tmp_path}/pid", "w");
            int child = fork();
            if (child == 0) for (;;) pause();
            fprintf(file, "%d", child);
            fclose(file);
            return 0;
        }}
        """
    calc.swap(calc.library("forking", text))
    pool.settle()
    assert ended(int((tmp_path / "pid").read_text()))


def test_a_forks_child_makes_its_own(calc: Calc, second):
    parents = _ready()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            parents_there = any(os.path.exists(f"/proc/self/fd/{number}") for number in (parents._pidfd,))  # noqa: PTH110
            calc.swap(second)
            pool.settle()
            own = pool._ready is not None and pool._ready.pid != parents.pid
            process.end_all()
            os.write(writing, b"own" if own and not parents_there else b"not")
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"own"
    os.waitpid(child, 0)
    os.close(reading)
    assert parents.alive
    calc.swap(second)
