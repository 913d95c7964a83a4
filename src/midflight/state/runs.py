"""Which bytes of an element stay together, for pointers into it.

A run is (from, to, size).  A pointer to a number that has another width now leads nowhere, as it would be read as the
old type; nor does one to a byte that may be meant as a struct or as its first field, where these have parted.  Only the
start of an array's element is always meant as the element, as that of a variable or of a typed block's element is.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING

from midflight.state.numbers import class_size
from midflight.state.ops import Kind, Loop, Op, Start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midflight.state.ops import Node

Run = tuple[int, int, int]

_MOST_RUNS = 1 << 12
_WHOLE = frozenset({Kind.COPY, Kind.WORDS, Kind.UNLOCKED, Kind.POINTER})
_TEXT_SHIFT = 32


def runs(nodes: Sequence[Node]) -> tuple[Run, ...]:
    """Return the runs in order, neighbours joined; of very long arrays of changed structs only the first elements'."""
    pieces: list[Run] = []
    starts: dict[int, int] = {}
    elements: dict[int, int] = {}
    for found in islice(_walk(nodes, 0, 0), _MOST_RUNS):
        if isinstance(found, Start):
            starts[found.start] = found.to
        elif found[2]:
            pieces.append(found)
        else:
            elements[found[0]] = found[1]
    goals = starts | elements
    left = [piece for run in _merged(pieces) for piece in _without_parted(run, goals)]
    covered = _merged(left)
    return _merged([*left, *((start, to, 1) for start, to in elements.items() if place(covered, start) is None)])


def place(found: Sequence[Run], offset: int) -> int | None:
    """Return where an old offset is now."""
    index = bisect_right(found, (offset, 1 << 63, 0)) - 1
    if index < 0 or offset >= found[index][0] + found[index][2]:
        return None
    return found[index][1] + offset - found[index][0]


def _walk(nodes: Sequence[Node], start: int, to: int) -> Iterator[Run | Start]:
    for node in nodes:
        if isinstance(node, Start):
            yield Start(start + node.start, to + node.to)
        elif isinstance(node, Loop) and _has_runs(node.body):
            is_record = any(isinstance(one, Start) and not one.start and not one.to for one in node.body)
            for index in range(node.count):
                at, goal = start + node.start + index * node.stride, to + node.to + index * node.to_stride
                if is_record:
                    yield at, goal, 0  # no bytes: where an element begins
                yield from _walk(node.body, at, goal)
        elif isinstance(node, Op):
            size = _kept(node)
            if size:
                yield start + node.start, to + node.to, size


def _has_runs(nodes: Sequence[Node]) -> bool:
    return any(_has_runs(node.body) if isinstance(node, Loop) else _marks(node) for node in nodes)


def _marks(node: Node) -> bool:
    return isinstance(node, Start) or (isinstance(node, Op) and _kept(node) > 0)


def _kept(op: Op) -> int:
    if op.kind in _WHOLE:
        return op.size
    if op.kind == Kind.TEXT:
        return op.size >> _TEXT_SHIFT
    if op.kind in {Kind.NUMBER, Kind.ENUM} and class_size(op.a) == class_size(op.b):
        return class_size(op.a)
    return 0


def _merged(pieces: list[Run]) -> tuple[Run, ...]:
    found: list[Run] = []
    for start, to, size in sorted(pieces):
        if found and found[-1][0] + found[-1][2] == start and found[-1][1] + found[-1][2] == to:
            found[-1] = (*found[-1][:2], found[-1][2] + size)
        else:
            found.append((start, to, size))
    return tuple(found)


def _without_parted(run: Run, starts: dict[int, int]) -> Iterator[Run]:
    start, to, size = run
    at = start
    parted_at = [one for one, goal in starts.items() if start <= one < start + size and goal != one - start + to]
    for parted in sorted(parted_at):
        if parted > at:
            yield at, to + at - start, parted - at
        at = parted + 1
    if at < start + size:
        yield at, to + at - start, start + size - at
