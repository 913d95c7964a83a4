"""Moves a module's data from one version to the next.

Guarantees:
- What the old version sees is left alone: variables are written in the new version's memory, blocks whose type has
  another layout are made anew.  Only pointers in memory that both versions share are rewritten, last of all, and
  `Move.undo` writes them back.
- What can't be carried refuses the whole move, and all such variables are named at once.  Whatever isn't carried for
  another reason has a row that says so.

Precondition of all: no call runs in either version (see `midflight._gate`).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight import _hooks
from midflight._blocks import Layout
from midflight._errors import StateError
from midflight._lane import data_of, heap_of, provided_in
from midflight._version import Carried
from midflight.artifact.interface import Pointer
from midflight.moving.blocks import Blocks
from midflight.moving.customs import Customs
from midflight.moving.holders import Holders
from midflight.moving.places import Allocated
from midflight.moving.pointers import Pointers, Root
from midflight.moving.undescribed import changed
from midflight.moving.variables import Chooser, Rules
from midflight.state import losses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from midflight import _core
    from midflight._carry import Carrying
    from midflight._control import Control, Generation
    from midflight._heaps import Heaps
    from midflight._lane import Data
    from midflight.moving.planned import Planned
    from midflight.moving.variables import Moving

_SHOWN = 10


@dataclass(slots=True)
class Move:
    """Data that have been brought over.  ``rows``: what became of each; ``warnings``: for the report.

    Either `commit` or `undo` follows, once; neither can fail.
    """

    old: Generation
    new: Generation
    heaps: Heaps
    blocks: Blocks | None = None
    rows: tuple[Carried, ...] = ()
    warnings: tuple[str, ...] = ()
    carried: frozenset[str] = frozenset()
    carried_to: int = 0
    kept: tuple[str, ...] = ()
    released: tuple[Generation, ...] = ()
    patches: _core.Patches | None = None
    holders: Holders | None = None

    def commit(self) -> None:
        """The new version is the current one now: let go of what only the way back needed."""
        for one in self.released:
            one.kept_for = ()
            one.table.unpin()
        self.new.carried, self.new.carried_to = self.carried, self.carried_to
        if self.blocks is not None:
            self.blocks.commit(self.heaps, Layout(self.new))
        if self.holders is not None:
            self.holders.commit(self.new)
        if self.kept:
            self.old.table.pin()
            self.old.kept_for = self.kept

    def undo(self) -> None:
        """Leave the old version's data as they were before."""
        if self.patches is not None:
            self.patches.undo()
            self.patches = None
        if self.blocks is not None:
            self.blocks.undo()


