"""Catches calls that hold up every other thread, and calls that were asked to hold the GIL and don't."""

from __future__ import annotations

import os
import threading

import pytest

import midflight

pytestmark = pytest.mark.here_only("the GIL and the descriptors are this process's")

SOURCE = r"""
#include <poll.h>
#include <unistd.h>
typedef struct { int in, out; } pair;
/* Says that it has begun; returns what is written to `in` within the time. */
static int wait_here(int in, int out, int milliseconds)
{
    char byte = 'b';
    struct pollfd poll_in = {.fd = in, .events = POLLIN};
    if (write(out, &byte, 1) != 1 || poll(&poll_in, 1, milliseconds) != 1 || read(in, &byte, 1) != 1)
        return -1;
    return byte;
}
int wait_for(int in, int out, int milliseconds) { return wait_here(in, out, milliseconds); }
int wait_with_text(const char *text, int in, int out, int milliseconds)
{ return text[0] + wait_here(in, out, milliseconds) - text[0]; }
int wait_by_value(pair both, int milliseconds) { return wait_here(both.in, both.out, milliseconds); }
int call_then_wait(int (*function)(int), int in, int out, int milliseconds)
{ return function(1) + wait_here(in, out, milliseconds); }
"""

LONG, SHORT = 60_000, 50


@pytest.fixture
def pipes():
    """A pipe into the function and one out of it, and a Python thread that answers it."""
    to_c, from_python = os.pipe()
    to_python, from_c = os.pipe()

    def answer():
        os.read(to_python, 1)
        sum(range(1000))  # needs the GIL
        os.write(from_python, b"!")

    thread = threading.Thread(target=answer)
    thread.start()
    yield to_c, from_c
    thread.join()
    for one in (to_c, from_python, to_python, from_c):
        os.close(one)


CALLS = {
    "wait_for": lambda lib, pipes, time: lib.wait_for(*pipes, time),
    "wait_with_text": lambda lib, pipes, time: lib.wait_with_text("x", *pipes, time),
    "wait_by_value": lambda lib, pipes, time: lib.wait_by_value(midflight.types(lib).pair(*pipes), time),
    "call_then_wait": lambda lib, pipes, time: lib.call_then_wait(lambda _: 0, *pipes, time),
}


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


@pytest.fixture(scope="module")
def holding(build):
    return build(SOURCE, hold_gil=True)


@pytest.mark.parametrize("name", CALLS)
def test_another_thread_runs_while_the_native_code_waits(lib, pipes, name):
    assert CALLS[name](lib, pipes, LONG) == ord("!")


@pytest.mark.parametrize("name", CALLS)
def test_hold_gil_holds_it(holding, pipes, name):
    assert CALLS[name](holding, pipes, SHORT) == -1


def test_hold_gil_for_some_functions_by_name(build, pipes):
    lib = build(SOURCE, hold_gil=["wait_with_text"])
    assert lib.wait_for(*pipes, LONG) == ord("!")


def test_hold_gil_for_the_named_function(build, pipes):
    lib = build(SOURCE, hold_gil=["wait_for"])
    assert lib.wait_for(*pipes, SHORT) == -1


def test_hold_gil_for_a_function_with_a_full_name(build, pipes):
    text = SOURCE.replace(
        "int wait_for(", "namespace ns { int wait_for(const char *) { return 0; } }\nnamespace ns { int wait_for("
    )
    text = text.replace("milliseconds); }\nint wait_with_text", "milliseconds); } }\nint wait_with_text", 1)
    lib = build(text, "lib.cc", hold_gil=["ns::wait_for(int, int, int)"])
    assert midflight.function(lib, "ns::wait_for(int, int, int)")(*pipes, SHORT) == -1
