"""Hooks of libraries and of programs, in both lanes.

Would catch: a hook that runs too often, too late, in the wrong version or not at all; one whose refusal, crash or hang
isn't noticed, ends the program, or leaves something changed; a swap that isn't taken back when it should be.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import threading
from pathlib import Path

import pytest

import midflight
from midflight import _retire
from midflight._control import control_of

HOOKS = ("loaded", "save", "restore", "unloading")
ALL_WELL = dict.fromkeys(HOOKS, "return 0;")

CRASHES = {
    "refuses": ("return 3;", "returned 3"),
    "wild write": ("*(volatile int *)8 = 1; return 0;", "SIGSEGV"),
    "abort": ("abort();", "SIGABRT"),
    "trap": ("__builtin_trap();", "SIGILL"),
    "stack overflow": ("return fall(1);", "SIGSEGV"),
}

SOURCE = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static int version = VERSION;
int whoami(void) { return version; }
static void say(char what)
{
    char text[2] = {what, (char)('0' + version)};
    int file = open("LOG", O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (write(file, text, 2) != 2)
        abort();
    close(file);
}
static int hang(void)
{
    char byte;
    int file = open(getenv("MIDFLIGHT_TEST_PIPE"), O_RDONLY);
    return read(file, &byte, 1) == 1 ? 0 : 1;
}
static volatile int bottomless = 1;
__attribute__((noinline)) static int fall(volatile int above)
{
    volatile char room[4096];
    room[0] = (char)above;
    return bottomless ? fall(room[0]) + room[0] : 0;
}
"""


@pytest.fixture
def log(tmp_path):
    """What hooks have said: a letter for the hook, and the version."""
    path = tmp_path / "log"
    path.touch()
    return path.read_text


@pytest.fixture
def source(tmp_path):
    """The source of a version, without its hooks."""
    return lambda version: SOURCE.replace("VERSION", str(version)).replace("LOG", str(tmp_path / "log"))


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    """A pipe that a hook which hangs reads from; calling it lets one go on."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    monkeypatch.setenv("MIDFLIGHT_TEST_PIPE", str(path))
    descriptor = os.open(path, os.O_RDWR)
    yield lambda: os.write(descriptor, b"x")
    os.close(descriptor)


@pytest.fixture
def make(workshop, source):
    """Make a version with hooks: a body for each."""

    def library(version: int, **hooks: str):
        text = source(version)
        for name, body in hooks.items():
            text += f"int midflight_{name}(void) {{ say('{name[0]}'); {body} }}\n"
        return workshop.library(f"h{version}", text)

    return library


# ---- hooks of a library ---------------------------------------------------------------------------------------------


def test_they_run_in_order_each_in_its_version(load, make, log) -> None:
    module = load(make(1, **ALL_WELL))
    assert log() == "l1"
    midflight.swap(module, make(2, **ALL_WELL))
    assert log() == "l1l2s1r2u1"
    midflight.rollback(module)
    assert log() == "l1l2s1r2u1l1s2r1u2"
    midflight.unload(module, timeout=20)
    assert log() == "l1l2s1r2u1l1s2r1u2u1"


def test_they_are_no_functions_of_the_module(load, make) -> None:
    module = load(make(1, **ALL_WELL))
    assert "whoami" in dir(module)
    assert not [name for name in dir(module) if name.startswith("midflight_")]
    with pytest.raises(AttributeError):
        module.midflight_save  # noqa: B018 - looking is the test
    with pytest.raises(midflight.MissingFunction):
        midflight.function(module, "midflight_save")
    assert not midflight.swap(module, make(2)).changes, "a hook less is no change of the interface"


def test_hooks_that_say_nothing(load, workshop, source, log) -> None:
    """A void hook can't refuse, whatever is left in the register of a result."""
    text = source(1)
    text += "".join(f"void midflight_{name}(void) {{ say('{name[0]}'); errno_like = 7; }}\n" for name in HOOKS)
    path = workshop.library("void", text.replace("static int hang", "static volatile int errno_like;\nstatic int hang"))
    module = load(path)
    midflight.swap(module, workshop.library("void-2", path.with_name("void-source.c").read_text() + "int more;"))
    assert log() == "l1l1s1r1u1"


