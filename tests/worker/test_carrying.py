"""Data and the death of workers.

Would catch: a variable that is taken for one of the program's, although the process that it was carried to has died; a
version that can't be replaced because its process can't start any more.
"""

from __future__ import annotations

import os
import signal

import pytest

import midflight
from midflight._control import control_of

SOURCE = "int level = LEVEL; int get(void) { return level; } void set(int to) { level = to; }"


@pytest.fixture
def save(tmp_path):
    """Save the source with another initial value."""

    def save(level: int, more: str = ""):
        path = tmp_path / "levels.c"
        path.write_text(SOURCE.replace("LEVEL", str(level)) + more)
        return path

    return save


def _kill(module) -> None:
    code = control_of(module).need_current().code
    link = code._process.link
    os.kill(link.pid, signal.SIGKILL)
    link.gone(-1)


def test_what_was_carried_dies_with_its_process(save) -> None:
    module = midflight.load(save(1), lane="worker")
    module.set(50)
    midflight.swap(module, save(2))
    assert module.get() == 50
    _kill(module)
    assert module.get() == 2
    midflight.swap(module, save(3))
    assert module.get() == 3


def test_a_version_that_cant_start_again_can_be_replaced(save, tmp_path) -> None:
    flag = tmp_path / "crash"
    crash = """
#include <unistd.h>
__attribute__((constructor)) static void start(void) { if (!access("FLAG", F_OK)) *(volatile int *)0 = 1; }
""".replace("FLAG", str(flag))
    module = midflight.load(save(1, crash), lane="worker")
    module.set(7)
    flag.touch()
    _kill(module)
    report = midflight.swap(module, save(3))
    assert module.get() == 3
    assert "its process has died" in str(report.warnings)
