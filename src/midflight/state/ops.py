"""The steps of a copy plan, and how they are written down for the core (`_core.Plan`, `_core.Shapes`).

A plan is made as a tree: a `Loop` holds the steps of one iteration.  Offsets are relative to what holds the step, so
that the steps of a type serve wherever the type is a member.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from midflight.artifact.interface import TypeId

_RECORD = struct.Struct("=HBBIQQQ")
_PAIR = struct.Struct("=qq")
_BODY_SHIFT = 40
_LOOP = re.compile(r"\[\]")
MOST_LOOPS = 16


class Kind(IntEnum):
    """What a step does; the numbers are the core's."""

    COPY = 1
    NUMBER = 2
    BITS = 3
    ENUM = 4
    LOOP = 5
    BASE = 6
    ZERO = 7
    POINTER = 8
    WORDS = 9
    UNLOCKED = 10
    TEXT = 11


@dataclass(frozen=True, slots=True)
class Op:
    """One step.

    ``start`` and ``to``: offsets in the old and in the new layout (of BITS: in bits).  ``path``: what it is about, for
    people.  ``goal``: how the new type is spelled; ``table``: of an ENUM, which new value an old one becomes;
    ``names``: what the old values are called.
    """

    kind: Kind
    path: str
    start: int
    to: int
    size: int
    a: int = 0
    b: int = 0
    goal: str = ""
    table: tuple[tuple[int, int], ...] = ()
    names: tuple[tuple[str, int], ...] = ()

    def moved(self, start: int, to: int, path: str) -> Op:
        """Return the same step for a member at these offsets."""
        unit = 8 if self.kind == Kind.BITS else 1
        return replace(self, start=self.start + start * unit, to=self.to + to * unit, path=joined(path, self.path))


@dataclass(frozen=True, slots=True)
class Loop:
    """``count`` times the same steps, at equal distances."""

    start: int
    to: int
    count: int
    stride: int
    to_stride: int
    body: tuple[Node, ...]

    def moved(self, start: int, to: int, path: str) -> Loop:
        """Return the same loop for a member at these offsets."""
        body = tuple(node.moved(0, 0, path) for node in self.body)
        return replace(self, start=self.start + start, to=self.to + to, body=body)


@dataclass(frozen=True, slots=True)
class Start:
    """Not a step: here begins a member that is laid out anew, so that a pointer to it isn't one to its first field."""

    start: int
    to: int

    def moved(self, start: int, to: int, path: str) -> Start:  # noqa: ARG002 - as its siblings
        """Return the same for a member at these offsets."""
        return Start(self.start + start, self.to + to)


@dataclass(frozen=True, slots=True)
class Custom:
    """Not a step of the core's: a struct that the user's own function migrates.

    ``name``: its old one, without keyword; ``old``, ``new``: its types; ``sizes``: of both.
    """

    start: int
    to: int
    name: str
    old: TypeId
    new: TypeId
    sizes: tuple[int, int]

    def moved(self, start: int, to: int, path: str) -> Custom:  # noqa: ARG002 - as its siblings
        """Return the same for a member at these offsets."""
        return replace(self, start=self.start + start, to=self.to + to)


Node: TypeAlias = Op | Loop | Start | Custom


def has_customs(nodes: Iterable[Node]) -> bool:
    """Tell whether there is a struct that the user migrates."""
    return any(has_customs(node.body) if isinstance(node, Loop) else isinstance(node, Custom) for node in nodes)


def customs(nodes: Iterable[Node], start: int = 0, to: int = 0) -> Iterator[Custom]:
    """Return each place of a struct that the user migrates, in one element."""
    for node in nodes:
        if isinstance(node, Custom):
            yield node.moved(start, to, "")
        elif isinstance(node, Loop) and has_customs(node.body):
            for index in range(node.count):
                offsets = start + node.start + index * node.stride, to + node.to + index * node.to_stride
                yield from customs(node.body, *offsets)


