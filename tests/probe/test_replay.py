"""Recorded calls that a candidate has to answer as the current version did.

Catches: a difference that isn't seen or isn't told, a tolerance or a function that is ignored, calls that can't be
compared and pass for equal, a crash in a replayed call that isn't named.
"""

from __future__ import annotations

import array
import math

import pytest

import midflight
from midflight._samples import Buffer, Record, Sample
from midflight.probing import replay
from midflight.probing.protocol import Reply
from tests.probe.conftest import Calc

SOURCE = """
#include <stddef.h>
struct point { int x; double y; };
static int kept = 7;
void put(int value) { kept = value; }
int get(void) { return kept; }
int add(int a, int b) { return a + b; }
double half(double x) { return x * 0.5; }
const char *name(int number) { return number ? "one" : NULL; }
struct point moved(struct point from, int by) { from.x += by; return from; }
void fill(unsigned char *bytes, size_t size) { for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)i; }
double total(const double *values, size_t count) { double sum = 0; while (count--) sum += values[count]; return sum; }
"""


class Recorded(Calc):
    """A module whose calls are all kept."""

    def __init__(self, workshop, **options):
        self.suffix, self.workshop = ".c", workshop
        self.module = midflight.load(
            self.library("first", "", source=SOURCE), name="calc", compat="any", record=1.0, **options
        )
        self.module.put(41)

    def changed(self, old: str, new: str):
        """Build a version in which something is written differently."""
        assert old in SOURCE
        return self.library("changed", "", source=SOURCE.replace(old, new))

    def use(self):
        """Make calls of all kinds."""
        module = self.module
        assert module.add(1, 2) == 3
        assert module.half(3.0) == 1.5
        assert module.name(1) == "one"
        assert module.name(0) is None
        point = midflight.types(module).point
        assert module.moved(point(1, 2.0), 3).x == 4
        room = bytearray(4)
        module.fill(room, 4)
        assert bytes(room) == bytes(range(4))


@pytest.fixture
def calc(workshop):
    return Recorded(workshop)


def test_the_same_answers_pass(calc: Recorded):
    calc.use()
    # What get() answers depends on what was put before: it isn't asked here, in a process where nothing was put.
    assert calc.swap(calc.library("same", "int more(void) { return 1; }", source=SOURCE)).changed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a + b", "a - b", "add(1, 2) answers -1, where the current version answers 3"),
        ("x * 0.5", "x * 0.25", "half(3.0) answers 0.75, where the current version answers 1.5"),
        ('"one"', '"two"', "name(1) answers 'two', where the current version answers 'one'"),
        ("number ?", "!number ?", "name(0) answers 'one', where the current version answers None"),
        ("from.x += by", "from.x -= by", "moved(point, 3) answers point, where the current version answers point"),
        ("(unsigned char)i;", "(unsigned char)(i + 1);", "leaves other bytes in its argument 1"),
    ],
)
def test_another_answer_refuses(calc: Recorded, old: str, new: str, words: str):
    calc.use()
    error = calc.refused(calc.changed(old, new))
    assert error.kind == "replay"
    assert words in str(error)
    assert "recorded calls differently" in str(error)
    assert words in error.text


def test_each_difference_has_a_line_up_to_some_dozen(calc: Recorded):
    for number in range(32):
        calc.module.add(number, 1)
        calc.module.half(float(number))
    error = calc.refused(calc.changed("a + b", "a + b + 1"))
    lines = error.text.splitlines()
    assert len(lines) == replay.MOST_SHOWN + 1
    assert all(line.startswith("add(") for line in lines[:-1])
    assert lines[-1].startswith("… and ")


def test_an_answer_within_the_tolerance_passes(workshop):
    calc = Recorded(workshop, compare=0.01)
    calc.use()
    calc.swap(calc.changed("x * 0.5", "x * 0.501"))
    calc.module.half(2.0)
    error = calc.refused(calc.changed("x * 0.5", "x * 0.6"))
    assert "half(" in str(error)


