"""Where the pointers in data lead, and what they have to be in the new version.

Roots are the variables that move and all typed blocks.  From them the core follows pointers by type; what it finds in
the old image is translated to the same thing in the new one, or refused, or (``on_dangling="keep"``) left as it is, and
the old version stays loaded for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight import _core
from midflight.state.shapes import ShapeTable
from midflight.state.symbols import Symbols, Translation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight._control import Generation
    from midflight._lane import Data
    from midflight.artifact.interface import TypeId
    from midflight.moving.planned import Planned


@dataclass(slots=True)
class Root:
    """Memory to search: ``count`` elements of an old type.  ``in_place``: it stays there, for both versions."""

    name: str
    type: TypeId
    here: int
    there: int
    count: int = 1
    in_place: bool = False
    block: bool = False


@dataclass(slots=True)
class Pointers:
    """The pointers of one move.  ``kept``: what goes on pointing into the old version, a text each."""

    planned: Planned
    old: Generation
    new: Generation
    old_data: Data
    new_data: Data
    keep: bool
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    _roots: Sequence[Root] = ()
    _shapes: ShapeTable | None = None
    _trace: _core.Trace | None = None
    _symbols: tuple[Symbols, Symbols] | None = None

    def search(self, roots: Sequence[Root], blocks: Sequence[tuple[int, int]]) -> None:
        """Follow all pointers from the roots; ``blocks``: where the module's typed blocks are, in order."""
        shapes = self._shapes = ShapeTable(self.planned.layouts)
        rows = [(root.here, root.there, shapes.number(root.type), root.count, root.in_place) for root in roots]
        data = self.old_data
        self._roots = roots
        self._trace = _core.trace(shapes.build(), rows, data.low, data.high, blocks, data.here)
        if self._trace.limit_reached:
            self.warnings.append(
                "more than a million objects hang on the data that moved; pointers in the rest weren't looked at"
            )
        for value, shape, root, via in self._trace.foreign:
            self._foreign(value, shape, root, via)

    def _foreign(self, value: int, shape: int, root: int, via: _core.Via) -> None:
        where = self._way(root, via)
        if not self.old_data.here:
            self.refusals.append(
                f"{where} points to memory of the old process ({value:#x}), which ends with it; only typed blocks"
                " (MF_NEW) outlive a worker"
            )
        elif shape >= 0 and self._shapes is not None:
            self.refusals.append(
                f"{where} points to memory that isn't a typed block, and {self._shapes.spell(shape)} has changed;"
                " allocate it by MF_NEW"
            )

    def mapping(self, moved: Sequence[_core.MovedBlock]) -> _core.Mapping:
        """Return what pointers become; what dangles is refused or kept."""
        exact = [] if self._trace is None else [self._exact(*one) for one in self._trace.image]
        data = self.old_data
        return _core.Mapping(data.low, data.high, [one for one in exact if one is not None], moved)

    def _exact(self, value: int, root: int, via: _core.Via) -> tuple[int, int] | None:
        data = self.old_data
        found = self._translation().translate(value - data.base)
        if found is not None:
            return value, self.new_data.base + found
        where = f"{self._way(root, via)} points to {self.describe(value)}"
        if self.keep and data.here and self.new_data.here:
            self.kept.append(where)
            return value, value
        self.refusals.append(f"{where}, which the new version doesn't have")
        return None

    def describe(self, value: int) -> str:
        """Say what is at an address of the old image."""
        self._translation()
        assert self._symbols is not None  # noqa: S101 - just made
        return self._symbols[0].name(value - self.old_data.base)

    def _translation(self) -> Translation:
        """Read both libraries' symbols, which most moves don't need."""
        if self._symbols is None:
            self._symbols = (
                Symbols(self.old.artifact.read(), self.old.interface),
                Symbols(self.new.artifact.read(), self.new.interface),
            )
        return Translation(*self._symbols, self.planned.layouts, self.planned.matches)

    def patches(self, mapping: _core.Mapping) -> _core.Patches | None:
        """Return what has to be rewritten in memory that both versions share; what can't be is refused."""
        if self._trace is None:
            return None
        patches = self._trace.patches(mapping)
        for value, root, via, why in patches.dangling:
            where = self._way(root, via)
            if why == "dangling":
                self.refusals.append(f"{where} points to {value:#x}, which has no place in the new layout")
            else:
                self.refusals.append(f"{where} points into the old version, and can't be corrected: {why}")
        return patches

    def _way(self, root: int, via: _core.Via) -> str:
        assert self._shapes is not None  # noqa: S101 - search has run
        return self._shapes.way(self._roots[root].name, via, block=self._roots[root].block)
