"""How checks get to the probe: by value, so that the program doesn't run again there.

Catches: a program whose top level runs a second time in the probe, a check that uses the current version in place of
the candidate, a check that can't travel and is refused without a word of what in it can't.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import midflight
from tests.probe.conftest import SOURCE, Calc

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import enum
from dataclasses import dataclass

with open({log!r}, "a") as log:
    log.write("ran\\n")

LIMIT = 10


class Colour(enum.Enum):
    RED = 4


@dataclass
class Sum:
    a: int
    b: int

    def of(self, v):
        return v.add(self.a, self.b)


def twice(v, number):
    return v.add(number, number)


def doubles(v):
    assert twice(v, 2) == Colour.RED.value < LIMIT
    assert Sum(1, 2).of(v) == 3
"""


@pytest.fixture
def second(calc: Calc):
    return calc.library("second", "int second(void) { return 2; }")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module of the program's own, which notes each run of its top level."""
    directory = tmp_path / "program"
    directory.mkdir()
    log = directory / "log"
    (directory / "own_program.py").write_text(PROGRAM.format(log=str(log)))
    monkeypatch.syspath_prepend(directory)
    yield importlib.import_module("own_program"), log
    del sys.modules["own_program"]


def test_the_programs_top_level_doesnt_run_again(calc: Calc, second, program):
    module, log = program
    midflight.check(calc.module)(module.doubles)
    calc.swap(second)
    assert log.read_text() == "ran\n"


def test_the_values_are_those_at_the_swap(calc: Calc, second, program):
    module, _ = program
    midflight.check(calc.module)(module.doubles)
    module.LIMIT = 3
    error = calc.refused(second)
    assert "assert twice(v, 2) == Colour.RED.value < LIMIT" in str(error)
    assert "LIMIT is 3" in str(error)


def test_references_to_the_module_arrive_as_the_candidate(calc: Calc):
    module, add, point = calc.module, calc.module.add, None
    text = "struct point { int x, y; }; int sum(const struct point *p) { return p->x + p->y; }"
    calc.swap(calc.library("points", text))
    point = midflight.types(module).point

    @midflight.check(module)
    def is_the_candidate(v):
        assert module is v
        assert add(1, 1) == v.add(1, 1) == 3
        assert v.sum(point(1, 2)) == 3

    calc.refused(calc.library("same", f"{text} int x(void) {{ return 1; }}"))
    calc.swap(calc.library("wrong", text, source=SOURCE.replace("a + b", "a + b + 1")))


LOCK = threading.Lock()


def test_what_cant_travel_is_named(calc: Calc, second):
    @midflight.check(calc.module)
    def locks(v):
        with LOCK:
            v.add(1, 1)

    error = calc.refused(second)
    assert error.kind == "check"
    assert "the check locks can't be taken to the probing process: it refers to LOCK" in str(error)
    assert "lock" in str(error).split("which can't be taken along", 1)[1]
    assert "let it make what it needs itself" in error.todo


def test_what_a_closure_holds_is_named_too(calc: Calc, second):
    inner = threading.Lock()
    midflight.check(calc.module)(lambda v: (inner, v))
    assert "it refers to inner" in str(calc.refused(second))


def test_another_module_of_midflights_cant_come_along(calc: Calc, second, workshop):
    other = midflight.load(workshop.library("other", "int one(void) { return 1; }"), name="other")
    one = other.one
    checks = midflight.check(calc.module)
    for check in (lambda _v: other.one(), lambda _v: one()):
        checks(check)
        error = calc.refused(second)
        assert "another module of midflight's" in str(error)
        checks.remove(check)


def test_a_pinned_version_cant_come_along(calc: Calc, second):
    with midflight.pin(calc.module) as pinned:
        midflight.check(calc.module)(lambda v: pinned.add(1, 1) == v.add(1, 1))
        assert "a version that the program has pinned" in str(calc.refused(second))


def test_the_program_itself_cant_come_along(calc: Calc, second):
    main = sys.modules["__main__"]
    midflight.check(calc.module)(lambda _v: main)
    assert "the module __main__ itself, which would have to run again" in str(calc.refused(second))


def test_installed_modules_are_imported_there(calc: Calc, second):
    import json

    import msgspec

    midflight.check(calc.module)(lambda v: json.loads(msgspec.json.encode(v.add(1, 1))))
    calc.swap(second)


def test_what_fails_on_its_arrival_says_so(calc: Calc, second):
    class Odd:
        def __reduce__(self):
            return int, ("no number",)

    odd = Odd()
    midflight.check(calc.module)(lambda _v: odd)
    error = calc.refused(second)
    assert error.kind == "check"
    assert "can't be unpacked in the probe: ValueError" in str(error)


def test_the_surroundings_are_the_programs(calc: Calc, second, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also those that have changed since the process was started."""
    import os

    from midflight.probing.pool import pool

    pool.warm_up()
    pool.settle()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_PROGRAM", "here")
    monkeypatch.syspath_prepend(tmp_path)
    here = str(tmp_path)

    @midflight.check(calc.module)
    def finds(_v):
        assert os.getcwd() == here  # noqa: PTH109
        assert os.environ["OF_THE_PROGRAM"] == "here"
        assert sys.path[0] == here
        assert os.environ["MIDFLIGHT_PROBING"]

    calc.swap(second)
