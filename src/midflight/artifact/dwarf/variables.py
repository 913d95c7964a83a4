"""Global and static variables from debug information."""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight.artifact.dwarf.constants import At, Tag
from midflight.artifact.dwarf.locations import is_split, static_location
from midflight.artifact.dwarf.names import (
    RECORDS,
    declaration,
    dialect,
    is_library_namespace,
    origin,
    resolved_name,
)
from midflight.artifact.interface import Variable
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from midflight.artifact.dwarf.entries import Entry
    from midflight.artifact.dwarf.types import TypeReader
    from midflight.artifact.elf import Elf
    from midflight.artifact.interface import TypeId

_ARTEFACTS = frozenset({
    "__func__", "__FUNCTION__", "__PRETTY_FUNCTION__", "__dso_handle", "__ioinit", "_IO_stdin_used",
    "__rustc_debug_gdb_scripts_section__", "__data_start", "__bss_start", "_vtable$",
})  # fmt: skip


@dataclass(slots=True)
class _Found:
    plain: str
    scope: str
    scoped: str
    fuller: str
    unit: str
    key: str
    order: tuple[int, int]
    type: TypeId
    address: int | None
    const: bool
    exported: bool
    thread_local: bool
    split: bool


class VariableReader:
    """Collects the entries of variables that live as long as the library does."""

    def __init__(self, elf: Elf, types: TypeReader) -> None:
        self._elf = elf
        self._types = types
        self._exports = {symbol.address: name for name, symbol in elf.exports.items() if not symbol.is_function}
        self._found: list[_Found] = []
        self._addresses: set[int] = set()
        self._without_place: dict[int, _Found] = {}
        self._placed: set[int] = set()

    def consider(self, entry: Entry, function: str = "", overload: str = "") -> None:
        """Take a variable's entry; ``function`` names the function that it is local to, ``overload`` which of them."""
        if entry.flag(At.DECLARATION):
            return
        name = resolved_name(entry)
        if not name or name in _ARTEFACTS or self._is_artificial(entry, name):
            return
        location, split = static_location(entry), is_split(entry)
        if (
            location is None
            and not split
            and (function or At.LOCATION in entry.values or At.CONST_VALUE in entry.values)
        ):
            return
        declared = declaration(entry)
        if declared.offset in self._placed:
            return
        address, thread_local = location or (None, False)
        if location is not None and not thread_local and not address:
            return  # the linker dropped its section
        if address is not None and address in self._addresses:
            return
        found = self._variable(entry, declared, name, function, overload, address, thread_local=thread_local)
        if found is None:
            return
        if location is None:
            self._without_place.setdefault(declared.offset, found)
            return
        self._placed.add(declared.offset)
        if address is not None:
            self._addresses.add(address)
        self._found.append(found)

    def read(self) -> tuple[Variable, ...]:
        """Return the variables, their names made unique."""
        unplaced = [found for offset, found in self._without_place.items() if offset not in self._placed]
        return _named(self._found + unplaced)

    def _is_artificial(self, entry: Entry, name: str) -> bool:
        if entry.flag(At.ARTIFICIAL):
            return True
        kind = dialect(entry.unit)
        return kind == "rust" and (name.endswith("{vtable}") or name.startswith("<"))

    def _variable(
        self,
        entry: Entry,
        declared: Entry,
        name: str,
        function: str,
        overload: str,
        address: int | None,
        *,
        thread_local: bool,
    ) -> _Found | None:
        holder = origin(entry, At.TYPE)
        if holder is None:
            return None
        scopes = self._types.spelling.scopes(declared.unit)
        parents = scopes.parents(declared.offset)
        if parents and is_library_namespace(dialect(entry.unit), parents[0].name):
            return None
        const = self._types.is_const(holder.reference(At.TYPE))
        if address is None and const and not thread_local:
            return None  # a constant without storage
        type_id = self._types.of(holder)
        if address is not None and not self._elf.is_mapped(address, size_of(self._types.table.types, type_id) or 0):
            address = None
        line = origin(entry, At.DECL_LINE)
        file = posixpath.basename(entry.unit.top.name.split("/@/", 1)[0])
        path = () if function else scopes.path(declared.offset)
        inside = [function] if function else list(path)
        exported = address is not None and address in self._exports
        if thread_local:
            exported = entry.flag(At.EXTERNAL) or declared.flag(At.EXTERNAL)
            exported = exported and name in self._elf.exports
        scoped = f"{function}.{name}" if function else "::".join((*inside, name)) if inside else f"{file}:{name}"
        return _Found(
            plain=name,
            scope="" if exported and not function else function or _class_of(parents, path) or file,
            scoped=scoped,
            fuller=f"{entry.unit.top.name}:{'::'.join((*inside, name))}",
            unit="" if _is_shared(entry, declared, exported=exported) else entry.unit.top.name.split("/@/", 1)[0],
            key=f"{function}{overload}.{name}" if function else "::".join((*inside, name)),
            order=(line.number(At.DECL_LINE) or 0 if line is not None else 0, entry.offset),
            type=type_id,
            address=address,
            const=const,
            exported=exported,
            thread_local=thread_local,
            split=is_split(entry),
        )


