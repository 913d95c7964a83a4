"""For how long a swap that carries data holds callers back, and what carrying adds to a swap."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import midflight
from benchmarks.results import Result, Target
from benchmarks.timing import take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.peers import Peers

_ROUNDS, _UNIT = 51, 32
_FEW, _MANY, _STRUCTS = 1_000_000 // _UNIT, 100_000_000 // _UNIT, 100_000


def run(peers: Peers) -> Iterator[Result]:
    """Measure blocks that stay, blocks that move, and a few variables."""
    yield _unchanged(peers)
    yield _migrated(peers)
    yield _variables(peers)


class _Swaps:
    """Swaps one module to and fro between two libraries, and notes what each swap took, in milliseconds."""

    def __init__(self, libraries: tuple[Path, ...], units: int | None = None) -> None:
        """``units``: how many are in its block; None: the libraries have no data."""
        self._libraries = libraries
        self.module = midflight.load(libraries[0], probe=False)
        self.seconds: list[float] = []
        self._check: int | None = None
        if units is not None:
            self.module.fill(units)
            self._check = self.module.check()
        for _ in libraries:
            self.swap()  # from here on both are inspected
        self.seconds.clear()

    def swap(self) -> Any:
        """Swap once, look whether the data are as they were, and return the report."""
        self._libraries = self._libraries[::-1]
        report = midflight.swap(self.module, self._libraries[0])
        if self._check is not None and self.module.check() != self._check:
            message = f"its data are other ones after {report}"
            raise SystemExit(message)
        self.seconds.append(report.seconds * 1e3)
        return report

    def pause(self) -> float:
        """Swap once; return for how long callers may have waited."""
        return float(self.swap().pause) * 1e3

    def block(self) -> int:
        """Return where its block is."""
        (block,) = midflight.blocks(self.module)
        return int(block.address)


def _unchanged(peers: Peers) -> Result:
    """Measure blocks of a type that hasn't changed: nothing of them is read or written, however large they are."""
    few, many = (_Swaps(peers.stateful("1", "2"), units) for units in (_FEW, _MANY))
    linked = _Swaps(peers.stateful("linked_1", "linked_2"), _MANY)
    places = few.block(), many.block(), linked.block()
    found = take_turns({"few": few.pause, "many": many.pause, "linked": linked.pause}, _ROUNDS)
    moved = sum(before != swaps.block() for before, swaps in zip(places, (few, many, linked), strict=True))
    one, hundred, searched = (statistics.median(pauses) for pauses in found.values())
    _unload(few, many, linked)
    return Result(
        "pause of a swap with 100 MB in a typed block whose type is the same",
        hundred,
        "ms",
        parts={"1 MB in it": one, "100 MB with a pointer in each struct, which are all looked at": searched},
        targets=(Target("times 1 MB's", hundred / one, 2), Target("blocks that are elsewhere", moved, 0)),
    )


def _migrated(peers: Peers) -> Result:
    swaps = _Swaps(peers.stateful("1", "moved"), _STRUCTS)
    found = take_turns({"pause": swaps.pause}, _ROUNDS)
    pause = statistics.median(found["pause"])
    parts = {"the whole swap": statistics.median(swaps.seconds)}
    _unload(swaps)
    target = Target("ms", pause, 10)
    return Result(
        f"pause of a swap that moves {_STRUCTS:,} structs to another layout", pause, "ms", {}, (target,), parts
    )


def _variables(peers: Peers) -> Result:
    """Measure swaps that carry six variables and one small block, beside those of a library without data."""
    with_data, without = _Swaps(peers.stateful("1", "2"), 1), _Swaps(peers.versions())
    found = take_turns({"with": with_data.pause, "without": without.pause}, _ROUNDS)
    pause = statistics.median(found["with"])
    total, plain = statistics.median(with_data.seconds), statistics.median(without.seconds)
    _unload(with_data, without)
    return Result(
        "swap that carries six variables and a small block",
        total,
        "ms",
        {"of a library without data": plain},
        (Target("ms more", total - plain, 2), Target("ms of pause", pause, 1)),
        {"of it pause": pause},
    )


def _unload(*modules: _Swaps) -> None:
    for one in modules:
        midflight.unload(one.module)
