"""Checks of the program's and of the library's own: what they may use, and what is told of those that fail.

Catches: a check that doesn't run or runs on the current version; a failure without its name, line, text or values;
stand-ins that aren't there; a registered check that is forgotten at a later swap.
"""

from __future__ import annotations

import asyncio

import pytest

import midflight
from tests.probe.conftest import SOURCE, Calc

WRONG = SOURCE.replace("a + b", "a + b + 1")


def test_a_version_that_passes_becomes_current(calc: Calc):
    @midflight.check(calc.module)
    def doubles(v):
        assert v.add(2, 2) == 4

    assert doubles(calc.module) is None  # it stays a function that can be called
    report = calc.swap(calc.library("second", "int second(void) { return 2; }"))
    assert report.changed
    assert report.stages["probe"] > 0
    assert list(report.stages).index("probe") < list(report.stages).index("load")
    assert calc.module.get() == 41


def test_a_failed_assertion_is_told_with_its_values(calc: Calc):
    @midflight.check(calc.module)
    def doubles(v):
        two = 2
        assert v.add(two, 2) == 4, "so much for sums"

    error = calc.refused(calc.library("wrong", "", source=WRONG))
    assert error.kind == "check"
    assert "the check doubles (test_checks.py:" in str(error)
    assert "failed: assert v.add(two, 2) == 4 (v.add(two, 2) is 5): so much for sums" in str(error)
    assert error.text.startswith("Traceback")
    assert "in doubles" in error.text
    assert "midflight/probing" not in error.text


def test_an_assertion_whose_parts_change_is_told_without_values(calc: Calc):
    calls = []

    @midflight.check(calc.module)
    def once(v):
        calls.append(v.add(1, 1))
        assert len(calls) + v.add(0, 0) == 0

    error = calc.refused(calc.library("second", "int second(void) { return 2; }"))
    assert "assert len(calls) + v.add(0, 0) == 0 (len(calls) + v.add(0, 0) is 1)" in str(error)
    assert calls == []  # what happens in the probe stays there


@pytest.mark.parametrize(
    ("raised", "words"),
    [(ValueError("odd"), "raised ValueError: odd"), (SystemExit(3), "raised SystemExit: 3"), (KeyError(), "KeyError")],
)
def test_whatever_a_check_raises_refuses(calc: Calc, raised: BaseException, words: str):
    @midflight.check(calc.module)
    def raises(_v):
        raise raised

    error = calc.refused(calc.library("second", "int second(void) { return 2; }"))
    assert error.kind == "check"
    assert words in str(error)


def test_all_checks_run_in_order_and_hold_for_later_swaps(calc: Calc):
    """Each sees what the one before has done to the candidate."""

    @midflight.check(calc.module)
    def first(v):
        v.put(v.get() + 1)

    @midflight.check(calc.module)
    def second(v):
        assert v.get() == 8

    calc.swap(calc.library("second", "int second(void) { return 2; }"))
    calc.swap(calc.library("third", "int third(void) { return 3; }"))
    error = calc.refused(calc.library("other", "", source=SOURCE.replace("kept = 7", "kept = 6")))
    assert "the check second" in str(error)
    midflight.check(calc.module).remove(second)
    calc.swap(calc.library("other", "", source=SOURCE.replace("kept = 7", "kept = 6")))
    with pytest.raises(ValueError, match="is no check of calc"):
        midflight.check(calc.module).remove(second)


def test_a_check_may_use_all_of_a_module(calc: Calc):
    text = """
        struct point { int x, y; };
        struct point origin = {3, 4};
        int sum(const struct point *point) { return point->x + point->y; }
        """

    @midflight.check(calc.module)
    def uses(v):
        assert midflight.variables(v)["kept"] == 7
        point = midflight.types(v).point(1, 2)
        assert v.sum(point) == 3
        assert midflight.function(v, "add")(1, 2) == 3
        with midflight.pin(v) as pinned:
            assert pinned.add(1, 1) == 2
        assert [one.status for one in midflight.versions(v)] == ["current"]
        assert v.__name__ == "calc"

    calc.swap(calc.library("points", text))


def test_a_coroutine_function_is_run(calc: Calc):
    @midflight.check(calc.module)
    async def later(v):
        await asyncio.sleep(0)
        assert v.add(1, 1) == 3

    assert "check later" in str(calc.refused(calc.library("second", "int second(void) { return 2; }")))


# ---- the library's own ----------------------------------------------------------------------------------------------


def test_checks_in_c_run_and_are_no_functions_of_the_module(calc: Calc):
    text = """
        int ran;
        int midflight_check_one(void) { ran++; return 0; }
        void midflight_check_two(void) { ran += 10; }
        """

    @midflight.check(calc.module)
    def both(v):
        assert midflight.variables(v)["ran"] == 11

    calc.swap(calc.library("checked", text))
    assert not [name for name in dir(calc.module) if "check" in name]
    assert midflight.variables(calc.module)["ran"] == 0


