"""Data that no debug information describes.

Would catch: a library without debug information whose data start anew without a word.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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


LINGERING = """
#include <fcntl.h>
#include <unistd.h>
static double table[4];
int linger(const char *begun_path, const char *end_path)
{
    char byte = 1;
    int begun = open(begun_path, O_WRONLY | O_CLOEXEC), end = open(end_path, O_RDONLY | O_CLOEXEC);
    table[1] += write(begun, &byte, 1) + read(end, &byte, 1);
    close(begun);
    close(end);
    return (int)table[1];
}
"""


def test_a_call_under_way_isnt_waited_for(workshop, load, gate) -> None:
    paths = [workshop.library(name, f"{LINGERING} int {name};", "-g0") for name in ("one", "two")]
    module = load(paths[0], interface="int linger(const char *begun_path, const char *end_path);", name="bare")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(module.linger, gate.begun, gate.end)
        gate.wait_begun()
        report = midflight.swap(module, paths[1])
        gate.let_end()
        assert call.result() == 2
    assert all(row.what == "left" for row in report.state)