@pytest.mark.parametrize(
    "declaration",
    ["double midflight_save(void) { return 0; }", "int midflight_save(int a) { return a; }",
     "long midflight_loaded(void) { return 0; }", "char *midflight_restore(void) { return 0; }"],
)  # fmt: skip
def test_a_hook_of_another_type_is_refused(load, workshop, declaration) -> None:
    with pytest.raises(midflight.InterfaceError, match=r"midflight_\w+.*\(void\)"):
        load(workshop.library("wrong", declaration))


def test_a_hook_of_unknown_type_is_refused(load, workshop) -> None:
    path = workshop.library(
        "stripped", "int add(int a, int b) { return a + b; } int midflight_save(void) { return 0; }", "-s"
    )
    with pytest.raises(midflight.InterfaceError, match=r"declare it.*midflight_save"):
        load(path, interface="int add(int, int);")
    module = load(path, interface="int add(int, int); int midflight_save(void);")
    assert list(control_of(module).current.code.hooks) == ["midflight_save"]


@pytest.mark.parametrize("hook", ["loaded", "restore"])
@pytest.mark.parametrize("how", CRASHES)
def test_a_hook_of_the_new_version_refuses(load, make, log, hook, how) -> None:
    body, said = CRASHES[how]
    module = load(make(1, **ALL_WELL))
    with pytest.raises(midflight.HookError, match=f"midflight_{hook} of version 2") as refused:
        midflight.swap(module, make(2, **ALL_WELL | {hook: body}))
    assert said in str(refused.value)
    assert "version 1" in refused.value.unchanged
    assert refused.value.stage == {"loaded": "load", "restore": "move"}[hook]
    assert module.whoami() == 1
    assert [version.number for version in midflight.versions(module) if version.status == "current"] == [1]
    assert log() == {"loaded": "l1l2", "restore": "l1l2s1r2u2" if how == "refuses" else "l1l2s1r2"}[hook]
    midflight.swap(module, make(3, **ALL_WELL))
    assert module.whoami() == 3


@pytest.mark.parametrize("how", [how for how in CRASHES if how == "refuses"])
def test_a_hook_of_the_old_version_refuses(load, make, how) -> None:
    module = load(make(1, **ALL_WELL | {"save": CRASHES[how][0]}))
    with pytest.raises(midflight.HookError, match=r"midflight_save of version 1.*3"):
        midflight.swap(module, make(2, **ALL_WELL))
    assert module.whoami() == 1
    midflight.swap(module, make(2, **ALL_WELL), carry="fresh")
    assert module.whoami() == 2


def test_a_crash_of_save(load, make, lane) -> None:
    module = load(make(1, **ALL_WELL | {"save": CRASHES["wild write"][0]}))
    with pytest.raises(midflight.HookError, match="SIGSEGV") as refused:
        midflight.swap(module, make(2, **ALL_WELL))
    assert ("its data with it" in str(refused.value)) == (lane == "worker")
    assert module.whoami() == 1


@pytest.mark.usefixtures("alone")
def test_a_hook_that_refuses_at_the_first_load(load, make) -> None:
    with pytest.raises(midflight.HookError, match=r"midflight_loaded of version 1.*returned 3"):
        load(make(9, loaded="return 3;"))
    assert "h9" not in Path("/proc/self/maps").read_text()


def test_a_cxx_exception_of_a_hook(load, workshop) -> None:
    one = workshop.library("x1", 'extern "C" int f() { return 1; }', suffix=".cc")
    two = workshop.library(
        "x2",
        '#include <stdexcept>\nextern "C" int f() { return 2; }\n'
        'extern "C" int midflight_loaded() { throw std::runtime_error("not today"); }',
        suffix=".cc",
    )
    module = load(one)
    with pytest.raises(midflight.HookError, match=r"midflight_loaded.*not today"):
        midflight.swap(module, two)
    assert module.f() == 1


