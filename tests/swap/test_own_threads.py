"""Threads that a library has started, in both lanes.

Would catch: a version that is unloaded under its own threads, or that doesn't say which ones hold it; a hook
midflight_unloading that isn't called where it could end them; data that move under a thread without a word.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

import midflight
from midflight import _retire
from tests.swap.test_gate import HOOKS

SOURCE = """
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int ready[2], count;
int end[2];
static pthread_t threads[8];
static void *work(void *name)
{
    char byte = 1;
    pthread_setname_np(pthread_self(), name);
    if (write(ready[1], &byte, 1) == 1)
        while (read(end[0], &byte, 1) != 1) { }
    return NULL;
}
/* Returns once all of them have their names. */
int start(int wanted)
{
    static char names[8][16];
    char byte;
    if (count == 0 && (pipe2(ready, O_CLOEXEC) != 0 || pipe2(end, O_CLOEXEC) != 0))
        return -1;
    for (int i = 0; i < wanted; i++, count++) {
        snprintf(names[count], 16, "net-poll-%d", count);
        if (pthread_create(&threads[count], NULL, work, names[count]) != 0 || read(ready[0], &byte, 1) != 1)
            return -1;
    }
    return count;
}
int stop(void)
{
    for (; count > 0; count--)
        if (write(end[1], "xxxxxxxx", 1) != 1)
            return -1;
    return 0;
}
void wait_for_end(int joined) { for (int i = 0; i < joined; i++) pthread_join(threads[i], NULL); }
"""

STOPPING = """
int midflight_unloading(void) { int all = count; stop(); wait_for_end(all); return 0; }
"""


@pytest.fixture
def make(workshop):
    return lambda number, more="": workshop.library(f"t{number}", SOURCE + more + f"int version_{number};")


@contextmanager
def _threads(module, count: int):
    """Threads of a version's, until the block ends."""
    assert module.start(count) == count
    descriptor = os.dup(midflight.variables(module)["end"][1])
    try:
        yield
    finally:
        os.write(descriptor, b"x" * count)
        os.close(descriptor)


@pytest.mark.here_only("a worker ends with its threads")
def test_a_version_is_held_by_its_threads_by_name(load, make) -> None:
    module = load(make(1))
    with _threads(module, 1):
        version = midflight.swap(module, make(2)).old
        assert version.status == "resident"
        assert version.held_by[0].startswith("thread 'net-poll-0' (")
        assert version.held_by[0].endswith(") that it started")
        number = int(version.held_by[0].split("(")[1].split(")")[0])
        assert Path(f"/proc/self/task/{number}/comm").read_text() == "net-poll-0\n"
    _until_unloaded(module, version)


@pytest.mark.here_only("a worker ends with its threads")
def test_at_most_three_are_named(load, make) -> None:
    module = load(make(1))
    with _threads(module, 5):
        version = midflight.swap(module, make(2)).old
        said = version.held_by[0]
    _until_unloaded(module, version)
    assert said.count("net-poll-") == 3
    assert said.startswith("threads '")
    assert said.endswith(" and 2 more that it started")


def test_unloading_is_where_they_end(load, make) -> None:
    module = load(make(1, STOPPING))
    assert module.start(3) == 3
    version = midflight.swap(module, make(2)).old
    assert (version.status, version.held_by) == ("unloaded", ())


def test_unloading_runs_at_unload_too(load, make) -> None:
    module = load(make(1, STOPPING))
    assert module.start(2) == 2
    assert midflight.unload(module, timeout=20).status == "unloaded"


def test_unloading_runs_when_the_last_holder_has_left(load, make, lane) -> None:
    module = load(make(1, STOPPING))
    with midflight.pin(module) as old:
        assert old.start(2) == 2
        version = midflight.swap(module, make(2)).old
        assert version.status == "draining"
        assert old.start(1) == 3, "nothing has been ended while it was held"
    _until_unloaded(module, version)
    assert version.lane == lane


def _until_unloaded(module, version) -> None:
    while version.status != "unloaded":
        _retire.settle()
        midflight.versions(module)


def test_threads_that_are_alive_while_data_move_are_a_warning(load, make) -> None:
    module = load(make(1, HOOKS + STOPPING))
    assert midflight.swap(module, make(2, HOOKS + STOPPING)).warnings == ()
    assert module.start(2) == 2
    warnings = midflight.swap(module, make(3, HOOKS + STOPPING)).warnings
    assert len(warnings) == 1
    assert "'net-poll-0' (" in warnings[0]
    assert "while the data of version 2 moved" in warnings[0]
