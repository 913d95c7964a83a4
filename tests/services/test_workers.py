"""Services of a library in a worker process.

Would catch: a fresh worker that finds nothing to call, above all in its constructors; a sandbox that is in the way; a
call that waits for a worker which is gone.
"""

from __future__ import annotations

import os
import signal

import pytest

import midflight
from midflight import WorkerCrashedError

SOURCE = """
#include <stdlib.h>
extern int level(int);
static int first;
__attribute__((constructor)) static void start(void) { first = level(1); }
int started(void) { return first; }
int now(int x) { return level(x); }
void crash(void) { abort(); }
"""


@pytest.fixture
def game(tmp_path):
    def load(**options):
        (tmp_path / "game.c").write_text(SOURCE)
        return midflight.load(tmp_path / "game.c", lane="worker", **options)

    return load


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_fresh_worker_calls_them_too(game, sandbox) -> None:
    calls = []
    lib = game(sandbox=sandbox, provides={"level": lambda x: calls.append(x) or len(calls)})
    assert lib.started() == 1
    for round_number in (1, 2):
        with pytest.raises(WorkerCrashedError):
            lib.crash()
        assert lib.started() == len(calls)
        assert lib.now(7) == len(calls) == 1 + 2 * round_number
    assert calls == [1, 1, 7, 1, 7]


def test_a_worker_that_is_killed_in_a_service(game) -> None:
    pids = []

    def level(x: int) -> int:
        if x == 5:
            os.kill(pids[-1], signal.SIGKILL)
        return x

    lib = game(provides={"level": level})
    pids.append(int(midflight.versions(lib)[0].path.partition(" ")[2]))
    with pytest.raises(WorkerCrashedError):
        lib.now(5)
    assert lib.now(6) == 6


def test_a_service_may_call_the_module_again(game) -> None:
    lib = game(provides={"level": lambda x: lib.now(x - 1) + 1 if x > 1 else x})
    assert lib.now(20) == 20
