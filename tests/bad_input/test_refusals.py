"""Every important refusal, word by word, as a person gets it: refusals.txt has them, for reading aloud.

Would catch a message that doesn't say what happened, to what, what goes on unchanged, and what to do about it.  Each
was read aloud once; whoever changes one reads the new one aloud, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from tests.bad_input.refusing import CALC, Case, built, load, read, swap

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = dict(
    re.findall(r"^(\S.*)\n    (.*)$", Path(__file__).with_name("refusals.txt").read_text(), flags=re.MULTILINE)
)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Run in a directory of the test's own, so that paths are short and the same everywhere."""
    monkeypatch.chdir(tmp_path)
    return Case(tmp_path)


def said(case: Case, action: Callable[[Case], object]) -> str:
    """Return the class and the text of what an action raises, with what differs from machine to machine taken out."""
    with pytest.raises(midflight.MidflightError) as raised:
        action(case)
    first = str(raised.value).splitlines()[0].replace(f"{case.root}/", "")
    for pattern, instead in ((r"\b[0-9a-f]{64}\b", "<SHA-256>"), (r"test_refusals\.py:\d+", "test_refusals.py:LINE")):
        first = re.sub(pattern, instead, first)
    return f"{type(raised.value).__name__}: {first}"


def check(text: str, **options: object) -> Callable[[Case], object]:
    """Return what swaps to a source that a Python check judges."""

    def action(case: Case) -> None:
        @midflight.check(case.module)
        def adds(version) -> None:
            assert version.add(2, 2) == 4

        case.swap(text, probe=True, **options)

    return action


def halves(case: Case) -> object:
    """Load a library of which only half is there."""
    data = case.library(CALC).read_bytes()
    return midflight.load(case.write("half.so", data[: len(data) // 2]).name)


def elsewhere(case: Case) -> object:
    """Load a library that says that it is for AArch64."""
    data = case.library(CALC).read_bytes()
    return midflight.load(case.write("other.so", data[:18] + b"\xb7\0" + data[20:]).name)


def twice(case: Case) -> None:
    """Name a module twice in one transaction."""
    with midflight.transaction() as both:
        both.swap(case.module)
        both.swap(case.module)


def hook(case: Case) -> None:
    """Let a hook of the program's raise."""

    @midflight.before_swap(case.module)
    def judge(_swapping) -> None:
        message = "not at noon"
        raise ValueError(message)

    case.swap(CALC + "int more;")


def crash(case: Case) -> None:
    """Let a function crash, guarded."""
    module = midflight.load(case.write("first.c", CALC), on_crash="raise")
    midflight.swap(module, case.write("new.c", CALC.replace("return ++n", "return *(volatile int *)8")))
    module.poke()


def differing(case: Case) -> None:
    """Let a new version answer otherwise than the old one did."""
    module = midflight.load(case.write("first.c", CALC), record=1.0)
    module.add(1, 2)
    midflight.swap(module, case.write("new.c", CALC.replace("a + b", "a - b")), probe=True)


AT_START = "__attribute__((constructor)) static void start(void) { "
ACTIONS: dict[str, Callable[[Case], object]] = {
    # ---- what is given
    "no file": load("nowhere.c"),
    "text": read("hello"),
    "half a file": halves,
    "another machine": elsewhere,
    "no types": built(CALC, "-s"),
    "a wrong interface": built(CALC, "-s", interface="int subtract(int, int);"),
    "a missing function": built("int nobody(int); int f(void) { return nobody(1); }"),
    "static thread-local data": built(
        '__thread char big[100000] __attribute__((tls_model("initial-exec"))); char *f(void) { return big; }'
    ),
    "an extension module": built("void *PyInit_new(void) { return 0; }"),
    "a sanitizer": built(CALC, "-fsanitize=thread"),
    "other bytes": load("calc.c", expect="0" * 64),
    "no SHA-256": load("calc.c", expect="abc"),
    "no such compatibility": swap(CALC + "int more;", compat="loose"),
    "no such comparison": load("calc.c", compare="roughly"),
    "a canary without an end": swap(CALC + "int more;", canary=0.1),
    # ---- what it changes
    "callers": swap("int n; int poke(void) { return ++n; } long add(int a) { return a; }"),
    "data": swap(CALC.replace("int n", "char *n").replace("return ++n", "return n != 0")),
    "nothing to go back to": lambda case: midflight.rollback(case.module),
    "twice in one transaction": twice,
    "a hook of the program's": hook,
    # ---- what it does
    "a crash in a constructor": swap(f"{CALC} {AT_START} *(volatile int *)8 = 1; }}", probe=True),
    "a hang": swap(f"{CALC} {AT_START} for (;;); }}", probe=midflight.Probe(timeout=0.5)),
    "an exit": swap(f"#include <stdlib.h>\n{CALC} {AT_START} exit(3); }}", probe=True),
    "a check": check(CALC.replace("a + b", "a - b")),
    "a check in C": swap(f"{CALC}\nint midflight_check_sum(void) {{ return 7; }}", probe=True),
    "another answer": differing,
    "a crash under guard": crash,
}


@pytest.mark.parametrize("name", ACTIONS)
def test_a_refusal_says_what_a_person_needs(case: Case, name: str):
    assert said(case, ACTIONS[name]) == WORDS[name]


def test_all_words_are_those_of_a_refusal():
    assert set(WORDS) == set(ACTIONS)
