"""What native code is given: stable pointers beside plain ones, services, wrapped objects."""

from __future__ import annotations

import ctypes
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import midflight
from benchmarks import timing
from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from benchmarks.peers import Peers

_CALLS, _ROUNDS = 400_000, 11

_CALC = """
#include <stdlib.h>
int add(int a, int b) { return a + b; }
typedef struct counter { int n; } counter;
counter *new_counter(void) { return calloc(1, sizeof(counter)); }
int counter_add(counter *self, int by) { return self->n += by; }
void free_counter(counter *self) { free(self); }
"""
_CALLER = """
typedef int (*operation)(int, int);
extern int add(int, int);
extern int from_python(int, int);
int through(unsigned long function, int count)
{ operation f = (operation)function; int sum = 0; for (int i = 0; i < count; i++) sum = f(sum, 1); return sum; }
int provided(int count) { int sum = 0; for (int i = 0; i < count; i++) sum = add(sum, 1); return sum; }
int python(int count) { int sum = 0; for (int i = 0; i < count; i++) sum = from_python(sum, 1); return sum; }
"""


def run(_peers: Peers) -> Iterator[Result]:
    """Measure calls from native code, and a method of a wrapped object."""
    with tempfile.TemporaryDirectory() as directory:
        calc = _load(directory, "calc.c", _CALC)
        own = {"from_python": lambda a, b: a + b}
        caller = _load(directory, "caller.c", _CALLER, provides=[own, calc])
        yield from _calls(calc, caller)
        yield _method(calc)


def _load(directory: str, name: str, text: str, **options: object) -> ModuleType:
    path = Path(directory, name)
    path.write_text(text)
    return midflight.load(path, **options)  # type: ignore[arg-type]


def _each(function: Callable[..., object], *arguments: object, count: int = _CALLS) -> Callable[[], float]:
    """Return what measures one of the calls that a function makes, in nanoseconds."""

    def measure() -> float:
        start = time.perf_counter_ns()
        function(*arguments, count)
        return (time.perf_counter_ns() - start) / count

    return measure


def _calls(calc: ModuleType, caller: ModuleType) -> Iterator[Result]:
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    callback = kind(lambda a, b: a + b)
    stable = midflight.pointer(calc.add)
    callback_address = ctypes.cast(callback, ctypes.c_void_p).value
    found = timing.take_turns(
        {
            "plain pointer": _each(caller.through, calc.add._address),  # noqa: SLF001 - what a swap would leave dangling
            "stable": _each(caller.through, stable.address),
            "provided": _each(caller.provided),
            "ctypes callback": _each(caller.through, callback_address, count=_CALLS // 40),
            "python": _each(caller.python, count=_CALLS // 40),
        },
        _ROUNDS,
    )
    took = {name: statistics.median(times) for name, times in found.items()}
    plain, stable_time = took["plain pointer"], took["stable"]
    targets = (Target("ns over the plain pointer", stable_time - plain, 15),)
    yield Result(
        "call from C by a stable pointer", stable_time, "ns", peers={"a plain pointer": plain}, targets=targets
    )
    yield Result("call from C of another module's function", took["provided"], "ns", peers={"a plain pointer": plain})
    peers = {"a ctypes callback": took["ctypes callback"]}
    yield Result("call from C of a service in Python", took["python"], "ns", peers=peers)


def _method(calc: ModuleType) -> Result:
    one, pointer = midflight.wrap(calc, "counter")(), calc.new_counter()
    loops = {"method": timing.loop(type(one).add, one, 1), "function": timing.loop(calc.counter_add, pointer, 1)}
    took = timing.calls(loops, rounds=_ROUNDS, count=20_000)
    calc.free_counter(pointer)
    return Result("method of a wrapped object", took["method"], "ns", peers={"the function itself": took["function"]})