@pytest.mark.parametrize("hook", ["loaded", "restore"])
def test_a_hook_that_hangs_refuses(load, make, pipe, lane, hook) -> None:
    module = load(make(1, **ALL_WELL), hook_timeout=0.2)
    with pytest.raises(midflight.HookError, match=f"midflight_{hook} of version 2 hasn't returned within 0.2 s"):
        midflight.swap(module, make(2, **ALL_WELL | {hook: "return hang();"}))
    assert module.whoami() == 1
    stuck = [version for version in midflight.versions(module) if version.number == 2]
    if lane == "worker":  # it has ended with its process
        assert stuck == []
        return
    assert (stuck[0].status, stuck[0].held_by) == ("draining", (f"its hook midflight_{hook}, which hasn't returned",))
    pipe()
    generation = control_of(module).generations[-1]
    assert generation.running[-1].wait(20)
    _retire.settle()
    if generation.unloading is not None:  # its own end, once it could be asked to
        assert generation.unloading.wait(20)
        _retire.settle()
    assert (stuck[0].status, stuck[0].held_by) == ("unloaded", ())


@pytest.mark.here_only("a crash in a worker is the worker's")
def test_a_crash_of_a_hook_leaves_the_programs_own_handlers_alone(load, make) -> None:
    before = faulthandler.is_enabled()
    faulthandler.enable()
    try:
        module = load(make(1))
        with pytest.raises(midflight.HookError):
            midflight.swap(module, make(2, loaded=CRASHES["wild write"][0]))
        assert faulthandler.is_enabled()
    finally:
        if not before:
            faulthandler.disable()


def test_unloading_that_hangs(load, make, pipe, lane) -> None:
    module = load(make(1, unloading="return hang();"), hook_timeout=0.2)
    report = midflight.swap(module, make(2))
    assert module.whoami() == 2
    if lane == "worker":
        assert report.old.status == "unloaded"
        return
    assert (report.old.status, report.old.held_by) == (
        "resident",
        ("its hook midflight_unloading, which hasn't returned",),
    )
    generation = control_of(module).generations[0]
    pipe()
    assert generation.unloading.wait(20)
    _retire.settle()
    assert report.old.status == "unloaded"


def test_unloading_that_hangs_keeps_nobody_waiting_in_the_background(load, make, pipe) -> None:
    """The one background thread goes on unloading other versions meanwhile."""
    module = load(make(1, unloading="return hang();"))
    with midflight.pin(module):
        midflight.swap(module, make(2))
    generation = control_of(module).generations[0]
    _retire.settle()
    assert generation.version.status in {"resident", "unloaded"}
    pipe()


@pytest.mark.here_only("a worker ends all the same")
@pytest.mark.parametrize("how", ["refuses", "wild write"])
def test_unloading_that_fails_leaves_the_version(load, make, how) -> None:
    module = load(make(1, unloading=CRASHES[how][0]))
    old = midflight.swap(module, make(2)).old
    assert old.status == "resident"
    assert CRASHES[how][1] in old.held_by[0]


def test_a_fresh_worker_is_told_that_it_is_loaded(load, make, log, lane) -> None:
    if lane != "worker":
        return
    module = load(make(1, loaded="return 0;"))
    link = control_of(module).current.code._process.link
    link.kill()
    link.gone(-1)
    assert module.whoami() == 1
    assert log() == "l1l1"


def test_hooks_call_what_their_host_provides(load, workshop, lane) -> None:
    """Also in a process that takes the place of one that has died."""
    text = "extern int say(int);\nint f(void) { return 1; }\nint midflight_loaded(void) { return say(7) != 14; }\n"
    said = []

    def say(number: int) -> int:
        said.append(number)
        return 2 * number

    module = load(workshop.library("speaking", text), provides={"say": say})
    assert said == [7]
    if lane == "worker":
        link = control_of(module).current.code._process.link
        link.kill()
        link.gone(-1)
        assert module.f() == 1
        assert said == [7, 7]


# ---- hooks of a program ---------------------------------------------------------------------------------------------


def test_hooks_in_python_are_told_who_and_what(load, make) -> None:
    module, told = load(make(1)), []

    @midflight.before_swap(module)
    def before(what):
        told.append((what.module, what.old.number, what.new.number, what.report, module.whoami()))

    @midflight.after_swap(module)
    def after(what):
        told.append((what.module, what.old.number, what.new.number, what.report, module.whoami()))

    report = midflight.swap(module, make(2))
    assert told == [(module, 1, 2, None, 1), (module, 1, 2, report, 2)]
    assert {"before", "after"} <= set(report.stages)
    midflight.before_swap(module).remove(before)
    midflight.after_swap(module).remove(after)
    midflight.rollback(module)
    assert len(told) == 2


