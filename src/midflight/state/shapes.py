"""Where the pointers are in each type of the old version: for the core's search (`_core.trace`).

A shape has a number.  A type gets one when something asks for it, and so does all that its pointers lead to; types that
refer to each other or to themselves share theirs.  Bad shapes are those of types that are another in the new version:
objects of them that nobody moves must not be found.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from midflight import _core
from midflight.artifact.interface import Array, Enum, Pointer, Record, Signature, Typedef, Unsupported
from midflight.artifact.layout import POINTER_SIZE, size_of
from midflight.state.ops import MOST_LOOPS, Kind, Loop, Op, Writer, depth, joined, spelled, weight
from midflight.state.renames import bare
from midflight.state.unchanged import is_buffer, may_hold_address

if TYPE_CHECKING:
    from midflight._core import Via
    from midflight.artifact.interface import Type, TypeId
    from midflight.state.layout import Layouts
    from midflight.state.ops import Node

BAD, STOP = 1, 2
_MOST_STEPS = 1 << 12


class ShapeTable:
    """The shapes of an old interface's types.  `number` all that is needed, then `build`."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._names = layouts.old
        self._types = layouts.old.interface.types
        self._numbers: dict[TypeId, int] = {}
        self._order: list[TypeId] = []
        self._pending: deque[TypeId] = deque()
        self._places: dict[TypeId, tuple[Node, ...]] = {}
        self._rows: list[tuple[bytes, int, int]] = []
        self._writer = Writer()
        self._new: dict[str, list[TypeId]] = {}
        for type_id, found in enumerate(layouts.new.interface.types):
            name = _name(found)
            if name:
                self._new.setdefault(name, []).append(type_id)

    def number(self, type_id: TypeId) -> int:
        """Return the number of a type's shape; the type must have a size."""
        type_id = self._shared(type_id)
        known = self._numbers.get(type_id)
        if known is None:
            known = self._numbers[type_id] = len(self._order)
            self._order.append(type_id)
            self._pending.append(type_id)
        return known

    def build(self) -> _core.Shapes:
        """Return the shapes that were asked for, and all that they lead to."""
        while self._pending:
            type_id = self._pending.popleft()
            nodes = self._bounded(type_id)
            flags = (BAD if self._is_bad(type_id) else 0) | (0 if nodes else STOP)
            self._rows.append((self._writer.write(nodes), self._size(type_id), flags))
        return _core.Shapes(self._rows)

    @property
    def have_addresses(self) -> bool:
        """Whether there may be an address in any of those that were built."""
        return any(ops for ops, _, _ in self._rows)

    def spell(self, number: int) -> str:
        """Return the type that a shape is of, as people write it."""
        return self._layouts.old.interface.spell(self._order[number])

    def way(self, root: str, via: Via, *, block: bool = False) -> str:
        """Return how a pointer was reached, as one would write it: ``list.head->next->name``.

        ``root``: the variable or block where it began; ``block``: its elements have numbers.
        """
        text = ""
        paths = tuple(self._writer.paths)
        for step in via:
            if step is None:
                text += "->…"
                continue
            _, element, path, indexes = step
            inner = spelled(paths[path] if path < len(paths) else "", indexes)
            if not text:
                text = joined(f"{root}[{element}]" if block else root, inner)
            elif element:
                text = joined(f"{text}[{element}]", inner)
            else:
                text = f"{text}->{inner}" if inner else f"*{text}"
        return text or root

    def _shared(self, type_id: TypeId) -> TypeId:
        """Return the type itself for a record; a typedef of anything else may become another type in its own right."""
        inner = self._names.behind(type_id)
        return inner if isinstance(self._types[inner], (Record, Enum)) else type_id

    def _size(self, type_id: TypeId) -> int:
        return size_of(self._types, type_id) or 0

    def _is_bad(self, type_id: TypeId) -> bool:
        name = self._name_of(type_id)
        same = self._new.get(self._layouts.renames.type_of(name), []) if name else []
        return bool(same) and not any(self._layouts.sameness.identical(type_id, other) for other in same)

    def _name_of(self, type_id: TypeId) -> str:
        found = self._types[type_id]
        return bare(found.name) if isinstance(found, Typedef) else self._names.name(type_id)

    def _bounded(self, type_id: TypeId) -> tuple[Node, ...]:
        nodes = self._in(type_id)
        if weight(nodes) > _MOST_STEPS or depth(nodes) > MOST_LOOPS:
            return _words(self._size(type_id))
        return nodes

    def _in(self, type_id: TypeId) -> tuple[Node, ...]:
        known = self._places.get(type_id)
        if known is None:
            known = self._find(type_id)
            if weight(known) > _MOST_STEPS:
                known = _words(self._size(type_id))
            self._places[type_id] = known
        return known

    def _find(self, type_id: TypeId) -> tuple[Node, ...]:
        size = self._size(type_id)
        if self._names.lock(type_id):
            return ()
        if self._names.holds_address(type_id):
            return _words(size)
        match self._names.interface.strip(type_id):
            case Pointer(target):
                return (Op(Kind.POINTER, "", 0, 0, self._target(target)),)
            case Array() as found:
                return self._array(found, size)
            case Record() as found:
                return self._record(found, size)
            case Unsupported() as found if may_hold_address(found):
                return _words(size)
        return ()

    def _target(self, type_id: TypeId) -> int:
        found = self._names.interface.strip(type_id)
        if isinstance(found, (Signature, Unsupported)) or not self._size(type_id):
            return 0
        return self.number(type_id) + 1

    def _array(self, found: Array, size: int) -> tuple[Node, ...]:
        if is_buffer(self._names, found):
            return _words(size)
        body = self._in(found.element)
        if not body or not found.count or not size:
            return ()
        stride = size // found.count
        return (Loop(0, 0, found.count, stride, 0, tuple(node.moved(0, 0, "[]") for node in body)),)

    def _record(self, found: Record, size: int) -> tuple[Node, ...]:
        if found.kind == "union" or not found.fields:
            return _words(size)
        nodes: list[Node] = []
        gaps = _Gaps(size)
        for field in found.fields:
            length = self._size(field.type) if field.bit_size is None else 0
            gaps.take(field.offset, length)
            if length:
                nodes += [node.moved(field.offset, 0, field.name) for node in self._in(field.type)]
        if not found.trivial:  # what has no name: pointers to virtual tables, for one
            nodes += [Op(Kind.WORDS, "", start, 0, length) for start, length in gaps.left()]
        return tuple(nodes)


class _Gaps:
    """The bytes of a record that no field has."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: list[tuple[int, int]] = []

    def take(self, start: int, size: int) -> None:
        """Say that a field is there."""
        self._taken.append((start, start + size))

    def left(self) -> list[tuple[int, int]]:
        """Return (start, size) of each that a pointer fits in."""
        found, at = [], 0
        for start, end in [*sorted(self._taken), (self._size, self._size)]:
            if start - at >= POINTER_SIZE:
                found.append((at, start - at))
            at = max(at, end)
        return found


def _words(size: int) -> tuple[Node, ...]:
    return (Op(Kind.WORDS, "", 0, 0, size),) if size >= POINTER_SIZE else ()


def _name(found: Type) -> str:
    return bare(found.name) if isinstance(found, (Record, Enum, Typedef)) else ""
