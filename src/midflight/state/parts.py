"""What becomes of one type's bytes: the steps, and what people should know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from midflight.state.ops import joined, weight

if TYPE_CHECKING:
    from midflight.artifact.interface import TypeId
    from midflight.state.ops import Node

_MOST_STEPS = 1 << 16
_MOST_NOTES = 1000


@dataclass(frozen=True, slots=True)
class Note:
    """A change or a refusal: what it is about, and what is said of it (`` is new``, ``: int is long now``)."""

    path: str
    text: str

    def under(self, path: str) -> Note:
        """Return the same, told of a member."""
        return Note(joined(path, self.path), self.text)

    def __str__(self) -> str:
        return f"{self.path}{self.text}" if self.path else self.text.lstrip(": ")


@dataclass(frozen=True, slots=True)
class Trailing:
    """The elements behind a record: where they begin in both layouts, and their types."""

    start: int
    to: int
    old: TypeId
    new: TypeId


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of a type's bytes.

    ``same``: each byte stays where it is, so that a plain copy would do (pointers aside).
    """

    nodes: tuple[Node, ...] = ()
    changes: tuple[Note, ...] = ()
    refusals: tuple[Note, ...] = ()
    same: bool = False
    trailing: Trailing | None = None

    def moved(self, start: int, to: int, path: str) -> Part:
        """Return what becomes of a member of the type at these offsets."""
        return Part(
            tuple(node.moved(start, to, path) for node in self.nodes),
            tuple(note.under(path) for note in self.changes),
            tuple(note.under(path) for note in self.refusals),
            self.same and start == to,
            self.trailing,
        )


def bounded(part: Part) -> Part:
    """Return the part, or a refusal where a type has more parts than anybody wrote by hand."""
    if weight(part.nodes) > _MOST_STEPS:
        return refused("it has too many parts")
    return replace(part, changes=part.changes[:_MOST_NOTES], refusals=part.refusals[:_MOST_NOTES])


def refused(text: str, path: str = "") -> Part:
    """Return the part of what can't be moved; ``path``: the member that it is about."""
    return Part(refusals=(Note(path, f": {text}"),))
