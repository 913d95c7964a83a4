"""What would become of a version's data in another one, told before anything runs.

A row for each variable and for each struct, union and enum: what a swap would do with it if the program had changed it.
Which ones it has changed only the running program knows; what it left as it was takes the new version's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight._version import Carried
from midflight.artifact.hooks import migrated
from midflight.artifact.interface import Record
from midflight.state import renames
from midflight.state.layout import Layouts
from midflight.state.match import match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midflight.artifact.interface import Interface, TypeId, Variable
    from midflight.state.layout import Migration
    from midflight.state.match import Matches

_SHOWN = 8
_LIBRARY = ("std::", "__gnu_cxx::", "struct __", "struct _IO", "union __")
"""How the names of the system's own types begin."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """``variables`` and ``types``: what becomes of each; ``warnings``: renames that name nothing."""

    variables: tuple[Carried, ...]
    types: tuple[Carried, ...]
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[Carried, ...]:
        """The variables that couldn't be moved."""
        return tuple(row for row in self.variables if row.what == "refused")


def forecast(old: Interface, new: Interface, data: bytes, pairs: Iterable[tuple[str, str]] = ()) -> Forecast:
    """Return what would become of everything; ``data``: the new library's bytes, for the renames in its source."""
    own, warnings = renames.read(data)
    found = renames.resolve([*own, *pairs], old, new)
    layouts = Layouts(old, new, found, migrated(new))
    matches = match(old, new, found)
    return Forecast(tuple(_variables(layouts, matches)), tuple(_types(layouts)), (*warnings, *found.warnings))


def _variables(layouts: Layouts, matches: Matches) -> Iterator[Carried]:
    for old, new in matches.pairs:
        if not old.const and _exists(old):
            yield _pair(layouts, old, new)
    for old in matches.gone:
        if not old.const and _exists(old):
            yield missing(old)
    for new in matches.added:
        if not new.const and new.address is not None:
            yield Carried(new.name, "initialised", "it is new")


def _exists(variable: Variable) -> bool:
    return variable.address is not None or variable.thread_local or variable.split


def _pair(layouts: Layouts, old: Variable, new: Variable) -> Carried:
    return immovable(old, new) or told(old.name, layouts.migration(old.type, new.type))


def immovable(old: Variable, new: Variable) -> Carried | None:
    """Say why a variable can't be carried whatever its type is; None if it can."""
    if old.thread_local or new.thread_local:
        return Carried(old.name, "left", "every thread has its own (thread_local)")
    if old.split:
        return Carried(old.name, "left", "the compiler has split it up, and parts of it are nowhere")
    if old.address is None:
        return Carried(old.name, "initialised", "the compiler has optimised it away")
    if new.const:
        return Carried(old.name, "dropped", "it is a constant now")
    if new.address is None:
        return Carried(old.name, "dropped", "the new version's compiler has optimised it away")
    return None


def missing(old: Variable) -> Carried:
    """Say what becomes of a variable that the new version hasn't got."""
    return Carried(old.name, "dropped", "the new version has no such variable")


def told(name: str, migration: Migration) -> Carried:
    """Return what a migration does to something, in words."""
    if migration.obstacles:
        return Carried(name, "refused", "; ".join(migration.refused(name)))
    changes = migration.changes
    rest = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    how = "; ".join(changes[:_SHOWN]) + rest
    return Carried(name, "carried" if migration.same_bytes else "migrated", how)


def _types(layouts: Layouts) -> Iterator[Carried]:
    """Go through the records that the old version defines, by name; the first of each name counts."""
    after: dict[str, TypeId] = {}
    for type_id, name in _records(layouts.new.interface):
        after.setdefault(renames.bare(name), type_id)
    done: set[str] = set()
    for type_id, name in _records(layouts.old.interface):
        if name in done or name.startswith(_LIBRARY):
            continue
        done.add(name)
        other = after.get(layouts.renames.type_of(name))
        if other is None:
            yield Carried(name, "dropped", "the new version has no such type")
        else:
            yield told(name, layouts.migration(type_id, other, block=True))


def _records(interface: Interface) -> Iterator[tuple[TypeId, str]]:
    for type_id, found in enumerate(interface.types):
        if isinstance(found, Record) and found.name and found.size is not None:
            yield type_id, found.name
