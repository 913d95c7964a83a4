"""Every important refusal, word by word, as a person gets it: refusals.txt has them, for reading aloud.

Would catch a message that doesn't say what happened, to what, what goes on unchanged, and what to do about it.  Each
was read aloud once; whoever changes one reads the new one aloud, too.
"""

from __future__ import annotations

import contextlib
import re
import threading
import types
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

VARYING = {r"\b[0-9a-f]{64}\b": "<SHA-256>", r"\.py:\d+": ".py:<LINE>", r"had [0-9,]+": "had <BYTES>"}


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
    for pattern, instead in VARYING.items():
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


def inside_a_hook(case: Case) -> None:
    """Ask for a swap from inside a hook of a swap."""

    @midflight.before_swap(case.module)
    def again(_swapping) -> None:
        midflight.swap(case.module)

    case.swap(CALC + "int more;")


def inside_a_call(case: Case) -> None:
    """Ask for a swap that moves data from inside a call."""
    text = "int n; int poke(void) { return ++n; } int ask(int (*f)(void)) { return f(); }"
    module = midflight.load(case.write("asking.c", text))
    module.poke()

    def ask() -> int:
        midflight.swap(module, case.write("new.c", text + "int more;"))
        return 0

    module.ask(ask)


def canary(case: Case) -> None:
    """Let a candidate crash in its share of calls."""
    module = midflight.load(case.write("first.c", CALC), on_crash="raise")
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            with contextlib.suppress(midflight.ModuleCrashed):
                module.poke()

    caller = threading.Thread(target=call)
    caller.start()
    try:
        wild = case.write("new.c", CALC.replace("return ++n", "return *(volatile int *)8"))
        midflight.swap(module, wild, soak=60, canary=0.5, carry="fresh")
    finally:
        ended.set()
        caller.join()


def alone(case: Case) -> None:
    """Crash, guarded, in the first version."""
    text = CALC.replace("return ++n", "return *(volatile int *)8")
    midflight.load(case.write("first.c", text), on_crash="raise").poke()


def elsewhere_crashed(case: Case) -> None:
    """Crash in a worker."""
    midflight.load(case.write("first.c", "int f(void) { return *(volatile int *)8; }"), lane="worker").f()


def unloaded(case: Case) -> None:
    """Call what has been unloaded."""
    midflight.unload(case.module)
    case.module.add(1, 2)


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
    "a directory": lambda case: (case.root / "empty").mkdir() or midflight.load("empty"),
    "another kind of file": read("x", "calc.txt"),
    "an object file": built(CALC, "-c"),
    "an address as a file": load("tcp:127.0.0.1:8000"),
    "a build that fails": read("#error not yet", "bad.c"),
    "a constructor that raises": read(
        '#include <stdexcept>\nstatic int start() { throw std::runtime_error("no disk"); } int n = start();', "new.cpp"
    ),
    "a constructor that crashes": lambda case: midflight.load(
        case.write("new.c", f"{CALC} {AT_START} *(volatile int *)8 = 1; }}"), on_crash="raise"
    ),
    "no signature": lambda case: midflight.load(case.library(CALC).name, expect=midflight.Signed(b"1" * 32)),
    "no key": lambda _case: midflight.Signed("abc"),
    "declarations that are none": built(CALC, "-s", interface="int f("),
    "a time limit for calls here": load("calc.c", timeout=0.5),
    "no such lane": load("calc.c", lane="elsewhere"),
    "no probe": load("calc.c", probe="yes"),
    "no share": load("calc.c", record=2),
    "no answer to a crash": load("calc.c", on_crash="ignore"),
    "no such carrying": load("calc.c", carry="maybe"),
    "a service for nobody": load("calc.c", provides={"nobody": print}),
    "no signal": lambda case: midflight.on_signal(99, case.module),
    "no handle": lambda _case: midflight.object_of(12345),
    "no function": lambda case: case.module.subtract(1),
    "no variable": lambda case: midflight.variables(case.module)["m"],
    "no type of the module's": lambda case: midflight.new(case.module, "struct nobody"),
    "no address": lambda case: midflight.offer(case.module, "here"),
    "another's module": lambda _case: midflight.swap(types.ModuleType("other")),
    "an unloaded module": unloaded,
    # ---- what it changes
    "callers": swap("int n; int poke(void) { return ++n; } long add(int a) { return a; }"),
    "data": swap(CALC.replace("int n", "char *n").replace("return ++n", "return n != 0")),
    "nothing to go back to": lambda case: midflight.rollback(case.module),
    "twice in one transaction": twice,
    "a hook of the program's": hook,
    "a hook that swaps": inside_a_hook,
    "a call that swaps": inside_a_call,
    "a canary with data to carry": swap(CALC + "int more;", soak=1, canary=0.5),
    # ---- what it does
    "a hook of the library's": swap(f"{CALC}\nint midflight_loaded(void) {{ return 3; }}"),
    "memory": swap(
        "#include <stdlib.h>\n#include <string.h>\nchar *all;"
        f"{CALC} {AT_START} all = malloc(1u << 29); memset(all, 1, 1u << 29); }}",
        probe=midflight.Probe(memory=200_000_000),
    ),
    "a crash when it is unloaded": swap(
        f"{CALC} __attribute__((destructor)) static void end(void) {{ *(volatile int *)8 = 1; }}", probe=True
    ),
    "a candidate that does worse": canary,
    "a crash in a worker": elsewhere_crashed,
    "a crash with nothing to go back to": alone,
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
