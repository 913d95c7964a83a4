"""Plans, against a model in Python of what each op means.

Would catch: a conversion that loses a value silently or refuses one that fits, a loop turned inside out wrongly, a loss
named in the wrong place, a plan that reads or writes beyond an element, a pointer translated wrongly.
"""

from __future__ import annotations

import ctypes
import math
import random
import struct
from typing import Any

import pytest
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
    before = (ctypes.c_uint64 * (len(source) // 8 + 1))()
    ctypes.memmove(before, source, len(source))
    target = ctypes.create_string_buffer(bytes([0xEE]) * 64 + bytes([fill]) * to_size * count + bytes([0xEE]) * 64)
    loss = plan.run(ctypes.addressof(before), ctypes.addressof(target) + 64, count, mapping)
    assert bytes(before)[: len(source)] == source
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


@settings(max_examples=600, deadline=None)
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


# ---- all ops, in any nesting, against a model ---------------------------------------------------------------------

LOW, HIGH, BLOCK = 0x5E5700000000, 0x5E5700000040, 0x5E5800000000
EXACT = {LOW + offset: 0x5E5900000000 + 3 * offset for offset in range(0, 64, 2)}
FIELDS = [(0, 16, 8), (8, 0, 4)]
MAPPING = _core.Mapping(LOW, HIGH, list(EXACT.items()), [(BLOCK, BLOCK + 48, 0x5E5A00000000, 16, 24, FIELDS)])
TABLE = {-3: 7, 0: 1, 1: 0, 5: 100}


def translated(value: int) -> int | None:
    """Say what a pointer becomes; None: it dangles."""
    if LOW <= value < HIGH:
        return EXACT.get(value)
    if not BLOCK <= value <= BLOCK + 48:
        return value
    index, rest = divmod(value - BLOCK, 16)
    start = 0x5E5A00000000 + 24 * index
    if rest == 0:
        return start
    return next((start + to + rest - at for at, to, size in FIELDS if at <= rest < at + size), None)


class LostError(Exception):
    """A value is lost: path, iterations, kind, value."""


class Model:
    """Runs the ops on one element, byte by byte."""

    def __init__(self, ops: bytes, source: bytes, start: int, target: bytearray) -> None:
        self.ops = [struct.unpack("=HBBIQQQ", ops[i : i + 32]) for i in range(0, len(ops), 32)]
        self.source, self.start, self.target = source, start, target

    def lost(self) -> tuple[Any, ...] | None:
        """Run all of it; return path, iterations, kind and value of what is lost."""
        try:
            self.run(0, len(self.ops), (0, 0))
        except LostError as lost:
            return lost.args
        return None

    def run(self, first: int, end: int, origin: tuple[int, int], at: tuple[int, ...] = ()) -> None:
        base = (0, 0)
        while first < end:
            kind, a, b, path, from_, to, size = self.ops[first]
            here = (origin[0] + base[0], origin[1] + base[1])
            first += 1
            if kind == BASE:
                base = (base[0] + from_, base[1] + to)
                continue
            if kind == LOOP:
                for i in range(size & (1 << 40) - 1):
                    self.run(first, first + (size >> 40), (here[0] + i * from_, here[1] + i * to), (*at, i))
                first += size >> 40
            else:
                self.path, self.at = path, at
                self.one(
                    kind,
                    a,
                    b,
                    *((here[0], here[1], from_, to) if kind == BITS else (here[0] + from_, here[1] + to)),
                    size,
                )
            base = (0, 0)

    def lose(self, kind: str, value: float) -> None:
        raise LostError(self.path, self.at, kind, value)

    def put(self, to: int, data: bytes) -> None:
        self.target[to : to + len(data)] = data

    def one(self, kind: int, a: int, b: int, *rest: int) -> None:
        match kind:
            case 2:
                self.number(a, b, *rest)
            case 3:
                self.bits(a, b, *rest)
            case 4:
                self.enum(a, b, *rest)
            case 7:
                self.zero(*rest)
            case 8:
                self.pointer(*rest[:2])
            case 9:
                self.words(*rest)
            case 10:
                self.lock(a, *rest)
            case 11:
                self.text(*rest)
            case _:
                self.put(rest[1], self.source[rest[0] : rest[0] + rest[2]])

    def number(self, a: int, b: int, from_: int, to: int, _size: int) -> None:
        value = struct.unpack_from("=" + FORMATS[a], self.source, from_)[0]
        found = converted(value, b)
        if isinstance(found, str):
            self.lose(found, value)
        self.put(to, struct.pack("=" + FORMATS[b], found))

    def enum(self, a: int, b: int, from_: int, to: int, _table: int) -> None:
        value = struct.unpack_from("=" + FORMATS[a], self.source, from_)[0]
        found = TABLE.get(value - 2**64 if value >= 2**63 else value)
        if found is None:
            self.lose("enum", value)
        else:
            self.put(to, struct.pack("=" + FORMATS[b], found))

    def words(self, from_: int, to: int, size: int) -> None:
        data = self.source[from_ : from_ + size]
        self.put(to, data)
        for offset in range(-(self.start + from_) % 8, size - 7, 8):
            word = struct.unpack_from("=Q", data, offset)[0]
            if LOW <= word < HIGH or BLOCK <= word <= BLOCK + 48:
                self.pointer(from_ + offset, to + offset)

    def zero(self, from_: int, _to: int, size: int) -> None:
        data = self.source[from_ : from_ + size]
        if data.strip(b"\0"):
            self.lose("lost", len(data) - len(data.lstrip(b"\0")))

    def text(self, from_: int, to: int, size: int) -> None:
        before, after = size & 0xFFFFFFFF, size >> 32
        data = self.source[from_ : from_ + before]
        if data[after:].strip(b"\0") or (before > after and 0 not in data[:after]):
            self.lose("lost", (data + b"\0").index(0))
        self.put(to, data[:after])

    def pointer(self, from_: int, to: int) -> None:
        value = struct.unpack_from("=Q", self.source, from_)[0]
        found = translated(value)
        if found is None:
            self.lose("dangling", value)
        else:
            self.put(to, struct.pack("=Q", found))

    def lock(self, kind: int, from_: int, to: int, size: int) -> None:
        data = self.source[from_ : from_ + size]
        word = [*struct.unpack(f"={len(data) // 4}I", data[: len(data) // 4 * 4]), *[0] * 8]
        held = {1: word[2] or word[0] & 3, 2: word[6] or word[0] >> 3 | word[0] & 2}.get(kind, 0)
        if held:
            self.lose("locked", held)
        self.put(to, data)

    def bits(self, signed: int, signed_after: int, here: int, there: int, from_: int, to: int, size: int) -> None:
        before, after = size & 0xFFFF, size >> 16
        value = int.from_bytes(self.source[here:], "little") >> from_ & (1 << before) - 1
        if signed and value >> before - 1:
            value -= 1 << before
        if not (-(1 << after - 1) <= value < 1 << after - 1 if signed_after else 0 <= value < 1 << after):
            self.lose("range", value)
        whole = int.from_bytes(self.target, "little")
        whole &= ~((1 << after) - 1 << to + 8 * there)
        whole |= (value & (1 << after) - 1) << to + 8 * there
        self.target[:] = whole.to_bytes(len(self.target), "little")


class Part:
    """Something in a type: its ops, spelled for where it lies, and the bytes it takes."""

    def __init__(self, choose: random.Random, depth: int) -> None:
        self.choose = choose
        kind = choose.choice([COPY, NUMBER, BITS, ENUM, ZERO, POINTER, WORDS, LOCK, TEXT] + [LOOP] * (2 * depth))
        a, b, size = choose.randint(1, 11), choose.randint(1, 11), choose.randint(0, 40)
        self.body: bytes = b""
        self.shift = (0, 0)
        before = after = size
        if kind == NUMBER:
            before, after = struct.calcsize(FORMATS[a]), struct.calcsize(FORMATS[b])
        elif kind == ENUM:
            a, b, size = choose.randint(1, 8), choose.randint(1, 8), 0
            before, after = struct.calcsize(FORMATS[a]), struct.calcsize(FORMATS[b])
        elif kind == BITS:
            a, b, bits = a & 1, b & 1, (choose.randint(1, 64), choose.randint(1, 64))
            self.shift = (choose.randint(0, 7), choose.randint(0, 7))
            size, before, after = bits[0] | bits[1] << 16, 9, 9
        elif kind == LOOP:
            inner = Struct(choose, depth - 1)
            count, strides = (
                choose.randint(0, 6),
                (max(inner.before, 1) + choose.randint(0, 3), inner.after + choose.randint(0, 3)),
            )
            self.body = inner.ops
            size = count | len(inner.ops) // 32 << 40
            before, after, self.strides = count * strides[0], count * strides[1], strides
        elif kind == POINTER:
            before = after = 8
        elif kind == LOCK:
            a = choose.randint(1, 4)
            before = after = size = max(size, {1: 12, 2: 28}.get(a, 0))
        elif kind == TEXT:
            after = choose.randint(0, size)
            size |= after << 32
        elif kind == ZERO:
            after = 0
        self.kind, self.a, self.b, self.size, self.before, self.after = kind, a, b, size, before, after

    def spelled(self, from_: int, to: int) -> bytes:
        path = self.choose.randint(0, 1000)
        if self.kind == LOOP:
            return op(BASE, at=(from_, to)) + op(LOOP, path=path, at=self.strides, size=self.size) + self.body
        based = op(BASE, at=(from_, to)) if self.choose.random() < 0.2 else b""
        at = (0, 0) if based else (from_, to)
        if self.kind == BITS:
            at = (8 * at[0] + self.shift[0], 8 * at[1] + self.shift[1])
        return based + op(self.kind, self.a, self.b, path, at, self.size)


class Struct:
    """Parts in one order before and in another one after."""

    def __init__(self, choose: random.Random, depth: int) -> None:
        parts = [Part(choose, depth) for _ in range(choose.randint(0, 4))]
        self.before, self.after = choose.randint(0, 3), choose.randint(0, 3)
        places: dict[Part, list[int]] = {part: [] for part in parts}
        for part in parts:
            places[part].append(self.before)
            self.before += part.before + choose.choice([0, 0, 1, 5])
        for part in choose.sample(parts, len(parts)):
            places[part].append(self.after)
            self.after += part.after + choose.choice([0, 0, 1, 5])
        self.ops = b"".join(part.spelled(*places[part]) for part in parts)


def some_bytes(choose: random.Random, size: int) -> bytes:
    """Bytes of all sorts: zeros, small numbers, pointers, noise."""
    style = choose.choice([[0], [0, 0, 1], [0, 2], [0, 1, 2, 3], [3]])
    made = b""
    while len(made) < size:
        match choose.choice(style):
            case 0:
                made += bytes(choose.randint(1, 24))
            case 1:
                made += struct.pack("=I", choose.choice([1, 5, 2**32 - 3]))
            case 2:
                value = choose.choice([LOW, LOW, BLOCK, BLOCK, 7]) + 2 * choose.randint(0, 25)
                made += bytes(-len(made) % 8) + struct.pack("=Q", value)
            case _:
                made += choose.randbytes(choose.randint(1, 16))
    return made[:size]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**64), st.integers(1, 40))
def test_any_plan_does_what_the_model_does(seed, count) -> None:
    choose = random.Random(seed)
    made = Struct(choose, 3)
    plan = _core.Plan(
        made.ops, made.before, made.after, [struct.pack("=8q", *(x for pair in TABLE.items() for x in pair))]
    )
    source = some_bytes(choose, made.before * count)
    loss, target = run(plan, source, made.after, count, MAPPING, fill=0xA5)
    for index in range(count):
        wanted = bytearray([0xA5]) * made.after
        cut = source[index * made.before : (index + 1) * made.before]
        lost = Model(made.ops, cut, index * made.before, wanted).lost()
        if lost is not None:
            assert loss is not None
            assert loss[:4] == (index, *lost[:3])
            assert loss[4] == lost[3] or math.isnan(loss[4])
            return
        assert target[index * made.after : (index + 1) * made.after] == same_nans(made, wanted, target, index)
    assert loss is None


def same_nans(made: Struct, wanted: bytearray, target: bytes, index: int) -> bytes:
    """Take a NaN's digits as the core made them: which NaN it is nobody promises."""
    found = target[index * made.after : (index + 1) * made.after]
    for size in (4, 8):
        for start in range(len(wanted) - size + 1):
            pair = [
                struct.unpack("=f" if size == 4 else "=d", data[start : start + size])[0] for data in (wanted, found)
            ]
            if all(map(math.isnan, pair)):
                wanted[start : start + size] = found[start : start + size]
    return bytes(wanted)


# ---- what is given --------------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(st.data(), st.integers(0, 48), st.integers(0, 48), st.integers(1, 3))
def test_hostile_ops_are_refused_or_stay_inside(data, before, after, count) -> None:
    small = st.integers(0, 12)
    offsets = st.integers(0, 50) | st.sampled_from([2**31, 2**63, 2**64 - 1, 2**64 - 8])
    sizes = offsets | st.builds(lambda n, shift: n << shift, st.integers(0, 70), st.sampled_from([16, 32, 40, 56]))
    both = st.builds(lambda low, high: (low | high) & 2**64 - 1, sizes, sizes)
    records = st.lists(st.builds(op, small, small, small, small, st.tuples(offsets, offsets), both), max_size=6)
    ops = data.draw(records.map(b"".join) | st.binary(max_size=128))
    tables = data.draw(st.lists(st.binary(max_size=48), max_size=2))
    try:
        plan = _core.Plan(ops, before, after, tables)
    except ValueError:
        return
    run(plan, data.draw(st.binary(min_size=before * count, max_size=before * count)), after, count, MAPPING)


@pytest.mark.parametrize(
    ("ops", "problem"),
    [
        (op(COPY, size=9), "beyond"),
        (op(COPY, at=(1, 0), size=8), "beyond"),
        (op(COPY, at=(2**64 - 1, 0), size=2), "beyond"),
        (op(BASE, at=(4, 4)) + op(COPY, size=5), "beyond"),
        (op(BASE, at=(4, 4)), "follows"),
        (loop(3, (4, 4), op(COPY, size=1)), "beyond"),
        (loop(2, (4, 8), op(COPY, size=1)), "beyond"),
        (op(LOOP, at=(1, 1), size=2 | 2 << 40) + op(COPY), "after the ops"),
        (loop(2**39, (0, 0), op(COPY, size=1)), "iterations"),
        (op(BITS, at=(1, 0), size=64 | 64 << 16), "beyond"),
        (op(BITS, size=65 | 64 << 16), "bits"),
        (op(BITS, size=0 | 64 << 16), "bits"),
        (op(NUMBER, 0, 1), "class"),
        (op(NUMBER, 1, 12), "class"),
        (op(ENUM, 1, 9), "class"),
        (op(ENUM, 1, 1), "table"),
        (op(LOCK, 1, size=8), "lock"),
        (op(TEXT, size=4 | 8 << 32), "grows"),
        (op(0), "no such op"),
        (op(256 + COPY, size=1), "no such op"),
        (op(COPY)[:-1], "32 bytes"),
    ],
)
def test_ops_that_are_not_well_formed(ops, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        _core.Plan(ops, 8, 8)


def test_loops_nest_sixteen_deep_and_no_deeper() -> None:
    ops = op(COPY, size=1)
    for _ in range(16):
        ops = loop(1, (1, 1), ops)
    assert run(_core.Plan(ops, 1, 1), b"x", 1) == (None, b"x")
    with pytest.raises(ValueError, match="too many"):
        _core.Plan(loop(1, (1, 1), ops), 1, 1)


@pytest.mark.parametrize(
    ("table", "problem"),
    [(struct.pack("=4q", 1, 1, 0, 1), "sorted"), (struct.pack("=2q", 1, 128), "hold"), (b"x", "16 bytes")],
)
def test_tables_that_are_not_well_formed(table, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        _core.Plan(op(ENUM, 1, 1), 8, 8, [table])


@pytest.mark.parametrize(
    "wrong",
    [
        (5, 4, [], []),
        (0, 0, [(1, 2), (1, 3)], []),
        (0, 0, [], [(0, 10, 0, 4, 4, [])]),
        (0, 0, [], [(0, 8, 0, 0, 4, [])]),
        (0, 0, [], [(0, 8, 0, 8, 8, []), (4, 12, 0, 8, 8, [])]),
        (0, 0, [], [(0, 8, 0, 8, 8, [(0, 0, 9)])]),
        (0, 0, [], [(0, 8, 0, 8, 4, [(0, 0, 8)])]),
        (0, 0, [], [(0, 8, 0, 8, 8, [(0, 0, 4), (3, 4, 2)])]),
    ],
)
def test_mappings_that_are_not_well_formed(wrong) -> None:
    with pytest.raises(ValueError):
        _core.Mapping(*wrong)


def test_what_is_wrong_in_kind_is_a_type_error() -> None:
    for wrong in [(1.5, 0), (0, 0, [5]), (0, 0, [], [(1, 2)])]:
        with pytest.raises(TypeError):
            _core.Mapping(*wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.Plan(b"", 0, 0).run(0, 0, 0, mapping=5)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        _core.Mapping(0, 2**64)
    with pytest.raises(ValueError, match="elements"):
        _core.Plan(b"", 8, 8).run(0, 0, 2**61)


@given(st.integers(0, 2**64 - 1) | st.integers(LOW - 8, HIGH + 8) | st.integers(BLOCK - 8, BLOCK + 60))
def test_pointers_are_translated(value) -> None:
    assert MAPPING.find(value) == translated(value)


def test_an_end_that_is_another_blocks_start_means_the_other_one() -> None:
    blocks = [(1000, 1016, 5000, 16, 16, []), (1016, 1032, 9000, 16, 16, [])]
    mapping = _core.Mapping(0, 0, [], blocks)
    assert [mapping.find(value) for value in (999, 1000, 1008, 1016, 1032, 1033)] == [999, 5000, None, 9000, 9016, 1033]
