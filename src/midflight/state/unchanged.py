"""The steps for a type that is the same in both versions: copies, but for pointers, locks and possible addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Array, Pointer, Record, Scalar, Unsupported
from midflight.artifact.layout import POINTER_SIZE, size_of
from midflight.state.ops import Kind, Loop, Op, ordered
from midflight.state.parts import Note, Part, Trailing, bounded, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.interface import Field, TypeId
    from midflight.state.ops import Node
    from midflight.state.types import Names

_COPYABLE = ("std::atomic<", "std::atomic_flag", "std::__atomic_base<")
"""Classes that C++ forbids to copy, but whose bytes are all that they are."""


class Unchanged:
    """Plans types of one interface as they are."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._types = names.interface.types
        self._known: dict[TypeId, Part] = {}

    def part(self, type_id: TypeId) -> Part:
        """Return how a type's bytes are carried as they are."""
        known = self._known.get(type_id)
        if known is None:
            known = self._known[type_id] = bounded(self._part(type_id))
        return known

    def _part(self, type_id: TypeId) -> Part:
        size = size_of(self._types, type_id)
        lock = self._names.lock(type_id)
        if lock and size is not None:
            return Part((Op(Kind.UNLOCKED, "", 0, 0, size, lock),), same=True)
        match self._names.interface.strip(type_id):
            case Pointer():
                return Part((Op(Kind.POINTER, "", 0, 0, POINTER_SIZE),), same=True)
            case Array() as found:
                return self._array(found, size)
            case Record() as found:
                return self._record(found)
            case Unsupported() as found if size is not None:
                return _copied(size, words=may_hold_address(found))
        if size is None:
            return refused(f"the size of {self._names.interface.spell(type_id)} isn't known")
        return _copied(size, words=self._names.holds_address(type_id))

    def _array(self, found: Array, size: int | None) -> Part:
        if size is None:
            return refused("how many elements it has isn't known")
        element = self.part(found.element)
        count = found.count or 0
        if not count or not size:
            return Part(same=True)
        if is_buffer(self._names, found):
            return _copied(size, words=True)
        nodes = repeated(element.nodes, count, size // count, size // count)
        return Part(nodes, (), tuple(note.under("[]") for note in element.refusals), same=True)

    def _record(self, found: Record) -> Part:
        if found.size is None:
            return refused(f"{found.name} is only declared")
        if not found.trivial and not found.name.startswith(_COPYABLE):
            return refused(not_copyable(found))
        if found.kind == "union" or not found.fields:
            return _copied(found.size, words=True)
        fixed, trailing = split_trailing(self._names, found)
        parts = [self.part(field.type).moved(field.offset, field.offset, field.name) for field in fixed]
        places = [node for part in parts for node in part.nodes if not _is_copy(node)]
        refusals = [note for part in parts for note in part.refusals]
        if any(part.trailing is not None for part in parts):
            refusals.append(Note("", ": a flexible array lies inside of another struct"))
        tail = Trailing(trailing[0], trailing[0], trailing[1], trailing[1]) if trailing is not None else None
        return Part(tuple(_filled(places, found.size)), (), tuple(refusals), same=True, trailing=tail)


def is_buffer(names: Names, found: Array) -> bool:
    """Tell whether an array is of plain bytes, which may hold anything, addresses too."""
    element = names.interface.strip(found.element)
    bytes_ = isinstance(element, Scalar) and element.kind == "uint" and element.size == 1
    return bytes_ and (found.count or 0) >= POINTER_SIZE


def not_copyable(record: Record) -> str:
    """Return why a C++ class isn't carried."""
    name = record.name or "its class"
    return (
        f"{name} isn't trivially copyable, so that copying its bytes isn't copying it; carry it by the hooks"
        " midflight_save and midflight_restore, or let it start fresh"
    )


def split_trailing(names: Names, record: Record) -> tuple[tuple[Field, ...], tuple[int, TypeId] | None]:
    """Return a record's fields without a flexible array at its end, and that array's offset and element."""
    if record.fields and record.kind == "struct":
        last = record.fields[-1]
        found = names.interface.strip(last.type)
        if isinstance(found, Array) and not found.count:
            return record.fields[:-1], (last.offset, found.element)
    return record.fields, None


def repeated(nodes: tuple[Node, ...], count: int, stride: int, to_stride: int) -> tuple[Node, ...]:
    """Return the steps for an array, by those for its element; one copy where nothing else is to be done."""
    if not nodes or not count:
        return ()
    only = nodes[0]
    if len(nodes) == 1 and isinstance(only, Op) and only.kind == Kind.COPY and only.size == stride == to_stride:
        return (Op(Kind.COPY, "[]", 0, 0, count * stride),)
    return (Loop(0, 0, count, stride, to_stride, tuple(node.moved(0, 0, "[]") for node in nodes)),)


def _copied(size: int, *, words: bool) -> Part:
    kind = Kind.WORDS if words and size >= POINTER_SIZE else Kind.COPY
    return Part((Op(kind, "", 0, 0, size),), same=True) if size else Part(same=True)


def may_hold_address(found: Unsupported) -> bool:
    """Tell whether a type that isn't understood may have pointers in it: a pointer to a member, not a long double."""
    return not any(word in found.reason for word in ("bits", "complex", "decimal", "number", "SIMD"))


def _is_copy(node: Node) -> bool:
    return isinstance(node, Op) and node.kind == Kind.COPY


def _filled(places: list[Node], size: int) -> Iterator[Node]:
    """Copy all that the steps don't see to themselves: numbers, bit-fields, padding."""
    at = 0
    for node in ordered(places):
        if node.start > at:
            yield Op(Kind.COPY, "", at, at, node.start - at)
        yield node
        at = max(at, node.start + _extent(node))
    if at < size:
        yield Op(Kind.COPY, "", at, at, size - at)


def _extent(node: Node) -> int:
    if isinstance(node, Loop):
        return node.count * node.stride
    return node.size if isinstance(node, Op) else 0
