"""Versions that run in processes of their own: they are probed in such processes too.

Catches: a lane whose versions aren't probed, or in another lane than they run in; a worker's end that goes unnoticed.
"""

from __future__ import annotations

import pytest

import midflight
from tests.probe.conftest import SOURCE, Calc

DEEDS = {
    "crash": ("*nowhere = 1;", "SIGSEGV"),
    "exit": ("exit(3);", "status 3"),
}
PLACES = {
    "constructor": "__attribute__((constructor)) static void place(void) { deed(); }",
    "check": "int midflight_check_place(void) { deed(); return 0; }",
    "destructor": "__attribute__((destructor)) static void place(void) { deed(); }",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("deed", DEEDS)
def test_versions_for_a_worker_are_probed_in_one(workshop, deed: str, place: str):
    calc = Calc(workshop, lane="worker")
    code, words = DEEDS[deed]
    text = f"#include <stdlib.h>\nstatic int *volatile nowhere; static void deed(void) {{ {code} }} {PLACES[place]}"
    error = calc.refused(calc.library(f"{deed}-{place}", text))
    assert error.kind == deed
    assert words in str(error)
    if deed == "crash" and place != "destructor":
        assert any("deed" in frame or "place" in frame for frame in error.backtrace)


def test_a_worker_that_hangs_and_one_that_passes(workshop):
    calc = Calc(workshop, lane="worker")

    @midflight.check(calc.module)
    def doubles(v):
        assert v.add(2, 2) == 4
        assert midflight.versions(v)[-1].lane == "worker"

    hangs = calc.library("hangs", 'int midflight_check_it(void) { for (;;) __asm__ volatile(""); }')
    assert calc.refused(hangs, probe=midflight.Probe(timeout=1.0)).kind == "hang"
    calc.swap(calc.library("second", "int second(void) { return 2; }"))
    assert "doubles" in str(calc.refused(calc.library("wrong", "", source=SOURCE.replace("a + b", "a + b + 1"))))


# ---- Go -------------------------------------------------------------------------------------------------------------

GO = """package main

func Double(n int) int { return %s }

func init() { %s }
"""


@pytest.fixture
def greeter(tmp_path):
    source = tmp_path / "double.go"
    source.write_text(GO % ("2 * n", ""))
    module = midflight.load(source, name="double")
    yield module, source
    midflight.unload(module)


LATER = """func later() int {
	done := make(chan int)
	go func() { panic("not this way") }()
	return <-done
}
"""


@pytest.mark.parametrize(
    ("body", "init", "kind", "words"),
    [
        ("3 * n", "", "check", "assert v.Double(2) == 4 (v.Double(2) is 6)"),
        ("4 / (n - 2)", "", "check", "integer divide by zero"),
        ("later()", "", "exit", "not this way"),
        ("2 * n", 'panic("not today")', "exit", "not today"),
        ("2 * n", "for {}", "hang", "while it was loaded"),
        ("2 * n", "os.Exit(3)", "exit", "status 3"),
    ],
    ids=["wrong", "panic", "goroutine", "init panics", "init hangs", "init exits"],
)
def test_go_packages_are_probed_in_a_process_of_their_own(greeter, body: str, init: str, kind: str, words: str):
    """A panic in a check's call is an exception there; any other ends the candidate's process, as it would a worker."""
    module, source = greeter

    @midflight.check(module)
    def doubles(v):
        assert v.Double(2) == 4

    source.write_text(_go(body, init))
    with pytest.raises(midflight.ProbeError) as caught:
        midflight.swap(module, probe=midflight.Probe(timeout=3.0) if kind == "hang" else None)
    assert caught.value.kind == kind
    assert words in f"{caught.value}\n{caught.value.text}"
    assert module.Double(4) == 8
    source.write_text(GO % ("n + n", ""))
    assert midflight.swap(module).stages["probe"] > 0


def _go(body: str, init: str) -> str:
    text = GO % (body, init)
    if "os." in init:
        text = text.replace("package main\n", 'package main\n\nimport "os"\n')
    return f"{text}\n{LATER}" if "later" in body else text


def test_a_first_go_package_that_panics_is_refused_without_a_probe(tmp_path):
    """It runs in a process of its own, so the program is safe; nor is one left."""
    source = tmp_path / "double.go"
    source.write_text(GO % ("2 * n", 'panic("not today")'))
    with pytest.raises(midflight.MidflightError, match="not today") as caught:
        midflight.load(source, name="double")
    assert caught.value.stage == "load"
    source.write_text(GO % ("2 * n", ""))
    assert midflight.load(source, name="double").Double(4) == 8
