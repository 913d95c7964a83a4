"""What a library's symbols would be bound to: the program that loads it, and the libraries that it needs."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from midflight._errors import MidflightError
from midflight.artifact import dynamic
from midflight.inspection import search
from midflight.inspection.model import Needed, Undefined, VersionNeeded, readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midflight.artifact.dynamic import Dynamic
    from midflight.artifact.interface import Interface

_WEAK = 2
_MOST_LIBRARIES = 1024
_HOST = "the program"
_OWN = {"midflight_module": "midflight"}
"""What midflight itself gives to a library; see native/module.h."""


@dataclass
class Scope:
    """A library's needs, and what was found of them, in the loader's order.

    ``program``: which of the wanted symbols the running program offers, and each library it was linked to.
    """

    library: Dynamic
    origin: Path
    program: dict[str, frozenset[bytes]]
    symbols: list[dynamic.DynamicSymbol]
    needed: list[Needed] = field(default_factory=list)
    found: dict[str, Dynamic] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)

    @property
    def missing(self) -> list[Needed]:
        """The libraries that weren't found."""
        return [one for one in self.needed if one.path is None]

    @cached_property
    def undefined(self) -> list[tuple[dynamic.DynamicSymbol, str | None]]:
        """Each symbol that the library doesn't have, and who has it."""
        who: dict[bytes, str] = {}
        for name, offered in (*self.program.items(), *((name, one.offered) for name, one in self.found.items())):
            for symbol in offered:
                who.setdefault(symbol, name)
        return [(one, who.get(_bytes(one)) or _OWN.get(one.name)) for one in self.symbols]

    def unresolved(self) -> list[dynamic.DynamicSymbol]:
        """Return the symbols without which it can't be loaded, and that nobody has."""
        return [one for one, found_in in self.undefined if found_in is None and one.binding != _WEAK]

    def versions(self) -> list[tuple[dynamic.Wanted, bool | None]]:
        """Return each version that the library wants, and whether it is there (None: its library isn't)."""
        return [
            (one, one.version in self.found[one.library].versions if one.library in self.found else None)
            for one in self.library.wanted
        ]


def look_around(library: Dynamic, origin: Path) -> Scope:
    """Find all libraries that one needs, and those that these need; and who of all has its symbols."""
    symbols = [one for one in library.symbols if not one.defined and one.binding and one.name]
    wanted = frozenset(_bytes(one) for one in symbols)
    scope = Scope(library, origin, program_offers(wanted), symbols)
    _follow(scope, wanted)
    return scope


def _follow(scope: Scope, wanted: frozenset[bytes]) -> None:
    library, origin = scope.library, scope.origin
    seen = {library.soname} if library.soname else set()
    queue = deque([("", search.Searcher(origin, library))])
    while queue:
        by, searcher = queue.popleft()
        for name in searcher.library.needed:
            if name in seen or len(seen) > _MOST_LIBRARIES:
                continue
            seen.add(name)
            found = search.find(name, searcher, library.machine, wanted)
            scope.needed.append(
                Needed(name, readable(str(found.path)) if found else None, found.how if found else "", by)
            )
            if found is not None:
                scope.found[name] = found.library
                scope.paths[name] = found.path
                queue.append((name, search.Searcher(found.path.parent, found.library, searcher.paths())))


def tell_undefined(scope: Scope, interface: Interface | None) -> tuple[Undefined, ...]:
    """Return the undefined symbols as they are told."""
    declared = {need.symbol: interface.describe(need) for need in interface.needs} if interface is not None else {}
    return tuple(
        Undefined(one.name, one.version, one.binding == _WEAK, found_in, declared.get(one.name, ""))
        for one, found_in in scope.undefined
    )


def tell_versions(scope: Scope) -> tuple[VersionNeeded, ...]:
    """Return the newest wanted version of each kind, and of what is missing each."""
    newest: dict[tuple[str, str], VersionNeeded] = {}
    missing: list[VersionNeeded] = []
    for wanted, there in scope.versions():
        kind = wanted.version.rpartition("_")[0]
        here = _newest(scope.found[wanted.library].versions, kind) if wanted.library in scope.found else None
        row = VersionNeeded(wanted.library, wanted.version, here, there is True)
        if there is False:
            missing.append(row)
        known = newest.get((wanted.library, kind))
        if known is None or _order(known.wanted) < _order(row.wanted):
            newest[wanted.library, kind] = row
    return tuple(dict.fromkeys([*newest.values(), *missing]))


def _newest(versions: Iterable[str], kind: str) -> str | None:
    return max((one for one in versions if one.rpartition("_")[0] == kind), key=_order, default=None)


def _order(version: str) -> tuple[int, ...]:
    numbers = version.rpartition("_")[2].split(".")
    return tuple(int(number) for number in numbers) if all(map(str.isdecimal, numbers)) else ()


def _bytes(symbol: dynamic.DynamicSymbol) -> bytes:
    return symbol.name.encode("utf-8", "surrogateescape")


def program_offers(wanted: frozenset[bytes]) -> dict[str, frozenset[bytes]]:
    """Return which symbols the running program offers to every library: its own, and those of what it is linked to."""
    program = Path(os.path.realpath("/proc/self/exe"))
    try:
        library = dynamic.read_file(program, wanted)
    except (OSError, MidflightError):
        return {}
    around = Scope(library, program.parent, {}, [])
    _follow(around, wanted)
    return {_HOST: library.offered} | {name: one.offered for name, one in around.found.items()}
