"""swap, rollback, versions, reports.

Would catch: a swap that silently does nothing or silently does something, a refusal that changes the module, a version
number used twice, a function object that changes its identity.
"""

from __future__ import annotations

import gc
import types

import pytest

import midflight
from tests.lanes import is_there

ADD = "int add(int a, int b) { return a + b; }\n"


@pytest.fixture
def calc(workshop, load):
    return load(workshop.write("calc.c", ADD))


def _statuses(module) -> list[str]:
    return [version.status for version in midflight.versions(module)]


def test_the_source_is_built_again(calc, workshop) -> None:
    workshop.write("calc.c", "int add(int a, int b) { return a + b + 1; }\n")
    report = midflight.swap(calc)
    assert calc.add(2, 3) == 6
    assert report.changed
    assert list(report.stages) == ["resolve", "inspect", "load", "plan", "switch", "drain", "retire"]
    assert all(seconds >= 0 for seconds in report.stages.values())
    assert report.pause == 0.0
    assert (report.old.number, report.new.number) == (1, 2)
    assert _statuses(calc) == ["unloaded", "current"]
    assert "1 → 2" in str(report)


def test_equal_bytes_are_no_swap_and_it_says_so(calc) -> None:
    report = midflight.swap(calc)
    assert not report.changed
    assert "current already" in str(report)
    assert _statuses(calc) == ["current"]


def test_functions_are_the_same_objects_for_the_modules_whole_life(calc, workshop) -> None:
    kept = calc.add
    workshop.write("calc.c", ADD + "int sub(int a, int b) { return a - b; }\n")
    midflight.swap(calc)
    assert calc.add is kept
    assert type(calc) is types.ModuleType
    assert calc.sub(5, 3) == 2
    midflight.rollback(calc)
    assert not hasattr(calc, "sub")
    midflight.swap(calc)
    assert calc.sub(5, 3) == 2


def test_a_removed_function_is_refused_by_name(calc, workshop) -> None:
    workshop.write("calc.c", "int sub(int a, int b) { return a - b; }\n")
    with pytest.raises(midflight.IncompatibleError, match="add") as refused:
        midflight.swap(calc)
    assert refused.value.stage == "inspect"
    assert "version 1 of calc goes on running" in str(refused.value)
    assert any("add" in change for change in refused.value.changes)
    assert calc.add(2, 3) == 5
    assert _statuses(calc) == ["current"]


def test_a_changed_function_is_refused_naming_the_parameter(calc, workshop) -> None:
    workshop.write("calc.c", "int add(int a, double b) { return a + (int)b; }\n")
    with pytest.raises(midflight.IncompatibleError, match="b"):
        midflight.swap(calc)
    assert calc.add(2, 3) == 5


def test_compat_any_allows_it_and_the_removed_function_says_so(calc, workshop) -> None:
    kept = calc.add
    workshop.write("calc.c", "int sub(int a, int b) { return a - b; }\n")
    report = midflight.swap(calc, compat="any")
    assert any("add" in change for change in report.changes)
    with pytest.raises(midflight.MissingFunction, match="add"):
        kept(2, 3)
    with pytest.raises(AttributeError, match="sub"):
        calc.add  # noqa: B018 - looking is the test
    assert calc.sub(2, 3) == -1


def test_a_failed_build_changes_nothing(calc, workshop) -> None:
    source = workshop.write("calc.c", "int add(int a, int b) { return a + ; }\n")
    with pytest.raises(midflight.BuildError) as refused:
        midflight.swap(calc)
    assert refused.value.stage == "resolve"
    assert (refused.value.diagnostics[0].file, refused.value.diagnostics[0].line) == (str(source), 1)
    assert calc.add(2, 3) == 5


def test_a_truncated_library_changes_nothing(calc, workshop) -> None:
    whole = workshop.library("calc-2", ADD + "int two;").read_bytes()
    path = workshop.root / "half.so"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(midflight.BadLibraryError, match="truncated") as refused:
        midflight.swap(calc, path)
    assert refused.value.stage == "inspect"
    assert calc.add(2, 3) == 5
    assert midflight.swap(calc).changed is False  # and the source is still the old one


def test_rollback_goes_back_step_by_step_under_new_numbers(calc, workshop) -> None:
    for extra in (10, 20):
        workshop.write("calc.c", f"int add(int a, int b) {{ return a + b + {extra}; }}\n")
        midflight.swap(calc)
    assert calc.add(0, 0) == 20
    assert midflight.rollback(calc).new.number == 4
    assert calc.add(0, 0) == 10
    midflight.rollback(calc)
    assert calc.add(0, 0) == 0
    with pytest.raises(midflight.SwapError, match="no version before"):
        midflight.rollback(calc)
    assert calc.add(0, 0) == 0
    assert [version.number for version in midflight.versions(calc)] == [1, 2, 3, 4, 5]


def test_another_source_is_the_modules_from_then_on(calc, workshop) -> None:
    library = workshop.library("calc-2", "int add(int a, int b) { return a * b; }\n")
    midflight.swap(calc, library)
    assert calc.add(2, 3) == 6
    assert not midflight.swap(calc).changed
    midflight.rollback(calc)
    assert calc.add(2, 3) == 5
    assert not midflight.swap(calc).changed


def test_what_is_no_module_of_ours_is_refused() -> None:
    for wrong in (types, types.ModuleType("mine"), None, 3):
        with pytest.raises(midflight.SwapError, match="no module of midflight"):
            midflight.swap(wrong)  # type: ignore[arg-type]


def test_old_versions_are_forgotten_but_not_the_loaded_ones(workshop, load) -> None:
    source = workshop.write("many.c", "int v(void) { return 0; }\n")
    module = load(source)
    for number in range(1, 45):
        source.write_text(f"int v(void) {{ return {number}; }}\n")
        midflight.swap(module)
    kept = midflight.versions(module)
    assert len(kept) < 40
    assert [version.status for version in kept if version.status != "unloaded"] == ["current"]
    assert kept[-1].number == 45


def test_a_module_that_nobody_has_any_more_is_unloaded(workshop, unloading, load) -> None:
    module = load(workshop.write("gone.c", "int v(void) { return 7; }\n"))
    version = midflight.versions(module)[0]
    path, function = version.path, module.v
    gone = unloading(version)
    del module
    gc.collect()
    assert function() == 7  # a function keeps its version
    del function
    gc.collect()
    assert gone.wait(60)
    assert version.status == "unloaded"
    assert not is_there(path)


def test_events_tell_each_swap_and_each_refusal(workshop, load) -> None:
    seen = []
    unsubscribe = midflight.subscribe(seen.append)
    try:
        source = workshop.write("told.c", ADD)
        module = load(source)
        source.write_text(ADD + "int more;")
        midflight.swap(module)
        midflight.swap(module)
        source.write_text("int add(")
        with pytest.raises(midflight.BuildError):
            midflight.swap(module)
    finally:
        unsubscribe()
    assert [type(event).__name__ for event in seen] == ["Loaded", "Swapped", "Refused"]
    assert seen[1].report.new.number == 2
    assert isinstance(seen[2].error, midflight.BuildError)
    assert seen[0].module is module
