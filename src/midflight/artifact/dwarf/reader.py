"""The interface of a shared object, from its debug information (DWARF 2 to 5).

Reads the units of the user's own code, and of these only the scopes that hold functions and variables; everything else
is stepped over.  A type is read when a function or a variable refers to it.

Guarantees: bytes of any kind either give an `Interface` or raise `BadLibraryError` or `InterfaceError`; work and memory
are bounded by the size of the debug information.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from midflight._errors import BadLibraryError, InterfaceError
from midflight.artifact.dwarf.constants import At, Tag
from midflight.artifact.dwarf.entries import Debug, Entry, Unit, tag_set
from midflight.artifact.dwarf.forms import DwarfError
from midflight.artifact.dwarf.functions import FunctionReader, with_parameters
from midflight.artifact.dwarf.lines import FileNames
from midflight.artifact.dwarf.names import (
    RECORDS,
    Scopes,
    Spelling,
    declaration,
    dialect,
    is_library_namespace,
    is_runtime,
    resolved_name,
)
from midflight.artifact.dwarf.types import TypeReader
from midflight.artifact.dwarf.variables import VariableReader
from midflight.artifact.elf import Elf
from midflight.artifact.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 64
_ADVICE = "build it with -g, or say what it offers by interface="
_SYSTEM_FILES = ("/usr/", "<")
_NAMED_TYPES = RECORDS | {Tag.ENUMERATION}
_NAMED_OR_SCOPES = tag_set(_NAMED_TYPES | {Tag.NAMESPACE})
_WALKED = tag_set(RECORDS | {Tag.SUBPROGRAM, Tag.VARIABLE, Tag.NAMESPACE, Tag.MODULE})
_DAMAGE = (DwarfError, struct.error, IndexError, ValueError, KeyError, OverflowError, RecursionError, MemoryError)


def read(data: bytes) -> Interface:
    """Read a shared object's interface.

    Raises `BadLibraryError` where the bytes are no library, `InterfaceError` where the library says nothing about its
    functions.
    """
    elf = Elf(data)
    if not elf.holds(".debug_info"):
        what = "the library has no debug information, so that its functions' types aren't known"
        raise InterfaceError(what, todo=_ADVICE)
    try:
        return _Reader(elf).read()
    except BadLibraryError:
        raise  # the file itself is damaged: a section lies outside it, or can't be decompressed
    except _DAMAGE as error:
        what = f"the library's debug information can't be read ({error or type(error).__name__})"
        raise InterfaceError(what, todo=_ADVICE) from error


class _Reader:
    def __init__(self, elf: Elf) -> None:
        self._debug = Debug(elf)
        self._scopes: dict[int, Scopes] = {}
        self._units = [unit for unit in self._debug.units if unit.kind == 1 and not is_runtime(unit)]
        self._definitions: dict[str, Entry] | None = None
        self._undefined = elf.undefined
        self._needs_variables: set[str] = set()
        files = FileNames()
        self._types = TypeReader(self._debug, Spelling(self._scopes), self._definition)
        self._functions = FunctionReader(elf.exports.values(), elf.undefined, self._types, files)
        self._variables = VariableReader(elf, self._types)
        self._files = files

    def read(self) -> Interface:
        self._refuse_split()
        for unit in self._units:
            self._walk(unit, unit.top, 0)
        functions = self._functions.read()
        needs = self._functions.read_needs()
        variables = self._variables.read()
        self._read_own_types()
        return Interface(
            types=self._types.finish(),
            functions=functions,
            variables=variables,
            origin="dwarf",
            language=next((kind for unit in self._units if (kind := dialect(unit))), ""),
            unknown=self._functions.unknown(),
            needs=needs,
            needs_variables=tuple(sorted(self._needs_variables)),
        )

    def _refuse_split(self) -> None:
        for unit in self._debug.units:
            if At.DWO_NAME in unit.top.values or At.GNU_DWO_NAME in unit.top.values:
                what = "the library's debug information is in separate .dwo files"
                raise InterfaceError(what, todo="build it without -gsplit-dwarf")

    def _walk(self, unit: Unit, holder: Entry, depth: int) -> None:
        """Look at everything that a scope declares, in it and in the scopes within it."""
        if depth > _DEEPEST:
            return
        kind = dialect(unit)
        own_scopes = {Tag.NAMESPACE, Tag.MODULE} if kind in {"c", "c++", ""} else {Tag.NAMESPACE, Tag.MODULE} | RECORDS
        for child in holder.children(_WALKED):
            if child.tag == Tag.SUBPROGRAM:
                self._subprogram(unit, child)
            elif child.tag == Tag.VARIABLE:
                self._variable(child)
            elif child.tag in own_scopes and not (depth == 0 and is_library_namespace(kind, child.name)):
                self._walk(unit, child, depth + 1)

    def _subprogram(self, unit: Unit, entry: Entry) -> None:
        if entry.flag(At.DECLARATION):
            self._functions.consider_declaration(entry)
            return
        self._functions.consider(entry)
        if not entry.has_children:
            return
        found = unit.static_variables(entry)
        if not found:
            return
        declared = declaration(entry)
        scopes = self._types.spelling.scopes(declared.unit)
        if scopes.is_library(declared.offset):
            return
        name = "::".join((*scopes.path(declared.offset), resolved_name(entry)))
        overload = ""
        if dialect(unit) == "c++":
            overload = f"({self._types.spelling.parameters(with_parameters(entry))})"
        for variable in found:
            self._variables.consider(variable, name, overload)

    def _variable(self, entry: Entry) -> None:
        if entry.flag(At.DECLARATION) and entry.name in self._undefined:
            self._needs_variables.add(entry.name)
        else:
            self._variables.consider(entry)

    def _definition(self, name: str) -> Entry | None:
        """Return the definition of a type that some unit only declares."""
        if self._definitions is None:
            self._definitions = {}
            for unit in self._units:
                for entry in self._named_types(unit, unit.top, 0):
                    self._definitions.setdefault(self._types.plain_name(entry), entry)
        return self._definitions.get(name)

    def _named_types(self, unit: Unit, holder: Entry, depth: int) -> Iterator[Entry]:
        for child in holder.children(_NAMED_OR_SCOPES):
            if child.tag in _NAMED_TYPES:
                if child.name and not child.flag(At.DECLARATION):
                    yield child
            elif child.tag == Tag.NAMESPACE and depth < _DEEPEST:
                library = depth == 0 and is_library_namespace(dialect(unit), child.name)
                if not library:
                    yield from self._named_types(unit, child, depth + 1)

    def _read_own_types(self) -> None:
        """Read the structs and enums that the user's own files declare, also where no function mentions them."""
        for unit in self._units:
            if dialect(unit) not in {"c", "c++"}:
                continue
            for entry in self._named_types(unit, unit.top, 0):
                index = entry.number(At.DECL_FILE)
                if index is not None and not _is_foreign(self._files.file(unit, index)):
                    self._types.at(entry.offset)


def _is_foreign(file: str) -> bool:
    """Whether a file is none of the user's own: the system's, or midflight's header."""
    return file.startswith(_SYSTEM_FILES) or file.endswith("/midflight.h")
