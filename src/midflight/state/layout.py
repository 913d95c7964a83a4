"""What becomes of a value when its type's layout changes: the plan that the core runs, and what people should know.

Rules, for each type and all that it is made of:
- Fields are matched by name, after renames.  A new field stays as the new version initialised it; one that is gone is
  told.  Numbers are widened; a number that doesn't fit the narrower type is a loss when the plan runs.
- Arrays keep the elements that both versions have; dropped ones must be zero.  Text may shrink while its end fits.
- Enumerators are matched by name.  Unions are carried only as they are.
- Pointers are translated; so is what looks like one in unions, ``uintptr_t`` and arrays of at least eight plain bytes
  (``unsigned char``).  Arrays of ``char`` are text and taken to hold none.
- Locks may be carried while nobody holds them.

What no rule covers is a refusal, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight import _core
from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar
from midflight.artifact.layout import POINTER_SIZE, size_of
from midflight.state import numbers
from midflight.state.ops import MOST_LOOPS, Custom, Kind, Op, Start, Writer, customs, depth, ordered, spelled
from midflight.state.parts import Note, Part, bounded, refused
from midflight.state.records import Records
from midflight.state.renames import NONE
from midflight.state.runs import place, runs
from midflight.state.types import Names, Sameness
from midflight.state.unchanged import Unchanged, is_buffer, repeated

if TYPE_CHECKING:
    from collections.abc import Collection

    from midflight.artifact.interface import Interface, TypeId
    from midflight.state.ops import Node
    from midflight.state.renames import Renames

_NOT_IN_BLOCK = "it ends in a flexible array; only a typed block (MF_NEW) knows how many elements that has"


@dataclass(frozen=True, slots=True)
class Tail:
    """The flexible array at the end of a record: where it begins in both layouts, and what becomes of one element."""

    start: int
    to: int
    element: Migration


@dataclass(frozen=True, slots=True)
class Migration:
    """What becomes of one element of a type.

    ``plan_ops``, ``tables``, ``from_size`` and ``to_size`` make a `_core.Plan` (`plan`); ``paths`` are the texts of its
    path numbers, in which each ``[]`` stands for a loop's index.  ``identical``: same layout and meaning all the way
    down, also of what pointers point to, by name.  ``same_bytes``: a plain copy would do, pointers aside.
    ``obstacles``: why it can't be moved at all; then there is no plan.  ``fields``: (from, to, size) of the bytes that
    stay together, for pointers into it.  ``tail``: its flexible array, whose elements the caller moves.  ``customs``:
    the structs in it that the caller has migrated by functions of the user's, when the plan has run.
    """

    from_size: int
    to_size: int
    plan_ops: bytes = b""
    tables: tuple[bytes, ...] = ()
    paths: tuple[str, ...] = ()
    identical: bool = False
    same_bytes: bool = False
    changes: tuple[str, ...] = ()
    obstacles: tuple[Note, ...] = ()
    fields: tuple[tuple[int, int, int], ...] = ()
    tail: Tail | None = None
    customs: tuple[Custom, ...] = ()
    goals: tuple[tuple[int, str, tuple[tuple[str, int], ...]], ...] = ()

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why it can't be moved, a clause each."""
        return tuple(str(note) for note in self.obstacles)

    def refused(self, name: str) -> tuple[str, ...]:
        """Return the same of something that is called ``name``, with the paths within it."""
        return tuple(str(note.under(name)) for note in self.obstacles)

    def plan(self) -> _core.Plan:
        """Return the plan, ready to run."""
        return _core.Plan(self.plan_ops, self.from_size, self.to_size, self.tables)

    def place(self, offset: int) -> int | None:
        """Return where a byte of the old layout is in the new one; None where it isn't, or in more than one piece."""
        if offset in {0, self.from_size}:
            return self.to_size if offset else 0
        return place(self.fields, offset)

    def where(self, path: int, indexes: tuple[int, ...] = ()) -> str:
        """Return a path's text with the loops' indexes in it."""
        return spelled(self.paths[path], indexes) if path < len(self.paths) else ""


