"""What would become of a version's data in another one, told before anything runs.

A row for each variable and for each struct and union: what a swap would do with it if the program had changed it.
Which ones it has changed only the running program knows; what it left as it was takes the new version's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight._version import Carried
from midflight.artifact.compare_layouts import LIBRARY, named_records
from midflight.artifact.elf import Elf
from midflight.artifact.hooks import migrated
from midflight.state import renames
from midflight.state.layout import Layouts
from midflight.state.match import match
from midflight.state.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midflight.artifact.interface import Interface, TypeId, Variable
    from midflight.state.layout import Migration
    from midflight.state.match import Matches

_SHOWN = 8
_MODULE = "midflight_module"
"""What a library that makes typed blocks refers to (midflight.h)."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """``variables`` and ``types``: what becomes of each; ``warnings``: renames that name nothing.

    ``blocks``: the types of which the old version makes typed blocks.
    """

    variables: tuple[Carried, ...]
    types: tuple[Carried, ...]
    warnings: tuple[str, ...] = ()
    blocks: frozenset[str] = frozenset()

    def refuses(self, row: Carried) -> bool:
        """Whether a swap would be refused for a row: one of a type counts where there may be blocks of it."""
        return row.what == "refused" and (row in self.variables or row.name in self.blocks)

    @property
    def refused(self) -> tuple[Carried, ...]:
        """What couldn't be moved."""
        return tuple(row for row in (*self.variables, *self.types) if self.refuses(row))


def forecast(
    old: Interface, new: Interface, old_data: bytes, new_data: bytes, pairs: Iterable[tuple[str, str]] = ()
) -> Forecast:
    """Return what would become of everything; the new library's bytes have the renames in its source."""
    own, warnings = renames.read(new_data)
    found = renames.resolve([*own, *pairs], old, new)
    layouts = Layouts(old, new, found, migrated(new))
    matches = match(old, new, found)
    types = tuple(_types(layouts))
    blocks = frozenset(_made(old_data, [row.name for row in types if row.what == "refused"]))
    return Forecast(tuple(_variables(layouts, matches)), types, (*warnings, *found.warnings), blocks)


def _made(data: bytes, names: list[str]) -> Iterator[str]:
    """Return of which types a library makes typed blocks: MF_NEW puts their names into its texts."""
    elf = Elf(data)
    if names and _MODULE in elf.undefined:
        texts = Texts(elf)
        yield from (name for name in names if _has(texts, name) or _has(texts, renames.bare(name)))


def _has(texts: Texts, name: str) -> bool:
    return texts.find(name.encode()) is not None


def of_itself(interface: Interface) -> Iterator[tuple[Variable, Carried]]:
    """Return each variable that isn't constant, and what becomes of it in a version that has the same types."""
    layouts = Layouts(interface, interface, migrated=migrated(interface))
    for variable in interface.variables:
        if not variable.const and _exists(variable):
            yield variable, _pair(layouts, variable, variable)


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
    for name, type_id, _ in named_records(layouts.new.interface):
        after.setdefault(renames.bare(name), type_id)
    done: set[str] = set()
    for name, type_id, _ in named_records(layouts.old.interface):
        if name in done or name.startswith(LIBRARY):
            continue
        done.add(name)
        other = after.get(layouts.renames.type_of(name))
        if other is None:
            yield Carried(name, "dropped", "the new version has no such type")
        else:
            yield told(name, layouts.migration(type_id, other, block=True))
