"""What becomes of a module's typed blocks: they stay where they are, or are made anew in another layout.

Guarantee: blocks that the old version may use aren't touched; those that are replaced are freed when it is retired.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from midflight._blocks import Kind
from midflight._version import Carried
from midflight.artifact.layout import align_of, size_of
from midflight.state import losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midflight import _core
    from midflight._blocks import Layout
    from midflight._heaps import Heaps
    from midflight.artifact.interface import TypeId
    from midflight.moving.planned import Planned
    from midflight.state.layout import Migration


class Stored(NamedTuple):
    """A block, as the heap tells it.  ``length``: of elements; with a flexible array, of its elements."""

    address: int
    type: int
    length: int
    owner: int
    serial: int
    size: int


_NONSENSE = Kind("", 0, 1)
"""What a worker has overwritten."""


@dataclass(slots=True)
class Outlook:
    """What becomes of blocks of one type.  ``type``: its number in the old interface, None if that hasn't got it.

    ``migration``: None for those that stay as they are.  ``renamed``: what the heap is to call them then.
    """

    kind: Kind
    type: TypeId | None
    migration: Migration | None = None
    renamed: Kind | None = None


@dataclass(slots=True)
class Piece:
    """Elements of one block that lie back to back, on their way from one layout to another."""

    block: Stored
    owner: Blocks
    source: int
    target: int
    count: int
    migration: Migration
    head: tuple[int, int] | None = None
    """Where a flexible array begins, before and now, in what comes before it."""
    tail: str = ""
    """The flexible array that these are."""

    @property
    def name(self) -> str:
        """What they are called in messages: made only when there is something to say."""
        name = self.owner.name(self.block)
        return f"{name}.{self.tail}" if self.tail else name


@dataclass(slots=True)
class Replaced:
    """A block and the one that takes its place."""

    old: Stored
    new: Stored


@dataclass(slots=True)
class Blocks:
    """All typed blocks of a module, in a move from version ``old`` to version ``new`` (their numbers).

    ``fresh``: only those that Python has made go on; the others go with the old version.
    """

    heap: _core.Heap
    planned: Planned
    old: int
    new: int
    fresh: bool = False
    names: dict[int, str] = field(default_factory=dict)
    """What variables call the blocks that they point to, by address."""
    refusals: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    replaced: list[Replaced] = field(default_factory=list)
    renamed: list[tuple[int, Kind]] = field(default_factory=list)
    _all: list[Stored] = field(default_factory=list)
    _ranges: list[tuple[int, int]] | None = None
    _dropped: list[Stored] = field(default_factory=list)
    _kinds: list[Kind] = field(default_factory=list)
    _outlooks: dict[int, Outlook] = field(default_factory=dict)

    # ---- before anything is written

    def choose(self) -> None:
        """Decide what becomes of each type of which there are blocks."""
        stored = (Stored(*one) for one in self.heap.blocks())
        self._all = [one for one in stored if one.owner != self.new]  # what the new one has made is in its own layout
        self._kinds = [Kind(*one) if one is not None else _NONSENSE for one in self.heap.types()]
        if self.fresh:
            self._dropped = [block for block in self._all if block.owner]
            self._all = [block for block in self._all if not block.owner]
        for number, count in Counter(block.type for block in self._all).items():
            self._outlooks[number] = self._outlook(self._kinds[number], count)

    def _outlook(self, kind: Kind, count: int) -> Outlook:
        old, new = self.planned.types.get(kind.name, (None, None))
        if old is None:
            return Outlook(kind, None)
        which = f"{count} block{'' if count == 1 else 's'} of {kind.name}"
        if size_of(self.planned.old.types, old) != kind.size:
            self.refusals.append(f"{which}: another type of the same name is in the library; give the two two names")
            return Outlook(kind, old)
        if new is None:
            return Outlook(kind, old)
        migration = self.planned.layouts.migration(old, new, block=True)
        self.refusals += migration.refused(which)
        tail = migration.tail if kind.tail else None
        if migration.obstacles:
            return Outlook(kind, old)
        if migration.same_bytes and (tail is None or (tail.element.same_bytes and tail.start == tail.to)):
            return Outlook(kind, old, renamed=self._kind(kind, new, migration))
        return Outlook(kind, old, migration, self._kind(kind, new, migration))

    def _kind(self, kind: Kind, type_id: TypeId, migration: Migration) -> Kind:
        """Return the type as the new version has it."""
        types, tail = self.planned.new.types, migration.tail if kind.tail else None
        name = self.planned.renamed(kind.name)
        align = align_of(types, type_id)
        if tail is None:
            return Kind(name, size_of(types, type_id) or 0, align, None, 0, 0)
        return Kind(name, size_of(types, type_id) or 0, align, kind.tail, tail.to, tail.element.to_size)

    # ---- what pointers have to know

    def ranges(self) -> list[tuple[int, int]]:
        """Return where all blocks are, in order."""
        if self._ranges is None:
            self._ranges = sorted((block.address, block.address + (block.size or 1)) for block in self._all)
        return self._ranges

    def roots(self) -> Iterator[tuple[Stored, TypeId | None, int, int, bool]]:
        """Return what is in blocks: block, type, address, count, and whether it stays where it is."""
        for block in self._all:
            outlook = self._outlooks[block.type]
            stays = outlook.migration is None
            tail = self._tail_type(outlook)
            if tail is None:
                yield block, outlook.type, block.address, block.length, stays
            else:
                yield block, outlook.type, block.address, 1, stays
                yield block, tail, block.address + outlook.kind.tail_offset, block.length, stays

    def _tail_type(self, outlook: Outlook) -> TypeId | None:
        if outlook.kind.tail is None or outlook.type is None:
            return None
        return self.planned.tail_of(outlook.type)

    def name(self, block: Stored) -> str:
        """Return what a block is called in messages."""
        return self.names.get(block.address) or f"({self._kinds[block.type].name} at {block.address:#x})"

    # ---- making them anew

    def make(self) -> None:
        """Make new blocks for those whose layout has changed.  Raises MemoryError; `undo` frees them."""
        for block in self._all:
            outlook = self._outlooks[block.type]
            if outlook.migration is not None and outlook.renamed is not None:
                owner = self.new if block.owner else 0
                made = Stored(*self.heap.make(outlook.renamed, block.length, owner))
                self.replaced.append(Replaced(block, made))
                self.pieces += _pieces(self, block, made, outlook)
            elif outlook.renamed is not None and outlook.renamed != outlook.kind:
                self.renamed.append((block.address, outlook.renamed))

    def moved(self) -> list[_core.MovedBlock]:
        """Return where blocks have gone, for a `_core.Mapping`."""
        found: list[_core.MovedBlock] = []
        strides: dict[tuple[int, bool], _Strides] = {}  # there are few migrations, and perhaps many pieces
        for piece in self.pieces:
            key = id(piece.migration), piece.head is not None
            if key not in strides:
                strides[key] = _strides(piece)
            step, goal, fields = strides[key]
            if step and piece.count:
                found.append((piece.source, piece.source + step * piece.count, piece.target, step, goal, fields))
        return found

    def fill(self, mapping: _core.Mapping, describe: Callable[[int], str]) -> list[str]:
        """Write the new blocks; return what can't be carried.  ``describe``: says what is at an old address."""
        problems = []
        plans = {id(piece.migration): piece.migration for piece in self.pieces}
        ready = {key: migration.plan() for key, migration in plans.items()}
        for piece in self.pieces:
            loss = ready[id(piece.migration)].run(piece.source, piece.target, piece.count, mapping)
            if loss is not None:
                problems.append(losses.spell(loss, piece.migration, piece.name, block=True, describe=describe))
        return problems

    # ---- the end

    def rows(self) -> list[Carried]:
        """Say what became of each type's blocks."""
        counts = Counter(block.type for block in self._all)
        return [self._row(self._outlooks[number], count) for number, count in counts.items()]

    def _row(self, outlook: Outlook, count: int) -> Carried:
        name = f"{count} block{'' if count == 1 else 's'} of {outlook.kind.name}"
        if outlook.renamed is None:
            return Carried(name, "left", "as they are: the new version has no such type")
        if outlook.migration is None:
            return Carried(name, "carried", "as they are")
        changes, tail = outlook.migration.changes, outlook.migration.tail
        if tail is not None and outlook.kind.tail:
            changes += tuple(f"{outlook.kind.tail}[].{change}" for change in tail.element.changes)
        return Carried(name, "migrated", "; ".join(changes))

    def commit(self, heaps: Heaps, layout: Layout) -> None:
        """The new version is current: what was replaced goes with the old one, and Python's blocks follow."""
        with suppress(LookupError, ValueError):  # of a worker that has written nonsense into the heap
            for address, kind in self.renamed:
                self.heap.rename(address, kind)
            for block in (*(one.old for one in self.replaced), *self._dropped):
                self.heap.condemn(block.address, True, self.old)
        now = {one.old.address: one.new for one in self.replaced}
        for block in self._all:
            own = heaps.owned.get(block.address) if not block.owner else None
            renamed = self._outlooks[block.type].renamed
            if own is not None and own.serial == block.serial and renamed is not None:
                own.moved(self.heap, now.get(block.address, block), layout, renamed)

    def undo(self) -> None:
        """Free what was made."""
        for one in self.replaced:
            self.heap.discard(one.new.address, one.new.owner)
        self.replaced.clear()
        self.pieces.clear()


_Strides: TypeAlias = tuple[int, int, list[tuple[int, int, int]]]
"""Of an element, before and now; and which runs of bytes go where in it."""


def _strides(piece: Piece) -> _Strides:
    migration = piece.migration
    step, goal = piece.head if piece.head is not None else (migration.from_size, migration.to_size)
    return step, goal, [one for one in migration.fields if one[0] + one[2] <= step and one[1] + one[2] <= goal]


def _pieces(blocks: Blocks, block: Stored, made: Stored, outlook: Outlook) -> Iterator[Piece]:
    migration, field_name = outlook.migration, outlook.kind.tail
    assert migration is not None  # noqa: S101 - those that stay have no pieces
    tail = migration.tail if field_name else None
    if tail is None:
        yield Piece(block, blocks, block.address, made.address, block.length, migration)
    else:
        yield Piece(block, blocks, block.address, made.address, 1, migration, (tail.start, tail.to))
        source, target = block.address + tail.start, made.address + tail.to
        yield Piece(block, blocks, source, target, block.length, tail.element, tail=field_name or "")