def _class_of(parents: tuple[Entry, ...], path: tuple[str, ...]) -> str:
    return "::".join(path) if parents and parents[-1].tag in RECORDS | {Tag.SUBPROGRAM} else ""


def _is_shared(entry: Entry, declared: Entry, *, exported: bool) -> bool:
    """Tell whether a variable's name means the same one in every file of the program."""
    if exported or entry.flag(At.EXTERNAL) or declared.flag(At.EXTERNAL):
        return True
    return dialect(entry.unit) == "rust"  # its path begins with the crate's name


def _keys(found: list[_Found]) -> list[str]:
    """Return each variable's key: of the file as much of the path as keeps two files of one name apart.

    Variables of inner blocks may still share one; these are numbered in the order of their declaration.
    """
    units: dict[str, dict[str, None]] = {}
    for one in found:
        units.setdefault(one.key, {})[one.unit] = None
    files = {key: _short_names([unit for unit in held if unit]) for key, held in units.items()}
    keys = [f"{files[one.key][one.unit]}:{one.key}" if one.unit else one.key for one in found]
    seen: Counter[str] = Counter()
    for index in sorted(range(len(found)), key=lambda index: found[index].order):
        key = keys[index]
        seen[key] += 1
        if seen[key] > 1:
            keys[index] = f"{key}#{seen[key]}"
    return keys


def _short_names(paths: list[str]) -> dict[str, str]:
    """Return for each path its last parts, as many as tell it from the others."""
    parts = {path: path.split("/") for path in paths}
    longest = max((len(names) for names in parts.values()), default=1)
    result: dict[str, str] = {}
    for length in range(1, longest + 1):
        short = {path: "/".join(names[-length:]) for path, names in parts.items()}
        count = Counter(short.values())
        for path, name in short.items():
            if path not in result and (count[name] == 1 or length == longest):
                result[path] = name
    return result


def _named(found: list[_Found]) -> tuple[Variable, ...]:
    """Give each variable a name of its own: the plain one, else with its scope, else with its whole file name.

    Where an exported variable and private ones share a plain name, the exported one has it.
    """
    plain = Counter(one.plain for one in found)
    exported = Counter(one.plain for one in found if one.exported)
    scoped = Counter(one.scoped for one in found)
    used: set[str] = set()
    result = []
    for one, key in zip(found, _keys(found), strict=True):
        name = one.plain
        if plain[name] > 1 and not (one.exported and exported[name] == 1):
            name = one.scoped if scoped[one.scoped] == 1 else one.fuller
        candidate, number = name, 1
        while candidate in used:
            number += 1
            candidate = f"{name}#{number}"
        used.add(candidate)
        result.append(
            Variable(
                name=candidate,
                type=one.type,
                address=one.address,
                const=one.const,
                exported=one.exported,
                thread_local=one.thread_local,
                scope=one.scope,
                key=key,
                split=one.split,
            )
        )
    return tuple(result)
