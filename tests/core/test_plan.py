"""Plans, against a model in Python of what each op means.

Would catch: a conversion that loses a value silently or refuses one that fits, a loop turned inside out wrongly, a loss
named in the wrong place, a plan that reads or writes beyond an element, a pointer translated wrongly.
"""

from __future__ import annotations

import ctypes
import math
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from midflight import _core

FORMATS = {1: "b", 2: "h", 3: "i", 4: "q", 5: "B", 6: "H", 7: "I", 8: "Q", 9: "f", 10: "d", 11: "?"}
RANGES = {
    **{number: (-(1 << (8 << number - 1) - 1), (1 << (8 << number - 1) - 1) - 1) for number in range(1, 5)},
    **{number: (0, (1 << (8 << number - 5)) - 1) for number in range(5, 9)},
    11: (0, 1),
}
COPY, NUMBER, BITS, ENUM, LOOP, BASE, ZERO, POINTER, WORDS, LOCK, TEXT = range(1, 12)


def op(kind: int, a: int = 0, b: int = 0, path: int = 0, at: tuple[int, int] = (0, 0), size: int = 0) -> bytes:
    """Spell one op; ``at``: from, to."""
    return struct.pack("=HBBIQQQ", kind, a, b, path, *at, size)


def loop(iterations: int, strides: tuple[int, int], *body: bytes) -> bytes:
    """Spell a loop."""
    inner = b"".join(body)
    return op(LOOP, at=strides, size=iterations | len(inner) // 32 << 40) + inner


def run(
    plan: _core.Plan, source: bytes, to_size: int, count: int = 1, mapping: _core.Mapping | None = None, fill: int = 0
) -> tuple[Any, bytes]:
    """Run a plan; return the loss and the target, which has guards around it."""
    before = ctypes.create_string_buffer(source, max(len(source), 1))
    target = ctypes.create_string_buffer(bytes([0xEE]) * 64 + bytes([fill]) * to_size * count + bytes([0xEE]) * 64)
    loss = plan.run(ctypes.addressof(before), ctypes.addressof(target) + 64, count, mapping)
    assert before.raw[: len(source)] == source
    assert target.raw[:64] == target.raw[64 + to_size * count : -1] == bytes([0xEE]) * 64
    return loss, target.raw[64 : 64 + to_size * count]


def converted(value: float, class_: int) -> float | str:
    """Say what a number becomes in a class, or the kind of loss."""
    if class_ in {9, 10}:
        if math.isnan(value) or math.isinf(value):
            return float(value)
        try:
            back = struct.unpack("=" + FORMATS[class_], struct.pack("=" + FORMATS[class_], value))[0]
        except OverflowError:
            return "range" if isinstance(value, float) else "inexact"
        return back if back == value else "inexact"
    if math.isnan(value) or not -(2**63) <= value < 2**64:
        return "range"
    if value != int(value):
        return "inexact"
    low, high = RANGES[class_]
    return int(value) if low <= value <= high else "range"


def values(class_: int) -> st.SearchStrategy[Any]:
    """Values of a class, at the edges of all classes often."""
    if class_ in {9, 10}:
        edges = st.sampled_from([float(2**n + d) for n in (7, 8, 15, 16, 24, 31, 32, 53, 63, 64) for d in (-1, 0, 1)])
        any_ = st.floats(width=32 if class_ == 9 else 64)
        return (any_ | edges | edges.map(lambda x: -x)).map(
            lambda x: struct.unpack(FORMATS[class_], struct.pack(FORMATS[class_], x))[0]
        )
    low, high = RANGES[class_]
    edges = [s * 2**n + d for n in range(65) for d in (-1, 0, 1) for s in (-1, 1) if low <= s * 2**n + d <= high]
    return st.integers(low, high) | st.sampled_from(edges)


@settings(max_examples=1500, deadline=None)
@given(st.data(), st.sampled_from(sorted(FORMATS)), st.sampled_from(sorted(FORMATS)))
def test_numbers_of_all_pairs_of_classes(data, source, target) -> None:
    before, after = struct.calcsize(FORMATS[source]), struct.calcsize(FORMATS[target])
    items = data.draw(st.lists(values(source), min_size=1, max_size=20))
    plan = _core.Plan(op(NUMBER, source, target, path=7, at=(1, 2)), before + 1, after + 3)
    packed = b"".join(b"\0" + struct.pack("=" + FORMATS[source], item) for item in items)
    loss, made = run(plan, packed, after + 3, len(items), fill=0xAA)
    items = [struct.unpack("=" + FORMATS[source], struct.pack("=" + FORMATS[source], item))[0] for item in items]
    wanted = [converted(item, target) for item in items]
    lost = [(index, kind) for index, kind in enumerate(wanted) if isinstance(kind, str)]
    if lost:
        assert loss is not None
        assert loss[:4] == (lost[0][0], 7, (), lost[0][1])
        assert loss[4] == items[lost[0][0]] or math.isnan(loss[4])
        return
    assert loss is None
    for index, value in enumerate(wanted):
        cut = made[index * (after + 3) : (index + 1) * (after + 3)]
        assert cut[:2] == b"\xaa\xaa"
        assert cut[-1] == 0xAA
        found = struct.unpack("=" + FORMATS[target], cut[2:-1])[0]
        assert found == value or (math.isnan(found) and math.isnan(value))
