"""Which variables move, and which don't and why.

The three-way rule: what the program has changed is carried; what still has its initial value takes the new version's.
A variable that points to memory which the library has allocated counts as changed, whatever its value, unless that
memory is seen to be as it was at first: a table that a constructor has made, and nobody has touched.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight._version import Carried
from midflight.artifact.layout import size_of
from midflight.moving.planned import called, is_data
from midflight.state.forecast import immovable, missing
from midflight.state.match import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._lane import Data, Stretch
    from midflight.artifact.interface import TypeId, Variable
    from midflight.moving.planned import Planned
    from midflight.state.layout import Migration

_HOOKS = "its hooks midflight_save and midflight_restore see to it"
_FRESH = "carry='fresh'"
_NOT_NAMED = "carry= doesn't name it"
_UNTOUCHED = "nobody had changed it"
_AS_IT_WAS = 0
_MOST_SEARCHED = 1 << 20
"""Bytes of a variable that are searched for pointers; a larger one is taken to have some."""


@dataclass(slots=True)
class Moving:
    """A variable on its way.

    ``type``: its old type; ``places``: its link-time addresses in both versions; ``source``, ``target``: its memory.
    """

    name: str
    key: str
    places: tuple[int, int]
    type: TypeId
    migration: Migration
    source: Stretch
    target: Stretch


@dataclass(slots=True)
class Choice:
    """What was decided.  ``rows`` are of those that don't move; ``refusals`` say why some can't, a line each."""

    moving: list[Moving]
    rows: list[Carried]
    refusals: list[str]


@dataclass(slots=True)
class Rules:
    """What was asked for.

    ``carry``: a word, or names; ``touched``: keys of variables that were carried before; ``by_hooks``: the versions
    have hooks that save and restore what can't be moved.
    """

    carry: str | tuple[str, ...]
    touched: frozenset[str]
    by_hooks: bool


class Chooser:
    """Decides about every variable of one move."""

    def __init__(self, planned: Planned, old: Data, new: Data, rules: Rules, owned: Callable[[int], bool]) -> None:
        """``owned``: whether an address of the old version's is in memory that the library has allocated."""
        self._planned = planned
        self._old = old
        self._new = new
        self._rules = rules
        self._owned = owned
        self._choice = Choice([], [], [])

    def choose(self) -> Choice:
        """Decide."""
        matches = self._planned.matches
        places = [(one.address or 0, self._size(one)) for one, _ in matches.pairs] + [
            (one.address or 0, self._size(one)) for one in matches.gone
        ]
        changed = iter(self._old.changed(places))
        for before, after in matches.pairs:
            self._pair(before, after, changed=next(changed))
        for before in matches.gone:
            self._gone(before, changed=next(changed))
        for after in matches.added:
            if is_data(after):
                self._say(after, "initialised", "it is new")
        return self._choice

    def _size(self, variable: Variable) -> int:
        return size_of(self._planned.old.types, variable.type) or 0 if is_data(variable) else 0

    def _pair(self, before: Variable, after: Variable, *, changed: bool) -> None:
        obstacle = immovable(before, after)
        if before.const:
            return
        if not is_data(before):
            self._lose(obstacle)
        elif self._rules.carry == "fresh":
            self._say(before, "initialised", _FRESH)
        elif not isinstance(self._rules.carry, str) and not called(before, self._rules.carry):
            self._say(before, "initialised", _NOT_NAMED)
        elif not self._lives(before, changed=changed):
            self._say(before, "initialised", _UNTOUCHED)
        elif obstacle is not None:
            self._lose(obstacle)
        else:
            self._move(before, after)

    def _gone(self, before: Variable, *, changed: bool) -> None:
        elsewhere = (before.thread_local or before.split) and not before.const
        if elsewhere or (is_data(before) and self._lives(before, changed=changed)):
            self._lose(missing(before))

    def _lose(self, row: Carried | None) -> None:
        """Note what doesn't go on; with ``carry="require"`` that refuses the move."""
        if row is None:
            return
        if self._rules.carry == "require" and row.what != "initialised":
            self._choice.refusals.append(f"{row.name}: {row.how}, and carry='require' was asked for")
            row = Carried(row.name, "refused", row.how)
        self._choice.rows.append(row)

    def _move(self, before: Variable, after: Variable) -> None:
        migration = self._planned.layouts.migration(before.type, after.type)
        if migration.obstacles and self._rules.by_hooks:
            self._say(before, "left", _HOOKS)
        elif migration.obstacles:
            self._choice.refusals += migration.refused(before.name)
            self._say(before, "refused", "; ".join(migration.refusals))
        else:
            places = before.address or 0, after.address or 0
            source = self._old.stretch(places[0], migration.from_size)
            target = self._new.stretch(places[1], migration.to_size)
            self._choice.moving.append(
                Moving(before.name, key_of(after), places, before.type, migration, source, target)
            )

    def _lives(self, variable: Variable, *, changed: bool) -> bool:
        """Whether a variable has data of the program's in it."""
        return changed or key_of(variable) in self._rules.touched or self._points_to_own(variable)

    def _points_to_own(self, variable: Variable) -> bool:
        size = self._size(variable)
        if not self._planned.may_hold_pointers(variable.type):
            return False
        if size > _MOST_SEARCHED:
            return True
        stretch = self._old.stretch(variable.address or 0, size)
        words = ctypes.string_at(stretch.here, size // 8 * 8)
        own = [word for (word,) in struct.iter_unpack("=Q", words) if word and self._owned(word)]
        return any(state != _AS_IT_WAS for state in self._old.attached(own))

    def _say(self, variable: Variable, what: str, how: str) -> None:
        self._choice.rows.append(Carried(variable.name, what, how))  # type: ignore[arg-type]
