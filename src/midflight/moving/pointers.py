"""Where the pointers in data lead, and what they have to be in the new version.

Roots are the variables that move and all typed blocks.  From them the core follows pointers by type; what it finds in
the old image is translated to the same thing in the new one, or refused, or (``on_dangling="keep"``) left as it is, and
the old version stays loaded for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from midflight import _core
from midflight._handles import is_handle

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class _Search(NamedTuple):
    """What the core is asked."""

    shapes: _core.Shapes
    rows: list[tuple[int, int, int, int, bool]]
    blocks: Sequence[tuple[int, int]]

    def run(self, image: Data) -> _core.Trace:
        """Find the pointers into an image."""
        return _core.trace(self.shapes, self.rows, image.low, image.high, self.blocks, image.here)


@dataclass(slots=True)
class Pointers:
    """The pointers of one move.

    ``provided``: where the host's functions were, and are now.  ``kept``: what goes on pointing into the old version,
    its path and to what.
    """

    planned: Planned
    old_data: Data
    new_data: Data
    keep: bool
    provided: dict[int, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    _roots: Sequence[Root] = ()
    _search: _Search | None = None
    _trace: _core.Trace | None = None

    def search(self, roots: Sequence[Root], blocks: Sequence[tuple[int, int]]) -> None:
        """Follow all pointers from the roots; ``blocks``: where the module's typed blocks are, in order."""
        shapes = self.planned.shapes
        numbers = {type_id: shapes.number(type_id) for type_id in {root.type for root in roots}}
        rows = [(root.here, root.there, numbers[root.type], root.count, root.in_place) for root in roots]
        data = self.old_data
        self._roots = roots
        self._search = _Search(shapes.build(), rows, blocks)
        self._trace = self._search.run(data)
        if self._trace.limit_reached:
            self.refusals.append("more than a million objects hang on its data, too many to find all pointers")
        for value, shape, root, via in self._trace.foreign:
            self._foreign(value, shape, root, via)

    def _foreign(self, value: int, shape: int, root: int, via: _core.Via) -> None:
        where = self._way(root, via)
        if value in self.provided or is_handle(value):
            return
        if not self.old_data.here:
            self.refusals.append(
                f"{where} points to memory of the old process ({value:#x}), which ends with it; only typed blocks"
                " (MF_NEW) outlive a worker"
            )
        elif shape >= 0:
            what = self.planned.shapes.spell(shape)
            self.refusals.append(
                f"{where} points to memory that isn't a typed block, and {what} has changed; allocate it by MF_NEW"
            )

    def mapping(self, moved: Sequence[_core.MovedBlock]) -> _core.Mapping:
        """Return what pointers become; what dangles is refused or kept."""
        exact = [] if self._trace is None else [self._exact(*one) for one in self._trace.image]
        data = self.old_data
        known = [one for one in exact if one is not None]
        return _core.Mapping(data.low, data.high, [*known, *self.provided.items()], moved)

    def _exact(self, value: int, root: int, via: _core.Via) -> tuple[int, int] | None:
        data = self.old_data
        found = self._translate(value)
        if found is not None:
            return value, found
        where, why = self._way(root, via), f"points to {self.describe(value)}"
        if self.keep and data.here and self.new_data.here:
            self.kept.append((where, why))
            return value, value
        self.refusals.append(f"{where} {why}, which the new version doesn't have")
        return None

    def describe(self, value: int) -> str:
        """Say what is at an address of the old image."""
        symbols = self.planned.symbols
        return symbols[0].name(value - self.old_data.base) if symbols is not None else f"{value:#x}"

    def _translate(self, value: int) -> int | None:
        """Return where what lies at an address of the old image is in the new one."""
        translation = self.planned.translation
        found = translation.translate(value - self.old_data.base) if translation is not None else None
        return None if found is None else self.new_data.base + found

    def patches(self, mapping: _core.Mapping) -> _core.Patches | None:
        """Return what has to be rewritten in memory that both versions share; what can't be is refused."""
        if self._trace is None:
            return None
        patches = self._trace.patches(mapping)
        for value, root, via, why in patches.dangling:
            if self.old_data.low <= value < self.old_data.high and why == "dangling":
                continue  # refused already, and told what it is
            where = self._way(root, via)
            if why == "dangling":
                self.refusals.append(f"{where} points to {value:#x}, which has no place in the new layout")
            else:
                self.refusals.append(f"{where} points into the old version, and can't be corrected: {why}")
        return patches

    def lead_into(self, image: Data) -> bool:
        """Whether any pointer leads into another version that is still loaded."""
        return self._search is not None and bool(self._search.run(image).image)

    def _way(self, root: int, via: _core.Via) -> str:
        return self.planned.shapes.way(self._roots[root].name, via, block=self._roots[root].block)
