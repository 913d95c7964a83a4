"""One module's functions, called by another one's library.

Would catch: calls that don't follow a swap of either side, a version that is unloaded under a call from the other one,
a signature that differs and is found out by a crash.
"""

from __future__ import annotations

import threading

import pytest

import midflight
from midflight import ServiceError

PHYSICS = "double area(double x) { return x * %s; } int unused(void) { return 0; }"
RULES = "extern double area(double); double cost(double x) { return area(x) + %s; }"


@pytest.fixture
def physics(tmp_path, load):
    (tmp_path / "physics.c").write_text(PHYSICS % 2)
    return load(tmp_path / "physics.c")


@pytest.fixture
def rules(tmp_path, load, physics):
    (tmp_path / "rules.c").write_text(RULES % 100)
    return load(tmp_path / "rules.c", provides=physics)


def edit(tmp_path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)


def test_calls_follow_the_swaps_of_both(tmp_path, physics, rules) -> None:
    assert rules.cost(3) == 106
    edit(tmp_path, "physics.c", PHYSICS % 5)
    midflight.swap(physics)
    assert rules.cost(3) == 115
    edit(tmp_path, "rules.c", RULES % 1)
    midflight.swap(rules)
    assert rules.cost(3) == 16
    midflight.rollback(physics)
    assert rules.cost(3) == 7


def test_it_can_be_replaced_by_a_python_function_and_back(physics, rules) -> None:
    midflight.provide(rules, "area")(lambda x: -x)
    assert rules.cost(3) == 97
    midflight.provide(rules, "area")(physics.area)
    assert rules.cost(3) == 106


def test_a_dictionary_may_hold_another_modules_function(build, physics) -> None:
    twice = build(
        "extern double size(double); double run(double x) { return size(x); }", provides={"size": physics.area}
    )
    assert twice.run(4) == 8
    with pytest.raises(ServiceError, match=r"parameter .*: int → double"):
        build("extern double size(int); double run(int x) { return size(x); }", provides={"size": physics.area})


def test_signatures_are_compared(build, tmp_path, load, physics) -> None:
    with pytest.raises(ServiceError, match="isn't that: takes 1 parameter"):
        build("extern double area(double, int); double run(void) { return area(1, 2); }", provides=physics)
    world = load_text(
        load, tmp_path, "world.c", "struct p { int x, y; }; int total(const struct p *p) { return p->x + p->y; }"
    )
    source = (
        "struct p { int x%s; }; extern int total(%sstruct p *); int run(void) { struct p p = {1}; return total(&p); }"
    )
    with pytest.raises(ServiceError, match="struct p: "):
        build(source % ("", "const "), provides=[{}, world])
    assert callable(build(source % (", y", ""), provides=world).run)  # a const more or less is no matter


def load_text(load, tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text)
    return load(tmp_path / name)


def test_several_modules_and_functions(build, physics) -> None:
    text = "extern double area(double), more(double); double run(double x) { return area(x) + more(x); }"
    assert build(text, provides=[physics, {"more": lambda x: x + 0.5}]).run(2) == 6.5


def test_what_the_other_module_raises_is_raised_here(build) -> None:
    inner = build("extern int fail(int); int inner(int x) { return fail(x); }", provides={"fail": lambda x: 1 // x})
    outer = build("extern int inner(int); int outer(int x) { return inner(x); }", provides=inner)
    with pytest.raises(ZeroDivisionError):
        outer.outer(0)
    assert outer.outer(1) == 1


def test_a_module_that_is_gone_is_an_error(rules, physics) -> None:
    midflight.unload(physics)
    with pytest.raises(midflight.UnloadedError):
        rules.cost(1)


def test_four_threads_call_while_both_are_swapped(tmp_path, physics, rules) -> None:
    """Each call sees one version of each: no other sum than those of what was current during it."""
    start, stop = threading.Barrier(5), threading.Event()
    results: list[set[float]] = [set() for _ in range(4)]

    def call(mine: set[float]) -> None:
        start.wait()
        while not stop.is_set():
            mine.add(rules.cost(1))

    threads = [threading.Thread(target=call, args=(one,)) for one in results]
    for thread in threads:
        thread.start()
    start.wait()
    for number in range(1, 9):
        edit(tmp_path, "physics.c", PHYSICS % number)
        midflight.swap(physics)
        edit(tmp_path, "rules.c", RULES % (100 * number))
        midflight.swap(rules)
    stop.set()
    for thread in threads:
        thread.join()
    # physics is swapped first, and a call may be slow: what it adds to is never newer than what it asks.
    assert set().union(*results) <= {area + 100.0 * more for more in range(1, 9) for area in range(more, 9)}
    assert rules.cost(1) == 808
    for module in (physics, rules):
        assert [version.status for version in midflight.versions(module)[:-1]].count("draining") == 0
