"""Exported functions from debug information."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from midflight.artifact.dwarf.constants import At, Tag
from midflight.artifact.dwarf.names import RECORDS, declaration, dialect, is_library_namespace, origin, resolved_name
from midflight.artifact.elf import Symbol
from midflight.artifact.interface import Function, Param

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from midflight.artifact.dwarf.entries import Debug, Entry
    from midflight.artifact.dwarf.lines import FileNames
    from midflight.artifact.dwarf.types import TypeReader

_TEMPLATE_TAGS = frozenset({
    Tag.TEMPLATE_TYPE, Tag.TEMPLATE_VALUE, Tag.GNU_TEMPLATE_TEMPLATE, Tag.GNU_TEMPLATE_PACK,
})  # fmt: skip
_MOST_PARAMETERS = 1024


@dataclass(frozen=True, slots=True)
class _Found:
    entry: Entry
    exact: bool
    """Whether the entry itself says the symbol's name, rather than lying at its address only."""


class FunctionReader:
    """Collects the entries of exported functions, and reads those that a caller can name.

    Also those that the library only declares and that are ``undefined``: its needs.
    """

    def __init__(
        self, symbols: Iterable[Symbol], undefined: Container[str], types: TypeReader, files: FileNames
    ) -> None:
        self._types = types
        self._undefined = undefined
        self._declared: dict[str, Entry] = {}
        self._files = files
        self._symbols = {symbol.name: symbol for symbol in symbols if symbol.is_function}
        self._at: dict[int, list[Symbol]] = {}
        for symbol in self._symbols.values():
            self._at.setdefault(symbol.address, []).append(symbol)
        self._found: dict[str, _Found] = {}
        self._nowhere = array("Q")  # there are many, and few are ever asked for
        self._debug: Debug | None = None
        self._left_out: set[str] = set()

    def consider(self, entry: Entry) -> None:
        """Take a function's entry, if it is the definition of an exported function."""
        address = entry.address(At.LOW_PC)
        if address is None:
            self._nowhere.append(entry.offset)
            self._debug = entry.unit.debug
            return
        here = self._at.get(address)
        if here is None:
            return  # as most are: nobody can call them from outside
        names = {_linkage_name(entry), resolved_name(entry)}
        for found in here:
            exact = found.name in names
            known = self._found.get(found.name)
            if known is None or (exact and not known.exact):
                self._found[found.name] = _Found(entry, exact)

    def consider_declaration(self, entry: Entry) -> None:
        """Take a function's declaration, if the library calls it and doesn't have it."""
        name = _linkage_name(entry) or entry.name
        if entry.flag(At.EXTERNAL) and name in self._undefined:
            self._declared.setdefault(name, entry)

    def read(self) -> tuple[Function, ...]:
        """Return the functions in the order of their declaration, their names made unique."""
        self._take_by_name()
        ordered = sorted(self._found.items(), key=lambda item: self._order(item[1].entry))
        found = [self._function(self._symbols[symbol], one.entry) for symbol, one in ordered]
        return _named([item for item in found if item is not None])

    def read_needs(self) -> tuple[Function, ...]:
        """Return the functions that are called and aren't there, in the order of their declaration."""
        ordered = sorted(self._declared.items(), key=lambda item: self._order(item[1]))
        symbols = (Symbol(name, 0, 0, is_function=True, weak=False, thread_local=False) for name, _ in ordered)
        found = [self._function(symbol, entry) for symbol, (_, entry) in zip(symbols, ordered, strict=True)]
        return _named([item for item in found if item is not None])

    def _take_by_name(self) -> None:
        """Find functions that are split into a hot and a cold part, or folded with another one that does the same.

        No entry says where these are, but its name is the symbol's.
        """
        missing = {name for name, symbol in self._symbols.items() if not self._is_found(symbol)}
        if not missing or self._debug is None:
            return
        for offset in self._nowhere:
            entry = self._debug.entry(offset)
            name = _linkage_name(entry) or resolved_name(entry)
            if name in missing and origin(entry, At.EXTERNAL) is not None:
                missing.discard(name)
                self._found[name] = _Found(entry, exact=True)

    def _is_found(self, symbol: Symbol) -> bool:
        """Tell whether an entry says that it is this symbol's, or nobody would want it; see `_function`."""
        known = self._found.get(symbol.name)
        return (known is not None and known.exact) or (symbol.weak and symbol.name.startswith(("_Z", "_R")))

    def unknown(self) -> tuple[str, ...]:
        """Return the exported functions that no entry describes, sorted."""
        return tuple(sorted(name for name in self._symbols if name not in self._found and not name.startswith("_")))

    def _order(self, entry: Entry) -> tuple[int, int, int]:
        holder = origin(entry, At.DECL_LINE) or entry
        return entry.unit.offset, holder.number(At.DECL_FILE) or 0, holder.number(At.DECL_LINE) or 0

    def _function(self, symbol: Symbol, entry: Entry) -> tuple[Function, bool] | None:
        kind = dialect(entry.unit)
        mangled = symbol.name.startswith(("_Z", "_R")) and kind in {"c++", "rust"}
        if mangled and (kind == "rust" or symbol.weak):
            return None
        declared = declaration(entry)
        scopes = self._types.spelling.scopes(declared.unit)
        parents = scopes.parents(declared.offset)
        if mangled and (
            any(parent.tag in RECORDS or parent.tag == Tag.SUBPROGRAM for parent in parents)
            or (parents and is_library_namespace(kind, parents[0].name))
            or any(child.tag in _TEMPLATE_TAGS for child in declared.children())
        ):
            return None
        params, variadic = self._parameters(entry)
        holder = origin(entry, At.TYPE)
        name = resolved_name(entry) if mangled else symbol.name
        qualified = symbol.name
        if mangled:
            path = "::".join((*scopes.path(declared.offset), name))
            qualified = f"{path}({self._types.spelling.parameters(with_parameters(entry))})"
        function = Function(
            name=name,
            qualified=qualified,
            symbol=symbol.name,
            params=params,
            result=self._types.of(holder) if holder is not None else 0,
            variadic=variadic,
            declared_in=self._place(entry),
        )
        return function, not mangled

    def _place(self, entry: Entry) -> str:
        holder = origin(entry, At.DECL_LINE)
        return self._files.place(holder) if holder is not None else ""

    def _parameters(self, entry: Entry) -> tuple[tuple[Param, ...], bool]:
        params: list[Param] = []
        variadic = False
        for child in with_parameters(entry).children():
            if child.tag == Tag.FORMAL_PARAMETER and len(params) < _MOST_PARAMETERS:
                holder = origin(child, At.TYPE)
                params.append(Param(resolved_name(child), self._types.of(holder) if holder is not None else 0))
            elif child.tag == Tag.UNSPECIFIED_PARAMETERS:
                variadic = True
        return tuple(params), variadic