def test_a_function_of_the_programs_judges_here(workshop):
    """It sees arguments and answers as the call did."""
    asked = []

    def judge(name, arguments, old, new):
        asked.append((name, arguments, old, new))
        return abs(old - new) <= 1 if name == "add" else True

    calc = Recorded(workshop, compare=judge)
    calc.module.add(1, 2)
    point = midflight.types(calc.module).point
    calc.module.moved(point(1, 2.0), 3)
    calc.swap(calc.changed("a + b", "a + b + 1"))
    assert ("add", (1, 2), 3, 4) in asked
    (moved,) = [one for one in asked if one[0] == "moved"]
    assert moved[1][0].x == 1
    assert (moved[2].x, moved[3].x) == (4, 4)
    calc.module.add(1, 2)
    with pytest.raises(midflight.ProbeError, match=r"add\(1, 2\) answers 13, where the current version answers 4"):
        calc.swap(calc.changed("a + b", "a + b + 10"))


def test_a_function_that_raises_refuses(workshop):
    def judge(name, *_):
        raise LookupError(name)

    calc = Recorded(workshop, compare=judge)
    calc.module.add(1, 2)
    assert "compare= raised LookupError" in str(calc.refused(calc.changed("a + b", "b + a + 0 * a")))


def test_a_call_that_crashes_when_it_is_made_again_is_named(calc: Recorded):
    calc.module.add(1, 2)
    library = calc.changed("return a + b;", "return a + b + *(int *)(long)kept;")
    error = calc.refused(library)
    assert error.kind == "crash"
    assert "while a recorded call of add was made again" in str(error)
    assert error.backtrace[0].startswith("add (")


def test_a_function_that_is_gone_answers_nothing(calc: Recorded):
    calc.module.half(1.0)
    error = calc.refused(calc.library("gone", "", source=SOURCE.replace("double half(", "static double half(")))
    assert "half(1.0) raises MissingFunction, where the current version answers 0.5" in str(error)


def test_a_struct_with_another_layout_cant_be_compared(calc: Recorded):
    calc.use()
    error = calc.refused(calc.changed("{ int x; double y; }", "{ int x; double y, z; }"))
    assert "moved(point, 3) can't be compared: point has another layout now" in str(error)


# ---- the comparison itself ------------------------------------------------------------------------------------------


def _differ(old, new, compare="exact") -> bool:
    return bool(replay.differences([Sample("f", (), old)], [Reply(new)], compare, {}))


@pytest.mark.parametrize(
    ("old", "new", "compare", "differs"),
    [
        (1, 1, "exact", False),
        (1, 1.0, "exact", True),
        (True, 1, "exact", True),
        (math.nan, math.nan, "exact", False),
        (0.0, -0.0, "exact", False),
        (1.0, 1.0 + 1e-12, "exact", True),
        (1.0, 1.0 + 1e-12, 1e-9, False),
        (1000, 1001, 0.01, False),
        (1000, 1100, 0.01, True),
        ("a", "b", 0.5, True),
        (Buffer(b"a", ""), Buffer(b"a", ""), "exact", False),
        (Buffer(b"a", ""), Buffer(b"b", ""), "exact", True),
        (Record("point", b"a"), Record("other", b"a"), "exact", True),
        (None, 0, "exact", True),
    ],
)
def test_what_counts_as_the_same(old, new, compare, differs: bool):
    assert _differ(old, new, compare) is differs


def test_exceptions_are_the_same_if_their_kinds_are():
    sample = Sample("f", (1,), error="NativeExceptionError")
    assert replay.differences([sample], [Reply(error="NativeExceptionError")], "exact", {}) == []
    (line,) = replay.differences([sample], [Reply(2)], "exact", {})
    assert line == "f(1) answers 2, where the current version raises NativeExceptionError"


def test_what_is_written_is_compared_within_the_tolerance():
    def written(*values: float) -> tuple[tuple[int, bytes], ...]:
        return ((0, array.array("d", values).tobytes()),)

    sample = Sample("f", (Buffer(bytes(16), "d"),), written=written(1.0, 2.0))
    reply = Reply(written=written(1.0, 2.001))
    assert replay.differences([sample], [reply], 0.01, {}) == []
    assert len(replay.differences([sample], [reply], "exact", {})) == 1
    assert len(replay.differences([sample], [Reply()], "exact", {})) == 1
