"""How fast data move from one layout to another, beside a memcpy of the same bytes."""

from __future__ import annotations

import ctypes
import statistics
import struct
from time import perf_counter_ns
from typing import TYPE_CHECKING

from benchmarks.results import Result, Target
from benchmarks.timing import take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.peers import Peers

_BYTES, _ROUNDS = 100_000_000, 9
_BEFORE, _AFTER = 24, 32
_COPY, _NUMBER, _LOOP = 1, 2, 5
_INT16, _INT32 = 2, 3


def run(peers: Peers) -> Iterator[Result]:
    """Run a plan over 100 MB of structs, and over one array of as many."""
    del peers  # nobody else does this
    from midflight import _core  # noqa: PLC0415 - with this run's own cache

    count = _BYTES // _BEFORE
    source, target, copy = (_memory(count * size) for size in (_BEFORE, _AFTER, _BEFORE))
    many = _core.Plan(_ops(), _BEFORE, _AFTER)
    array = _core.Plan(_looped(count), count * _BEFORE, count * _AFTER)
    addresses = tuple(map(ctypes.addressof, (source, target, copy)))
    found = take_turns(
        {
            "plan": _timed(lambda: many.run(addresses[0], addresses[1], count)),
            "array": _timed(lambda: array.run(addresses[0], addresses[1])),
            "memcpy": _timed(lambda: ctypes.memmove(addresses[2], addresses[0], count * _BEFORE)),
        },
        _ROUNDS,
    )
    copied = statistics.median(found["memcpy"])
    for name, what in (("plan", "structs"), ("array", "one array of structs")):
        moved = statistics.median(found[name])
        yield Result(
            f"100 MB of {what} to another layout: reordered, one field widened, one added",
            moved,
            "ms",
            peers={"memcpy of the same bytes": copied},
            targets=(Target("of memcpy's speed", copied / moved, 1 / 3, "at least"),),
        )


def _memory(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return memory that has been touched: the kernel's work for fresh pages is nobody's here."""
    made = (ctypes.c_char * size)()
    ctypes.memset(made, 1, size)
    return made


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        start = perf_counter_ns()
        work()
        return (perf_counter_ns() - start) / 1e6

    return measure


def _ops() -> bytes:
    """Return the plan of a change of layout.

    From struct { int32_t id; float x, y, z; int16_t hp; uint8_t flags[2]; int32_t team; }
    to struct { float x, y, z; int32_t hp; int32_t id; uint8_t flags[2]; int32_t team, shield; }.
    """
    return b"".join(
        (
            _op(_COPY, 0, 16, 4),
            _op(_COPY, 4, 0, 12),
            _op(_NUMBER, 16, 12, classes=(_INT16, _INT32)),
            _op(_COPY, 18, 20, 2),
            _op(_COPY, 20, 24, 4),
        )
    )


def _looped(count: int) -> bytes:
    ops = _ops()
    return _op(_LOOP, _BEFORE, _AFTER, count | len(ops) // 32 << 40) + ops


def _op(kind: int, before: int, after: int, size: int = 0, classes: tuple[int, int] = (0, 0)) -> bytes:
    return struct.pack("=HBBIQQQ", kind, *classes, 0, before, after, size)
