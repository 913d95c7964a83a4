"""Data that no debug information describes.

Would catch: a library without debug information whose data start anew without a word.
"""

from __future__ import annotations

import pytest

import midflight

SOURCE = "static int count; static double table[4]; int add(void) { table[1]++; return ++count; }"


@pytest.fixture
def versions(workshop):
    """Two libraries without debug information."""
    return workshop.library("one", SOURCE, "-g0"), workshop.library("two", SOURCE + "int more;", "-g0")


def _load(load, path):
    return load(path, interface="int add(void);", name="bare")


def test_what_has_changed_is_told(versions, load) -> None:
    module = _load(load, versions[0])
    assert module.add() == 1
    report = midflight.swap(module, versions[1])
    assert [(row.name, row.what) for row in report.state] == [("what no debug information describes", "left")]
    assert "built without -g" in report.state[0].how
    assert module.add() == 1


def test_nothing_is_told_where_nothing_has_changed(versions, load) -> None:
    module = _load(load, versions[0])
    assert midflight.swap(module, versions[1]).state == ()


def test_it_can_be_refused(versions, load) -> None:
    module = _load(load, versions[0])
    module.add()
    with pytest.raises(midflight.StateError, match="no debug information describes") as refused:
        midflight.swap(module, versions[1], carry="require")
    assert refused.value.stage == "plan"
    assert module.add() == 2
