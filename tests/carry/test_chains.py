"""Data through many versions, up and down, and what a swap may be told about them.

Would catch: a value that is lost by the third swap, a rollback that forgets what happened meanwhile, two variables of
one name that are mixed up, a rename that holds in one direction only, options that do something else than they say, and
variables that nobody knows and nobody is told of.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

import midflight
from tests.carry.conftest import said

COUNTER = """
#include <midflight.h>
struct player { HP hp; EXTRA };
static long total;
static struct player one;
struct player *many;
static HP table[3 + V % 3];
int start(void) { many = MF_NEW(struct player, 100); return many != 0; }
void add(int n) { total += n; one.hp += n; many[99].hp += n; table[1] += n; }
long sum(void) { return total + 1000 * (long)one.hp + 1000000 * (long)many[99].hp + 1000000000 * (long)table[1]; }
int version(void) { return V; }
"""
EACH = 1001001001

EIGHT = [
    ("short", ""),
    ("int", "double x;"),
    ("long", "double x; char name[8];"),
    ("int", "char name[16]; double x;"),
    ("double", "struct { int a, b; } at;"),
    ("short", "struct { short b; long a; } at;"),
    ("long", ""),
    ("float", "void *last;"),
    ("int", "union { int a; float b; } either;"),
]


def _version(compiled, number: int, *flags: str):
    hp, extra = EIGHT[number]
    return compiled(COUNTER, f"-DV={number + 1}", f"-DHP={hp}", f"-DEXTRA={extra}", *flags)


def test_eight_swaps_in_a_row(load, compiled) -> None:
    module = load(_version(compiled, 0))
    assert module.start()
    added = 0
    for number in range(len(EIGHT)):
        if number:
            report = midflight.swap(module, _version(compiled, number))
            assert said(report)["total"] == "carried"
        assert (module.version(), module.sum()) == (number + 1, added * EACH)
        module.add(7)
        added += 7
        assert module.sum() == added * EACH


@pytest.mark.parametrize("down", ["swap", "rollback"])
def test_up_and_down(load, compiled, down) -> None:
    module = load(_version(compiled, 0))
    assert module.start()
    module.add(1)
    added, up = 1, (1, 2)
    for number in up:
        midflight.swap(module, _version(compiled, number))
        module.add(1)
        added += 1
    for number in (1, 0):
        if down == "swap":
            midflight.swap(module, _version(compiled, number))
        else:
            midflight.rollback(module)
        assert (module.version(), module.sum()) == (number + 1, added * EACH)
        module.add(1)
        added += 1
    midflight.swap(module, _version(compiled, 2))
    assert (module.version(), module.sum()) == (3, added * EACH)


def test_a_rollback_is_refused_where_a_value_no_longer_fits(load, compiled) -> None:
    module = load(_version(compiled, 0))
    assert module.start()
    midflight.swap(module, _version(compiled, 1))
    module.add(40000)
    with pytest.raises(midflight.StateError) as caught:
        midflight.rollback(module)
    assert sorted(caught.value.refusals) == [
        "many[99].hp: 40000 does not fit short",
        "one.hp: 40000 does not fit short",
        "table[1]: 40000 does not fit short",
    ]
    assert (module.version(), module.sum()) == (2, 40000 * EACH)
    midflight.rollback(module, carry="fresh")
    assert module.version() == 1


# ---- the three-way rule ---------------------------------------------------------------------------------------------

RULE = """
int changed = START, left = START, back = START;
void change(void) { changed = 77; back = 78; }
void restore(void) { back = START; }
int all(void) { return changed * 10000 + left * 100 + back; }
"""


def test_what_nobody_changed_takes_the_new_value(load, compiled) -> None:
    one, two, three = (compiled(RULE, f"-DSTART={number}") for number in (1, 2, 3))
    module = load(one)
    module.change()
    assert said(midflight.swap(module, two)) == {
        "changed": "carried",
        "left": "initialised (nobody had changed it)",
        "back": "carried",
    }
    assert module.all() == 77_02_78
    # Carried once, carried again, also what isn't touched here, and what has the value that it would have had.
    module.restore()
    report = said(midflight.swap(module, three))
    assert (report["changed"], report["back"]) == ("carried", "carried")
    assert module.all() == 77_03_02
    midflight.rollback(module)
    assert module.all() == 77_02_02


def test_a_constructor_gives_initial_values(load, compiled) -> None:
    text = """
    int value;
    __attribute__((constructor)) static void begin(void) { value = START; }
    int get(void) { return value; }
    """
    module = load(compiled(text, "-DSTART=1"))
    assert said(midflight.swap(module, compiled(text, "-DSTART=2"))) == {"value": "initialised (nobody had changed it)"}
    assert module.get() == 2


# ---- names ----------------------------------------------------------------------------------------------------------

BEFORE = """
#include <midflight.h>
struct actor { int hp; int level; };
struct actor best;
int online;
struct actor *all;
void change(void) { best.hp = 300; best.level = 2; online = 4; all = MF_NEW(struct actor, 2); all[1].hp = 9; }
int sum(void) { return best.hp + best.level * 1000 + online * 10000 + all[1].hp * 100000; }
"""
AFTER = """
#include <midflight.h>
struct player { int level; int health; };
struct player champion;
int connected;
struct player *everybody;
SAID
int sum(void)
{
    return champion.health + champion.level * 1000 + connected * 10000 + everybody[1].health * 100000;
}
"""
PAIRS = {
    "actor.hp": "player.health",
    "struct actor": "struct player",
    "best": "champion",
    "online": "connected",
    "all": "everybody",
}
SUM = 300 + 2000 + 40000 + 900000


@pytest.mark.parametrize("how", ["in the source", "from Python"])
def test_renames_hold_in_both_directions(load, compiled, how) -> None:
    in_source = "".join(f"MF_RENAMED({old}, {new});" for old, new in PAIRS.items())
    module = load(compiled(BEFORE), compat="any")
    if how == "from Python":
        for old, new in PAIRS.items():
            midflight.renamed(module, old, new)
    module.change()
    for _ in range(2):
        report = midflight.swap(module, compiled(AFTER.replace("SAID", in_source if how == "in the source" else "")))
        assert not report.warnings
        assert {row.what for row in report.state} <= {"carried", "migrated"}
        assert module.sum() == SUM
        midflight.rollback(module)
        assert module.sum() == SUM


def test_without_a_rename_it_is_another_variable(load, compiled) -> None:
    module = load(compiled(BEFORE), compat="any")
    module.change()
    report = said(midflight.swap(module, compiled(AFTER.replace("SAID", "").replace("everybody[1].health", "0"))))
    assert report["online"] == "dropped (the new version has no such variable)"
    assert report["connected"] == "initialised (it is new)"


TWINS = """
struct counter { static int count; static void add(); };
int counter::count = 0;
void counter::add() { count += 5; }
namespace first { static int count = 0; int add() { static int count = 0; return ++count + ++first::count * 10; } }
namespace second {
static int count = 0;
int add() { static int count = 0; count += 2; return count + (second::count += 3) * 10; }
}
extern "C" void add() { counter::add(); first::add(); second::add(); }
extern "C" int sum() { return first::add() + second::add() * 100 + counter::count * 100000; }
"""


def test_statics_of_one_name_are_different_variables(load, compiled) -> None:
    module = load(compiled(TWINS, suffix=".cc"))
    module.add()
    swapped = TWINS.replace("namespace first", "namespace zeroth { int count; } namespace first")
    report = midflight.swap(module, compiled(swapped, suffix=".cc"))
    assert [row.what for row in report.state if row.name.endswith("count")].count("carried") == 5
    assert module.sum() == 22 + 64 * 100 + 5 * 100000


def test_statics_of_one_name_in_two_files(load, tmp_path) -> None:
    def build(version: int, order: str):
        directory = tmp_path / f"v{version}"
        directory.mkdir()
        for name, step in (("a", 1), ("b", 10)):
            source = directory / f"{name}.c"
            source.write_text(f"static int count; int add_{name}(void) {{ count += {step}; return count; }}\n")
        library = directory / "both.so"
        sources = [f"{name}.c" for name in order]
        subprocess.run(["cc", "-g", "-O1", "-fPIC", "-shared", "-o", library, *sources], check=True, cwd=directory)
        return library

    module = load(build(1, "ab"))
    assert (module.add_a(), module.add_b()) == (1, 10)
    midflight.swap(module, build(2, "ba"))
    assert (module.add_a(), module.add_b()) == (2, 20)


# ---- what is asked for ----------------------------------------------------------------------------------------------


def test_only_what_is_named_is_carried(load, compiled) -> None:
    module = load(compiled(RULE, "-DSTART=1"), carry=["changed"])
    module.change()
    report = said(midflight.swap(module, compiled(RULE, "-DSTART=2")))
    assert (report["changed"], report["back"]) == ("carried", "initialised (carry= doesn't name it)")
    assert module.all() == 77_02_02


def test_fresh_carries_nothing(load, compiled) -> None:
    module = load(compiled(RULE, "-DSTART=1"))
    module.change()
    midflight.swap(module, compiled(RULE, "-DSTART=2"), carry="fresh")
    assert module.all() == 2_02_02


def test_a_name_that_is_none_is_an_error(load, compiled) -> None:
    module = load(compiled(RULE, "-DSTART=1"))
    module.change()
    with pytest.raises(midflight.StateError, match="'chnaged'") as caught:
        midflight.swap(module, compiled(RULE, "-DSTART=2"), carry=["changed", "chnaged"])
    assert caught.value.refusals == ("chnaged: there is no such variable",)
    assert module.all() == 77_01_78


def test_require_refuses_what_would_be_lost(load, compiled) -> None:
    module = load(compiled(RULE, "-DSTART=1"), carry="require", compat="any")
    module.change()
    less = compiled(RULE.replace("changed", "other"), "-DSTART=2")
    with pytest.raises(midflight.StateError) as caught:
        midflight.swap(module, less)
    assert caught.value.refusals == (
        "changed: the new version has no such variable, and carry='require' was asked for",
    )
    assert module.all() == 77_01_78
    report = said(midflight.swap(module, less, carry="auto"))
    assert report["changed"] == "dropped (the new version has no such variable)"
    assert module.all() == 2_02_78


def test_a_narrower_variable_is_a_matter_of_its_value_not_of_compat(load, compiled) -> None:
    text = "TYPE value; void set(int n) { value = n; } int get(void) { return value; }"
    module = load(compiled(text, "-DTYPE=int"))
    module.set(300)
    narrow = compiled(text, "-DTYPE=signed char")
    for compat in ("strict", "any"):
        with pytest.raises(midflight.SwapError):
            midflight.swap(module, narrow, compat=compat)
        assert module.get() == 300
    module.set(30)
    midflight.swap(module, narrow, compat="any")
    assert module.get() == 30


# ---- what other people's builds make --------------------------------------------------------------------------------

FLAGS = [("-O0",), ("-O2",), ("-gdwarf-4", "-O2"), ("-gdwarf-5",), ("-gdwarf-4", "-gstrict-dwarf"), ("-O2", "-flto")]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_ready_built_libraries(load, compiled, flags) -> None:
    module = load(_version(compiled, 0, *flags))
    assert module.start()
    for number in (1, 2, 0):
        module.add(3)
        report = midflight.swap(module, _version(compiled, number, *flags))
        assert {"total", "one", "many", "table"} <= said(report).keys()
    assert module.sum() == 9 * EACH


SPLIT = ("left (the compiler has split it up, and parts of it are nowhere)", "dropped (the new version's compiler has")
"""What clang does to static structs and arrays of which only some parts are used."""


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",)], ids=" ".join)
def test_libraries_of_clang(load, tmp_path, flags) -> None:
    def build(number: int):
        from tests.carry.conftest import INCLUDE

        source, library = tmp_path / "counter.c", tmp_path / f"v{number}.so"
        source.write_text(COUNTER)
        hp, extra = EIGHT[number]
        defines = [f"-DV={number + 1}", f"-DHP={hp}", f"-DEXTRA={extra}", f"-I{INCLUDE}"]
        subprocess.run([*clang, "-g", "-shared", "-fPIC", *flags, *defines, "-o", library, source], check=True)
        return library

    clang = [shutil.which("clang")] if shutil.which("clang") else [sys.executable, "-m", "ziglang", "cc"]
    module = load(build(0))
    assert module.start()
    for number in (1, 2, 0):
        module.add(3)
        report = said(midflight.swap(module, build(number)))
        assert (report["total"], report["many"]) == ("carried", "carried")
        assert all(report[name].startswith(("carried", "migrated", *SPLIT)) for name in ("one", "table")), report
    left = [report[name] for name in ("one", "table") if report[name].startswith(SPLIT)]
    assert bool(left) == (flags == ("-O2",))
    if left:
        with pytest.raises(midflight.StateError, match="the compiler has split it up"):
            midflight.swap(module, build(1), carry="require")
    else:
        assert module.sum() == 9 * EACH


@pytest.mark.parametrize("which", ["old", "new", "both"])
def test_without_debug_information_nothing_is_lost_in_silence(load, compiled, which) -> None:
    old, new = (compiled(RULE, f"-DSTART={n}", *flags) for n, flags in _bare(which))
    module = load(old, interface="void change(void); int all(void);")
    module.change()
    report = midflight.swap(module, new, compat="any")
    told = " ".join((*map(str, report.state), *report.warnings))
    assert "changed" in told or "debug information" in told, report


def _bare(which: str):
    return ((n, ("-g0",) if which in {name, "both"} else ()) for n, name in ((1, "old"), (2, "new")))
