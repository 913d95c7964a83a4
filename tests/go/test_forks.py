"""A fork's child that uses the worker of its parent, or waits for a lock of a thread that isn't there."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import midflight

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.go.conftest import Packages

TEXT = """
import "os"
var Total int
func Add(n int) int { Total += n; return Total }
func Pid() int { return os.Getpid() }
func Call(f func()) { f() }
func Version() int { return 1 }
"""


def in_child(work: Callable[[], object]) -> str:
    """Run something in a fork's child and return what came of it, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = repr(work())
        except BaseException as error:  # noqa: BLE001 - it is told to the test
            text = repr(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


def test_the_child_has_a_worker_of_its_own(go: Packages):
    module = go.make(TEXT)
    assert module.Add(2) == 2
    pid = module.Pid()
    found = in_child(lambda: (module.Pid() != pid, module.Add(1), module.Add(1)))
    assert found == "(True, 1, 2)"
    assert (module.Pid(), module.Add(3)) == (pid, 5)


def test_the_child_isnt_kept_by_calls_and_swaps_of_its_parents_threads(go: Packages):
    module = go.make(TEXT, workers=2)
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        go_on.wait()

    thread = threading.Thread(target=module.Call, args=(wait,))
    thread.start()
    inside.wait()

    def work() -> tuple[int, int]:
        go.write("greet.go", TEXT.replace("return 1", "return 2"))
        # It would wait for the call of the thread that isn't here.
        report = midflight.swap(module)
        return report.new.number, module.Add(7)

    assert in_child(work) == "(2, 7)"
    go_on.set()
    thread.join()
    assert module.Add(1) == 1


def test_a_fork_while_calls_are_held_back(go: Packages):
    module = go.make(TEXT)
    gate = midflight._control.control_of(module).current.code.gate
    assert gate.close(1)
    try:
        assert in_child(lambda: module.Add(4)) == "4"
    finally:
        gate.open()
    assert module.Add(1) == 1