def joined(path: str, rest: str) -> str:
    """Return the path of a part of something: ``items`` and ``[].count`` are ``items[].count``."""
    if not path or not rest or rest.startswith("["):
        return path + rest
    return f"{path}.{rest}"


def spelled(path: str, indexes: Iterable[int]) -> str:
    """Return a path with the loops' indexes in it."""
    numbers = iter(indexes)
    return _LOOP.sub(lambda _: f"[{next(numbers, '')}]", path)


def weight(nodes: Iterable[Node]) -> int:
    """Return how many steps there are."""
    return sum(1 + (weight(node.body) if isinstance(node, Loop) else 0) for node in nodes)


def depth(nodes: Iterable[Node]) -> int:
    """Return how deeply loops are nested."""
    return max((1 + depth(node.body) for node in nodes if isinstance(node, Loop)), default=0)


def ordered(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return the steps in the order of the old layout, copies that stay neighbours as one."""
    found: list[Node] = []
    for node in sorted(nodes, key=_place):
        last = found[-1] if found else None
        if (
            isinstance(node, Op)
            and isinstance(last, Op)
            and node.kind == last.kind == Kind.COPY
            and last.start + last.size == node.start
            and last.to + last.size == node.to
        ):
            found[-1] = replace(last, size=last.size + node.size)
        else:
            found.append(node)
    return tuple(found)


def over_padding(
    nodes: Sequence[Node], old: Sequence[tuple[int, int]], new: Sequence[tuple[int, int]]
) -> tuple[Node, ...]:
    """Return the steps with copies as one where only padding is between them: few long copies are faster.

    ``old`` and ``new``: where something is in both layouts, as (start, end), in order.
    """
    found: list[Node] = []
    for node in nodes:
        last = found[-1] if found else None
        if (
            isinstance(node, Op)
            and isinstance(last, Op)
            and node.kind == last.kind == Kind.COPY
            and node.start - last.start == node.to - last.to
            and _is_free(old, last.start + last.size, node.start)
            and _is_free(new, last.to + last.size, node.to)
        ):
            found[-1] = replace(last, size=node.start + node.size - last.start)
        else:
            found.append(node)
    return tuple(found)


def _is_free(taken: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Tell whether nothing lies between two places."""
    index = bisect_left(taken, (end, 0))
    return start <= end and (not index or taken[index - 1][1] <= start)


def _place(node: Node) -> int:
    return node.start // 8 if isinstance(node, Op) and node.kind == Kind.BITS else node.start


def _signed(pair: tuple[int, int]) -> tuple[int, int]:
    old, new = (value - (1 << 64) if value >> 63 == 1 else value for value in pair)
    return old, new


class Writer:
    """Writes steps down, and numbers the paths and tables that they use."""

    def __init__(self) -> None:
        self.paths: dict[str, int] = {}
        self.goals: dict[int, Op] = {}
        self.tables: dict[bytes, int] = {}

    def write(self, nodes: Sequence[Node]) -> bytes:
        """Return the steps as the core reads them."""
        return b"".join(self._records(nodes))

    def _records(self, nodes: Sequence[Node]) -> Iterator[bytes]:
        for node in nodes:
            if isinstance(node, Op):
                yield self._op(node)
            elif isinstance(node, Loop):
                body = list(self._records(node.body))
                if not body:
                    continue
                if node.start or node.to:
                    yield _RECORD.pack(Kind.BASE, 0, 0, 0, node.start, node.to, 0)
                size = node.count | len(body) << _BODY_SHIFT
                yield _RECORD.pack(Kind.LOOP, 0, 0, 0, node.stride, node.to_stride, size)
                yield from body

    def _op(self, op: Op) -> bytes:
        path = self.paths.setdefault(op.path, len(self.paths))
        if op.goal:
            self.goals.setdefault(path, op)
        size = op.size
        if op.kind == Kind.ENUM:
            table = b"".join(_PAIR.pack(*pair) for pair in sorted(map(_signed, op.table)))
            size = self.tables.setdefault(table, len(self.tables))
        return _RECORD.pack(op.kind, op.a, op.b, path, op.start, op.to, size)