def test_they_run_in_the_order_in_which_they_were_added(load, make) -> None:
    module, told = load(make(1)), []
    for number in range(3):
        midflight.before_swap(module)(lambda _what, number=number: told.append(number))
    midflight.swap(module, make(2))
    midflight.rollback(module)
    assert told == [0, 1, 2, 0, 1, 2]
    assert not midflight.swap(module, make(1)).changed
    assert len(told) == 6, "where nothing is swapped there is nothing to tell"


def test_a_hook_that_raises_before_the_switch_refuses(load, make) -> None:
    module = load(make(1))

    @midflight.before_swap(module)
    def never(_what):
        raise ValueError("not now")

    with pytest.raises(midflight.HookError, match=r"never.*before a swap raised ValueError: not now") as refused:
        midflight.swap(module, make(2))
    assert isinstance(refused.value.__cause__, ValueError)
    assert refused.value.stage == "before"
    assert module.whoami() == 1
    assert [version.status for version in midflight.versions(module)] == ["current"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_in_python_that_hangs(load, make, when) -> None:
    module, end = load(make(1), hook_timeout=0.1), threading.Event()
    {"before": midflight.before_swap, "after": midflight.after_swap}[when](module)(lambda _what: end.wait(20))
    with pytest.raises(midflight.HookError, match=r"hasn't returned within 0.1 s"):
        midflight.swap(module, make(2))
    end.set()
    assert module.whoami() == 1


def test_a_hook_that_raises_after_the_switch_takes_it_back(load, make, log) -> None:
    module = load(make(1, **ALL_WELL))

    @midflight.after_swap(module)
    def never(_what):
        raise ValueError(f"it was {module.whoami()}")

    with pytest.raises(midflight.HookError, match="it was 2") as refused:
        midflight.swap(module, make(2, **ALL_WELL))
    assert "gone back to what version 1 was" in refused.value.unchanged
    assert module.whoami() == 1
    assert log() == "l1l2s1r2l1s2r1u2u1" or log() == "l1l2s1r2l1s2r1u1u2"
    midflight.after_swap(module).remove(never)
    with pytest.raises(midflight.SwapError, match="no version before"):
        midflight.rollback(module)
    assert not midflight.swap(module, make(1, **ALL_WELL)).changed, "the source is the old one again"


def test_a_rollback_that_is_taken_back(load, make) -> None:
    module = load(make(1))
    midflight.swap(module, make(2))

    @midflight.after_swap(module)
    def never(_what):
        raise ValueError("stay")

    with pytest.raises(midflight.HookError, match="stay"):
        midflight.rollback(module)
    assert module.whoami() == 2
    midflight.after_swap(module).remove(never)
    midflight.rollback(module)
    assert module.whoami() == 1


def test_all_modules_of_a_transaction_go_back(load, make) -> None:
    one, two = load(make(1)), load(make(5))

    @midflight.after_swap(two)
    def never(_what):
        raise ValueError("no")

    with pytest.raises(midflight.HookError, match="no"), midflight.transaction() as swaps:
        swaps.swap(one, make(2))
        swaps.swap(two, make(6))
    assert (one.whoami(), two.whoami()) == (1, 5)


def test_a_swap_asked_for_by_a_hook_is_refused_at_once(load, make) -> None:
    module, errors = load(make(1)), []

    @midflight.before_swap(module)
    def again(_what):
        with contextlib.suppress(midflight.SwapInsideError) as _:
            try:
                midflight.swap(module, path)
            except midflight.SwapInsideError as error:
                errors.append(error)

    path = make(2)
    midflight.swap(module, path)
    assert "inside a hook" in str(errors[0])
    assert module.whoami() == 2


@pytest.mark.parametrize("value", [-1, float("nan"), "x", None], ids=repr)
def test_hook_timeouts_that_mean_nothing(load, make, value) -> None:
    with pytest.raises(midflight.SourceError, match="hook_timeout"):
        load(make(1), hook_timeout=value)
