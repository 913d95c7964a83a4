"""What can be said about a move before anybody is held back: which variable is which, and what becomes of each type."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight._errors import StateError
from midflight._fork import Lock
from midflight.artifact.hooks import migrated
from midflight.artifact.interface import Array, Pointer, Record, Unsupported
from midflight.artifact.type_names import find_type
from midflight.moving.undescribed import gaps_of
from midflight.state import match, renames
from midflight.state.layout import Layouts
from midflight.state.shapes import ShapeTable
from midflight.state.symbols import Symbols, Translation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midflight._carry import Migrations
    from midflight._control import Generation
    from midflight.artifact.interface import Interface, TypeId, Variable
    from midflight.state.renames import Renames

_KEYWORDS = frozenset({"struct", "class", "union", "enum"})


@dataclass(slots=True)
class Planned:
    """A move from one artifact to another.  ``warnings``: for the report.

    Made before the gate closes, so that the pause doesn't have it in it.
    """

    old: Interface
    new: Interface
    layouts: Layouts
    matches: match.Matches
    types: dict[str, tuple[TypeId | None, TypeId | None]]
    """Of typed blocks, as they are spelled in the old version: their numbers in both."""
    shapes: ShapeTable
    """Of all that may move."""
    warnings: tuple[str, ...] = ()
    symbols: tuple[Symbols, Symbols] | None = None
    """Of both versions, where there may be addresses in the data."""
    translation: Translation | None = None
    _pointing: dict[TypeId, bool] = field(default_factory=dict)

    def may_hold_pointers(self, type_id: TypeId) -> bool:
        """Whether there may be pointers in a value of an old type."""
        if type_id not in self._pointing:
            self._pointing[type_id] = False  # a type that contains itself does so through a pointer
            self._pointing[type_id] = self._may_hold_pointers(type_id)
        return self._pointing[type_id]

    def _may_hold_pointers(self, type_id: TypeId) -> bool:
        match self.old.strip(type_id):
            case Pointer() | Unsupported():
                return True
            case Array(element):
                return self.may_hold_pointers(element)
            case Record() as record:
                return not record.trivial or any(self.may_hold_pointers(one.type) for one in record.fields)
        return False

    def tail_of(self, type_id: TypeId) -> TypeId | None:
        """Return the type of the elements of the flexible array that an old type ends in."""
        record = self.old.strip(type_id)
        last = self.old.strip(record.fields[-1].type) if isinstance(record, Record) and record.fields else None
        return last.element if isinstance(last, Array) and not last.count else None

    def renamed(self, spelled: str) -> str:
        """Return what a type is called in the new version."""
        return _renamed(self.layouts.renames, spelled)


def plan(
    old: Generation, new: Generation, migrations: Migrations, names: str | tuple[str, ...], types: Iterable[str]
) -> Planned:
    """Plan a move.

    ``migrations``: what the program has said; ``names``: the ``carry`` of the swap; ``types``: those of which there are
    typed blocks.  Raises `StateError` for a variable to carry that neither version has.
    """
    said = migrations.renames
    given, problems = renames.read(new.artifact.read())
    found = renames.resolve([*given, *said.items()], old.interface, new.interface)
    back = renames.resolve(_backwards(old, said), old.interface, new.interface)
    both = renames.Renames(back.fields | found.fields, back.types | found.types, back.variables | found.variables)
    matches = match.match(old.interface, new.interface, both)
    _check_names(names, matches)
    before, after, pairs = _with_types(old.interface, new.interface, both, types)
    layouts = Layouts(before, after, both, {*migrations.functions, *migrated(new.interface)})
    planned = Planned(before, after, layouts, matches, pairs, ShapeTable(layouts), (*problems, *found.warnings))
    _work_out(planned)
    gaps_of(old)  # remembered for the move, which has no time to read files
    has_guards = old.interface.language == "c++" and any(is_data(one) for one in old.interface.variables)
    if planned.shapes.have_addresses or has_guards:  # see Symbols.guard
        planned.symbols = _symbols(old), _symbols(new)
        planned.translation = Translation(*planned.symbols, layouts, matches)
    return planned


def _work_out(planned: Planned) -> None:
    """Find out about all types that may move what would be found out while callers wait."""
    layouts, shapes = planned.layouts, planned.shapes
    for one, other in planned.matches.pairs:
        if is_data(one) and is_data(other) and not layouts.migration(one.type, other.type).obstacles:
            shapes.number(one.type)
    for before, after in planned.types.values():
        if before is not None and after is not None:
            layouts.migration(before, after, block=True)
        for type_id in (before, planned.tail_of(before)) if before is not None else ():
            if type_id is not None:
                shapes.number(type_id)
    shapes.build()


_known: OrderedDict[str, Symbols] = OrderedDict()
_mutex = Lock()  # protects _known
_REMEMBERED = 8


def _symbols(generation: Generation) -> Symbols:
    """Return what lies where in a version; the new one of this swap is the old one of the next."""
    sha256 = generation.artifact.sha256
    with _mutex:
        found = _known.get(sha256)
    if found is None:
        found = Symbols(generation.artifact.read(), generation.interface)
        with _mutex:
            _known[sha256] = found
            while len(_known) > _REMEMBERED:
                _known.popitem(last=False)
    return found


def _backwards(old: Generation, said: Mapping[str, str]) -> list[tuple[str, str]]:
    """On the way back what was renamed has its old name again."""
    given, _ = renames.read(old.artifact.read())
    return renames.reversed_pairs([*given, *said.items()])


def _with_types(
    old: Interface, new: Interface, said: Renames, types: Iterable[str]
) -> tuple[Interface, Interface, dict[str, tuple[TypeId | None, TypeId | None]]]:
    """Find the types of blocks; those that no declaration has (``double **``) are added."""
    pairs: dict[str, tuple[TypeId | None, TypeId | None]] = {}
    for spelled in types:
        before = find_type(old, spelled)
        after = find_type(new, _renamed(said, spelled))
        old = before.interface if before is not None else old
        new = after.interface if after is not None else new
        pairs[spelled] = (
            before.type_id if before is not None else None,
            after.type_id if after is not None else None,
        )
    return old, new, pairs


def _renamed(said: Renames, spelled: str) -> str:
    """Return a declaration's words with the type's new name."""
    words = spelled.replace("*", " * ").split()
    plain = " ".join(word for word in words if word != "*" and word not in _KEYWORDS)
    now = said.type_of(plain)
    if now == plain:
        return spelled
    keyword = next((f"{word} " for word in words if word in _KEYWORDS), "")
    return f"{keyword}{now}{' *' * words.count('*')}"


def is_data(variable: Variable) -> bool:
    """Whether a variable is memory that can change and that every thread shares."""
    return not variable.const and not variable.thread_local and variable.address is not None


def called(variable: Variable, names: Iterable[str]) -> bool:
    """Whether a variable is among those that a user has named."""
    return any(name in {variable.name, variable.key} for name in names)


def _check_names(names: str | tuple[str, ...], matches: match.Matches) -> None:
    known = [one for pair in matches.pairs for one in pair] + [*matches.gone, *matches.added]
    for name in () if isinstance(names, str) else names:
        if not any(called(one, (name,)) for one in known):
            what = f"carry= names {name!r}, which no version has as a variable"
            raise StateError(what, refusals=(f"{name}: there is no such variable",), todo="correct the name")