@dataclass(slots=True)
class Mover:
    """Makes a `Move`, step by step; a step notes what can't be carried, and goes on."""

    control: Control
    old: Generation
    new: Generation
    old_data: Data
    new_data: Data
    planned: Planned
    carrying: Carrying
    moving: list[Moving] = field(default_factory=list)
    rows: list[Carried] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def run(self, undo: ExitStack) -> Move:
        """Bring everything over.  Raises `StateError`; what has been done by then is taken back by ``undo``."""
        move = Move(self.old, self.new, self.control.heaps, self._blocks())
        undo.callback(move.undo)
        self._choose(move.blocks)
        self._carry(move)
        return move

    def _blocks(self) -> Blocks | None:
        """Return the module's typed blocks, if it can have any."""
        assert self.old.code is not None  # noqa: S101 - both versions are loaded
        assert self.new.code is not None  # noqa: S101 - the same
        if not self.control.heaps.has_blocks():
            return None
        heap, other = heap_of(self.old.code), heap_of(self.new.code)
        if heap is None:
            return None
        if heap is not other and heap.blocks():
            self.refusals.append(f"{len(heap.blocks())} typed blocks: they can't move to another lane")
            self._refuse()
        numbers = self.old.version.number, self.new.version.number
        return Blocks(heap, self.planned, *numbers, fresh=self.carrying.carry == "fresh")

    def _choose(self, blocks: Blocks | None) -> None:
        if blocks is not None:
            blocks.choose()
            self.refusals += blocks.refusals
        ranges = blocks.ranges() if blocks is not None else []
        hooks = _hooks.has(self.old, _hooks.SAVE) and _hooks.has(self.new, _hooks.RESTORE)
        # A worker that has been restarted has none of what was carried to the one before.
        touched = self.old.carried if self.old.carried_to == _process(self.old_data) else frozenset()
        rules = Rules(self.carrying.carry, touched, hooks)
        owned = Allocated(self.old_data, ranges)
        choice = Chooser(self.planned, self.old_data, self.new_data, rules, owned.__contains__).choose()
        self.moving, self.rows = choice.moving, choice.rows
        self.refusals += choice.refusals
        unknown = changed(self.old, self.old_data)
        if unknown is not None:
            self.rows.append(unknown)
            self.refusals += [str(unknown)] if self.carrying.carry == "require" else []
        self._refuse()

    def _carry(self, move: Move) -> None:
        blocks = move.blocks
        if blocks is not None:
            self._name_blocks(blocks)
        keep = self.carrying.on_dangling == "keep"
        pointers = Pointers(self.planned, self.old_data, self.new_data, keep, self._provided())
        holders = Holders.of(self.control, fresh=self.carrying.carry == "fresh")
        roots = [*self._roots(blocks), *holders.roots(self.old)]
        pointers.search(roots, blocks.ranges() if blocks is not None else [])
        if blocks is not None:
            blocks.make()
        mapping = pointers.mapping(blocks.moved() if blocks is not None else [])
        patches = pointers.patches(mapping)
        self.refusals += pointers.refusals
        self._refuse()
        self._fill(mapping, pointers)
        self.refusals += holders.translate(mapping)
        if blocks is not None:
            self.refusals += blocks.fill(mapping, pointers.describe)
        self._refuse()
        self._run_customs(blocks)
        for one in self.moving:
            self.new_data.put(one.target)
            self._carry_guard(one)
        move.patches, move.holders = patches, holders  # first, so that `undo` knows of them whatever happens
        if patches is not None:
            patches.apply()
        move.kept = tuple(f"{name} {why}" for name, why in pointers.kept)
        move.carried, move.carried_to = frozenset(one.key for one in self.moving), _process(self.new_data)
        move.released = tuple(one for one in self._kept() if not pointers.lead_into(self._data(one)))
        move.warnings = self.planned.warnings
        if self.old.table.pins:
            number = self.old.version.number
            move.warnings += (f"version {number} is pinned: what is changed in it from now on stays in it",)
        if self.old.table.pointers and blocks is not None and blocks.replaced:
            text = "Pointers that Python holds lead to data as they were before the move: ask for new ones"
            move.warnings += (text,)
        kept = (Carried(name, "kept", f"{why}, so its version stays loaded") for name, why in pointers.kept)
        move.rows = (*self._moved_rows(), *kept, *(blocks.rows() if blocks is not None else ()), *self.rows)

    def _name_blocks(self, blocks: Blocks) -> None:
        """Call blocks by the variables that point to them."""
        for one in self.moving:
            if isinstance(self.planned.old.strip(one.type), Pointer):
                blocks.names.setdefault(ctypes.c_uint64.from_address(one.source.here).value, one.name)

    def _provided(self) -> dict[int, int]:
        """Return where the host's functions were in the old version's process, and where they are in the new one's."""
        assert self.old.code is not None  # noqa: S101 - both versions are loaded
        assert self.new.code is not None  # noqa: S101 - the same
        new = provided_in(self.new.code)
        return {place: new[symbol] for symbol, place in provided_in(self.old.code).items() if symbol in new}

    def _roots(self, blocks: Blocks | None) -> Iterator[Root]:
        for one in self.moving:
            yield Root(one.name, one.type, one.source.here, one.source.there)
        for block, kind, address, count, in_place in blocks.roots() if blocks is not None else ():
            if kind is not None:
                assert blocks is not None  # noqa: S101 - it has given a block
                yield Root(blocks.name(block), kind, address, address, count, in_place, block=True)

    def _kept(self) -> Iterator[Generation]:
        """Return the older versions that carried pointers have kept loaded so far."""
        return (one for one in self.control.generations if one.kept_for and one is not self.old)

    def _data(self, generation: Generation) -> Data:
        data = data_of(generation.code) if generation.code is not None else None
        return data or self.old_data

    def _fill(self, mapping: _core.Mapping, pointers: Pointers) -> None:
        for one in self.moving:
            loss = one.migration.plan().run(one.source.here, one.target.here, 1, mapping)
            if loss is not None:
                self.refusals.append(losses.spell(loss, one.migration, one.name, describe=pointers.describe))

    def _run_customs(self, blocks: Blocks | None) -> None:
        customs = Customs(self.old, self.new, self.control.migrations.functions)
        for one in self.moving:
            customs.note(one.name, one.migration, one.source.here, one.target.here, 1)
        for piece in blocks.pieces if blocks is not None else ():
            customs.note(piece.name, piece.migration, piece.source, piece.target, piece.count)
        customs.run()

    def _carry_guard(self, one: Moving) -> None:
        """Keep C++ from initialising a function's static variable again, over what was carried."""
        old, new = self.planned.symbols or (None, None)
        before = old.guard(one.places[0]) if old is not None else None
        after = new.guard(one.places[1]) if new is not None else None
        if before is not None and after is not None:
            done = self.old_data.stretch(before, 1)
            target = self.new_data.stretch(after, 1)
            ctypes.memmove(target.here, done.here, 1)
            self.new_data.put(target)

    def _moved_rows(self) -> Iterator[Carried]:
        for one in self.moving:
            if one.migration.changes:
                yield Carried(one.name, "migrated", "; ".join(one.migration.changes))
            else:
                yield Carried(one.name, "carried")

    def _refuse(self) -> None:
        """Raise, if anything can't be carried."""
        if not self.refusals:
            return
        found = list(dict.fromkeys(self.refusals))
        rest = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        what = f"its data can't be carried to the new version: {'; '.join(found[:_SHOWN])}{rest}"
        todo = "mend the new version, give hooks or a migration, or start afresh with carry='fresh' (docs/state.md)"
        raise StateError(what, refusals=found, subject=self.control.name, todo=todo)


def _process(data: Data) -> int:
    """Return which process has the data, 0 for this one and its forks."""
    return 0 if data.here else data.process
