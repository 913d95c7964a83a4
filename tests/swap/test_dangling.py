"""Carried pointers into an old version that have nothing to point to in the new one.

Would catch: a version that is unloaded under such a pointer, one that stays for ever, a refusal that changes something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
static int (*operation)(int);
static int NAME(int value) { return TIMES * value; }
void set(void) { operation = NAME; }
void clear(void) { operation = 0; }
int call(int value) { return operation ? operation(value) : -1; }
"""


def _save(directory: Path, name: str, times: int, more: str = "") -> Path:
    path = directory / "operations.c"
    path.write_text(SOURCE.replace("NAME", name).replace("TIMES", str(times)) + more)
    return path


@pytest.fixture
def module(tmp_path):
    """A module whose variable points to a function that the next version hasn't got."""
    module = midflight.load(_save(tmp_path, "twice", 2), name="operations")
    module.set()
    return module


def _held_by(module, index: int) -> tuple[str, ...]:
    return midflight.versions(module)[index].held_by


def _statuses(module) -> list[str]:
    return [version.status for version in midflight.versions(module)]


def test_it_is_refused(module, tmp_path) -> None:
    with pytest.raises(midflight.StateError) as refused:
        midflight.swap(module, _save(tmp_path, "thrice", 3))
    assert refused.value.refusals == ("operation points to the function twice, which the new version doesn't have",)
    assert (refused.value.stage, module.call(5), _statuses(module)) == ("move", 10, ["current"])


def test_a_function_of_the_same_name_takes_its_place(module, tmp_path) -> None:
    midflight.swap(module, _save(tmp_path, "twice", 200, "int pad(void) { return 1; }"))
    assert module.call(5) == 1000
    assert _statuses(module) == ["unloaded", "current"]


def test_the_old_version_stays_if_it_is_wanted(module, tmp_path) -> None:
    report = midflight.swap(module, _save(tmp_path, "thrice", 3), on_dangling="keep")
    assert module.call(5) == 10
    kept = [row for row in report.state if row.what == "kept"]
    assert [row.name for row in kept] == ["operation"]
    assert _held_by(module, 0) == ("carried data: operation points to the function twice",)


def test_it_stays_as_long_as_the_pointer_is_there(module, tmp_path) -> None:
    midflight.swap(module, _save(tmp_path, "thrice", 3), on_dangling="keep")
    midflight.swap(module, _save(tmp_path, "thrice", 3, "int more;"))
    assert module.call(5) == 10
    assert _statuses(module) == ["draining", "unloaded", "current"]
    module.clear()
    midflight.swap(module, _save(tmp_path, "thrice", 3, "int yet_more;"))
    assert module.call(5) == -1
    assert _statuses(module) == ["unloaded", "unloaded", "unloaded", "current"]


def test_a_pinned_version_is_told_of(module, tmp_path) -> None:
    with midflight.pin(module) as pinned:
        report = midflight.swap(module, _save(tmp_path, "twice", 3, "int more;"))
        assert "version 1 is pinned: what is changed in it from now on stays in it" in report.warnings
        pinned.clear()
        assert module.call(5) == 15