def test_a_check_in_c_that_says_no(calc: Calc):
    error = calc.refused(calc.library("checked", "int midflight_check_sums(void) { return add(1, 1) == 2 ? 17 : 0; }"))
    assert error.kind == "check"
    assert "midflight_check_sums (checked-source.c:7) returned 17" in str(error)


def test_a_check_in_c_of_another_type_is_refused_before(calc: Calc):
    library = calc.library("checked", "int midflight_check_sums(int x) { return x; }")
    with pytest.raises(midflight.InterfaceError, match="make it int midflight_check_sums"):
        calc.swap(library)


# ---- stand-ins ------------------------------------------------------------------------------------------------------

NEEDING = (
    SOURCE
    + """
int level(void);
double ratio(void);
const char *title(int number);
int total(void) { return level() + (int)ratio() + (title(1) != 0); }
"""
)


class Needing(Calc):
    """One that calls functions of the program."""

    def __init__(self, workshop, **options):
        provides = {"level": _level, "ratio": lambda: 1.0, "title": lambda _number: None}
        self.suffix, self.workshop = ".c", workshop
        library = self.library("first", "", source=NEEDING)
        self.module = midflight.load(library, name="calc", provides=provides, **options)
        self.module.put(41)

    def next(self, name: str):
        return self.library(name, f"static int {name} = 1; int *p_{name}(void) {{ return &{name}; }}", source=NEEDING)


called = []


def _level() -> int:
    called.append("level")
    return 30


def test_what_the_program_provides_answers_zero_in_a_probe(workshop):
    calc = Needing(workshop)

    @midflight.check(calc.module)
    def zeroes(v):
        assert v.total() == 0

    called.clear()
    calc.swap(calc.next("second"))
    assert called == []
    assert calc.module.total() == 31


def test_stand_ins_of_the_probe_and_of_one_check(workshop):
    calc = Needing(workshop, probe=midflight.Probe(provides={"level": lambda: 5}))

    @midflight.check(calc.module)
    def from_the_probe(v):
        assert v.total() == 5

    @midflight.check(calc.module, provides={"level": lambda: 6, "title": lambda _number: None})
    def of_its_own(v):
        assert v.total() == 6

    @midflight.check(calc.module)
    def from_the_probe_again(v):
        assert v.total() == 5

    calc.swap(calc.next("second"))


def test_a_stand_in_must_have_the_librarys_type(workshop):
    calc = Needing(workshop)
    with pytest.raises(midflight.ServiceError, match="called with 0 arguments"):
        calc.swap(calc.next("second"), probe=midflight.Probe(provides={"level": lambda number: number}))


def test_what_a_stand_in_raises_in_a_constructor_is_told(workshop):
    def fails() -> int:
        raise LookupError("no level yet")

    calc = Needing(workshop)
    text = "int at_first; __attribute__((constructor)) static void begin(void) { at_first = level(); }"
    library = calc.library("early", text, source=NEEDING)
    error = calc.refused(library, probe=midflight.Probe(provides={"level": fails}))
    assert error.kind == "check"
    assert "LookupError: no level yet" in str(error)
    assert "constructor" in str(error)


# ---- typed blocks, hooks --------------------------------------------------------------------------------------------


def test_typed_blocks_of_a_candidate_are_its_own(calc: Calc):
    text = """
        #include "midflight.h"
        struct item { int number; };
        static struct item *items;
        int make(int count)
        {
            items = MF_NEW(struct item, count);
            items[count - 1].number = 5;
            return items[count - 1].number;
        }
        """

    @midflight.check(calc.module)
    def makes(v):
        assert v.make(100) == 5
        assert len(midflight.blocks(v)) == 1

    calc.swap(calc.library("blocks", text, f"-I{midflight.include()}"))
    assert len(midflight.blocks(calc.module)) == 0


def test_hooks_run_in_a_probe_too(calc: Calc):
    text = """
        int hooked;
        int midflight_loaded(void) { hooked = 1; return 0; }
        void midflight_unloading(void) { hooked = 2; }
        """

    @midflight.check(calc.module)
    def was_told(v):
        assert midflight.variables(v)["hooked"] == 1

    calc.swap(calc.library("hooks", text))


def test_a_hook_that_says_no_in_a_probe(calc: Calc):
    library = calc.library("hooks", "int midflight_loaded(void) { return 9; }")
    error = calc.refused(library, midflight.HookError)
    assert "midflight_loaded of the new version has refused: it returned 9" in str(error)


def test_what_a_library_needs_and_nobody_has_is_told_as_loading_would(calc: Calc):
    library = calc.library("needy", "int somebody(void); int asks(void) { return somebody(); }")
    error = calc.refused(library, midflight.UnresolvedSymbolError, probe=True)
    assert error.symbol == "somebody"
    assert "provide it from Python" in str(error)