class Layouts:
    """What becomes of the types of an old interface in a new one; remembers what it has worked out."""

    def __init__(
        self, old: Interface, new: Interface, renames: Renames = NONE, migrated: Collection[str] = frozenset()
    ) -> None:
        """``migrated``: old structs, by their names without a keyword, that functions of the user's migrate."""
        self._migrated = migrated
        self.old = Names(old)
        self.new = Names(new)
        self.renames = renames
        self.sameness = Sameness(self.old, self.new, renames)
        self._unchanged = Unchanged(self.old)
        self._records = Records(self.old, self.new, renames, self.part)
        self._parts: dict[tuple[TypeId, TypeId], Part] = {}
        self._made: dict[tuple[TypeId, TypeId, bool], Migration] = {}

    def migration(self, old_type: TypeId, new_type: TypeId, *, block: bool = False) -> Migration:
        """Return what becomes of a value of a type; ``block``: it lies in a typed block, so that it may have a tail."""
        key = (old_type, new_type, block)
        known = self._made.get(key)
        if known is None:
            known = self._made[key] = self._migration(old_type, new_type, block=block)
        return known

    def _migration(self, old: TypeId, new: TypeId, *, block: bool) -> Migration:
        from_size, to_size = size_of(self.old.interface.types, old), size_of(self.new.interface.types, new)
        part = self.part(old, new)
        refusals = list(part.refusals)
        if from_size is None or to_size is None:
            refusals = refusals or [Note("", f": the size of {self.old.spell(old)} isn't known")]
        if part.trailing is not None and not block:
            refusals.append(Note("", f": {_NOT_IN_BLOCK}"))
        nodes = ordered(part.nodes)
        if not refusals and depth(nodes) > MOST_LOOPS:
            refusals.append(Note("", ": it is nested too deeply"))
        changes = tuple(str(note) for note in part.changes)
        sizes = (from_size or 0, to_size or 0)
        if refusals:
            return Migration(*sizes, changes=changes, obstacles=tuple(refusals))
        writer = Writer()
        ops = writer.write(nodes)
        tail = part.trailing
        return Migration(
            *sizes,
            ops,
            tuple(writer.tables),
            tuple(writer.paths),
            identical=self.sameness.identical(old, new),
            same_bytes=part.same and from_size == to_size,
            changes=changes,
            fields=runs(nodes),
            customs=tuple(customs(nodes)),
            tail=Tail(tail.start, tail.to, self.migration(tail.old, tail.new)) if tail is not None else None,
            goals=tuple((path, op.goal, op.names) for path, op in writer.goals.items()),
        )

    def part(self, old: TypeId, new: TypeId) -> Part:
        """Return what becomes of a type's bytes."""
        known = self._parts.get((old, new))
        if known is None:
            known = self._parts[old, new] = bounded(self._build(old, new))
        return known

    def _build(self, old: TypeId, new: TypeId) -> Part:
        if self.sameness.identical(old, new):
            return self._unchanged.part(old)
        before, after = self.old.interface.strip(old), self.new.interface.strip(new)
        name = self.old.name(old)
        if isinstance(before, Record) and isinstance(after, Record) and name in self._migrated:
            sizes = before.size or 0, after.size or 0
            nodes = Start(0, 0), Custom(0, 0, name, self.old.behind(old), self.new.behind(new), sizes)
            return Part(nodes, (Note("", f": by the program's migration of {name}"),))
        was = self.old.spell(old, self.new.interface.spell(new))
        now = self.new.spell(new, self.old.interface.spell(old))
        became = f"{was} is {now} now"
        if self.old.lock(old) or self.new.lock(new):
            return refused(became)
        match before, after:
            case (Scalar() | Enum(), Scalar() | Enum()) if numbers.number_class(before) and numbers.number_class(after):
                return numbers.convert(before, after, (was, now), self.renames)
            case Pointer(), Pointer():
                return self._pointer(before, after, became)
            case (Pointer(), Scalar()) if self.new.holds_address(new):
                return _address(became)
            case (Scalar(), Pointer()) if self.old.holds_address(old):
                return _address(became)
            case Array(), Array():
                return self._array(before, after)
            case Record(), Record():
                return self._records.convert(old, before, new, after)
        return refused(became)

    def _pointer(self, old: Pointer, new: Pointer, became: str) -> Part:
        if not self.sameness.may_point(old.target, new.target):
            return refused(f"{became}: what it points to is still of the old type")
        return Part((Op(Kind.POINTER, "", 0, 0, POINTER_SIZE),), (Note("", f": {became}"),), same=True)

    def _array(self, old: Array, new: Array) -> Part:
        size = size_of(self.old.interface.types, old.element)
        to_size = size_of(self.new.interface.types, new.element)
        if old.count is None or new.count is None or size is None or to_size is None:
            return refused("how many elements it has isn't known")
        element = self.part(old.element, new.element)
        kept = min(old.count, new.count)
        dropped = (old.count - kept) * size
        notes = tuple(note.under("[]") for note in element.changes)
        if old.count != new.count:
            verb = "grew" if old.count < new.count else "shrank"
            notes = (Note("", f" {verb} from {old.count} to {new.count} elements"), *notes)
        refusals = tuple(note.under("[]") for note in element.refusals)
        nodes: tuple[Node, ...]
        if numbers.is_text(self.old.interface.strip(old.element)) and size == to_size == 1 and dropped and kept:
            nodes = (Op(Kind.TEXT, "", 0, 0, old.count | new.count << 32, goal=f"char[{new.count}]"),)
            return Part(nodes, notes, refusals)
        if is_buffer(self.old, old) and is_buffer(self.new, new):
            nodes = (Op(Kind.WORDS, "", 0, 0, kept),)
        else:
            nodes = repeated(element.nodes, kept, size, to_size)
        if dropped:
            which = f"[{kept}…{old.count - 1}]" if old.count - kept > 1 else f"[{kept}]"
            nodes = (*nodes, Op(Kind.ZERO, which, kept * size, 0, dropped))
        return Part(nodes, notes, refusals, same=element.same and old.count == new.count)


def _address(became: str) -> Part:
    return Part((Op(Kind.WORDS, "", 0, 0, POINTER_SIZE),), (Note("", f": {became}"),), same=True)


def migration(old: Interface, old_type: TypeId, new: Interface, new_type: TypeId, renames: Renames = NONE) -> Migration:
    """Return what becomes of a value of one type; `Layouts` does the same for many."""
    return Layouts(old, new, renames).migration(old_type, new_type)