def with_parameters(entry: Entry) -> Entry:
    """Return the entry that has the function's parameters as the source declares them.

    An optimised function's own entry may list only those that are left; its abstract origin has all.
    """
    abstract = entry.target(At.ABSTRACT_ORIGIN)
    if abstract is not None:
        entry = abstract
    if not any(child.tag == Tag.FORMAL_PARAMETER for child in entry.children()):
        specified = entry.target(At.SPECIFICATION)
        if specified is not None:
            return specified
    return entry


def _linkage_name(entry: Entry) -> str:
    for attribute in (At.LINKAGE_NAME, At.MIPS_LINKAGE_NAME):
        holder = origin(entry, attribute)
        if holder is not None:
            return holder.text(attribute)
    return ""


def _named(found: list[tuple[Function, bool]]) -> tuple[Function, ...]:
    """Decide which functions get a plain name.

    A function with C linkage always has its own; a C++ function has it where no other function wants the same one.
    """
    linked = {function.name for function, is_c in found if is_c}
    wanted = Counter(function.name for function, is_c in found if not is_c)
    seen = Counter(function.qualified for function, _ in found)
    result = []
    for function, is_c in found:
        name, qualified = function.name, function.qualified
        if not name.isidentifier() or (not is_c and (wanted[name] > 1 or name in linked)):
            name = ""
        if seen[qualified] > 1:  # types that differ but are spelled alike
            qualified = f"{qualified} [{function.symbol}]"
        result.append(msgspec.structs.replace(function, name=name, qualified=qualified))
    return tuple(result)
