"""Which lane a library gets when nobody says so; and libraries that only a worker can let go of.

Would catch: a library that can't be unloaded and is loaded here all the same, a choice that isn't told, a Go library
that doesn't run.
"""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

import midflight
from tests.worker.conftest import pid_of, workers

STAYS = "int v(void) {{ return {0}; }}"


def test_a_library_that_cant_be_unloaded_runs_in_a_worker(workshop) -> None:
    first = workshop.library("first", STAYS.format(1))
    stays = workshop.library("stays", STAYS.format(2), "-Wl,-z,nodelete")
    module = midflight.load(first, name="lib")
    assert midflight.versions(module)[0].lane == "here"
    report = midflight.swap(module, stays)
    assert (report.old.lane, report.new.lane) == ("here", "worker")
    assert any("DF_1_NODELETE" in warning and "process of its own" in warning for warning in report.warnings)
    assert module.v() == 2
    pid_of(module)
    report = midflight.swap(module, workshop.library("third", STAYS.format(3)))
    assert (report.new.lane, report.old.status) == ("here", "unloaded")
    assert module.v() == 3
    assert workers() == []


def test_lane_here_overrides_and_leaves_a_resident_version(workshop, host) -> None:
    stays = workshop.library("stays", STAYS.format(4), "-Wl,-z,nodelete")
    one = host(
        """
        module = midflight.load(sys.argv[1], lane="here", name="lib")
        report = midflight.swap(module, sys.argv[2])
        say(report.old.lane, report.old.status, report.old.held_by, module.v())
        """,
        stays, workshop.library("next", STAYS.format(5)),
    )  # fmt: skip
    words = one.line()
    assert words.startswith("here resident")
    assert "DF_1_NODELETE" in words
    assert words.endswith(" 5")


GO = """
package main

import "C"
import "strings"

//export Add
func Add(a, b C.int) C.int { return a + b }

//export Sum
func Sum(n C.int) C.long {
	parts := make(chan int)
	for i := 1; i <= int(n); i++ {
		go func(i int) { parts <- i }(i)
	}
	total := 0
	for i := 0; i < int(n); i++ {
		total += <-parts
	}
	return C.long(total)
}

//export Length
func Length(text *C.char) C.int { return C.int(len(strings.ToUpper(C.GoString(text)))) }

//export Panic
func Panic() { panic("no way") }

func main() {}
"""


@pytest.fixture
def go_library(tmp_path):
    """A real c-shared library, which can never be unloaded."""
    source, output = tmp_path / "lib.go", tmp_path / "lib.so"
    source.write_text(GO)
    subprocess.run(["go", "build", "-buildmode=c-shared", "-o", output, source], check=True, cwd=tmp_path)
    return output


def test_a_go_library_by_its_c_exports(go_library) -> None:
    declared = "int Add(int a, int b); long Sum(int n); int Length(const char *text); void Panic(void);"
    module = midflight.load(go_library, name="lib", interface=declared)
    version = midflight.versions(module)[0]
    assert version.lane == "worker"
    assert (module.Add(2, 3), module.Sum(1000), module.Length("größe")) == (5, 500500, 7)
    with pytest.raises(midflight.WorkerCrashedError):
        module.Panic()
    assert module.Add(2, 3) == 5
    assert midflight.unload(module).status == "unloaded"
    assert workers() == []


def test_libraries_beside_it(workshop) -> None:
    workshop.library("libhelp", "int help(void) { return 40; }")
    main = workshop.library(
        "main", "int help(void); int v(void) { return help() + 2; }",
        f"-L{workshop.root}", "-lhelp", "-Wl,-rpath,$ORIGIN",
    )  # fmt: skip
    module = midflight.load(main, lane="worker", name="lib")
    assert module.v() == 42
    os.kill(pid_of(module), signal.SIGKILL)
    assert module.v() == 42


def test_what_the_loader_refuses(workshop) -> None:
    broken = workshop.library("broken", "int nowhere(void); int v(void) { return nowhere(); }")
    with pytest.raises(midflight.UnresolvedSymbolError, match=r"undefined symbol: nowhere.*"):
        midflight.load(broken, lane="worker")
    module = midflight.load(broken, lane="worker", lazy=True)
    with pytest.raises(midflight.WorkerCrashedError, match="exited with status 127"):
        module.v()
    missing = workshop.root / "half.so"
    missing.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(midflight.BadLibraryError):
        midflight.load(missing, lane="worker")
