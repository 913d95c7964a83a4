"""Names: which language a unit is in, where an entry is declared, and how C++ spells its types.

A qualified C++ name (``ns::add(int, const ns::vec &)``) is built from the entries themselves: the scopes that hold the
function and the spelling of its parameters' types, as the source wrote them.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Literal, TypeAlias

from midflight.artifact.dwarf.constants import C_LANGUAGES, CPP_LANGUAGES, GO, RUST, ZIG, At, Tag
from midflight.artifact.dwarf.entries import tag_set

if TYPE_CHECKING:
    from midflight.artifact.dwarf.entries import Entry, Unit

Dialect: TypeAlias = Literal["c", "c++", "rust", "zig", "go", ""]

ANONYMOUS_NAMESPACE = "(anonymous namespace)"
RECORDS = frozenset({Tag.STRUCTURE, Tag.CLASS, Tag.UNION})
QUALIFIERS = frozenset({Tag.CONST, Tag.VOLATILE, Tag.RESTRICT, Tag.ATOMIC, Tag.IMMUTABLE})
_SCOPES = RECORDS | {Tag.NAMESPACE, Tag.MODULE, Tag.SUBPROGRAM, Tag.LEXICAL_BLOCK, Tag.ENUMERATION}
_SCOPE_TAGS = tag_set(_SCOPES)
_LIBRARY_NAMESPACES = {
    "c++": frozenset({"std", "__gnu_cxx", "__cxxabiv1", "__gnu_debug", "__pstl", "__detail"}),
    "rust": frozenset({"core", "alloc", "std", "compiler_builtins", "panic_unwind"}),
    "zig": frozenset({"std", "builtin", "compiler_rt", "start", "ubsan_rt"}),
}
_ZIG_RUNTIME = frozenset({
    "compiler_rt", "compiler_rt.zig", "ubsan_rt", "ubsan_rt.zig", "std.zig", "std", "builtin.zig", "c.zig", "zigc",
})  # fmt: skip
_CPP_RUNTIME = ("/libcxx/src/", "/libcxxabi/src/", "/libunwind/src/")
"""Where the sources of LLVM's C++ library lie, which Zig's compiler links statically."""

_DEEPEST = 64
_LONGEST = 4000

_C_NAMES = {
    "char": "char",
    "short int": "short",
    "short unsigned int": "unsigned short",
    "long int": "long",
    "long unsigned int": "unsigned long",
    "long long int": "long long",
    "long long unsigned int": "unsigned long long",
    "_Bool": "bool",
}
_CONST_POINTER = re.compile(r"^(?:\?|(?:\*|\[\*(?:c|:[^\]]*)?\])(?:allowzero |volatile |align\([^)]*\) )*const\b)")
"""A pointer whose name says that it is const: Rust's ``*const T``, Zig's ``[*:0]const u8``."""


def dialect(unit: Unit) -> Dialect:
    """Return the language that a unit was written in, "" where it isn't one that midflight reads."""
    language = unit.language
    if language == ZIG or unit.top.text(At.PRODUCER).startswith("zig "):
        return "zig"
    if language in C_LANGUAGES:
        return "c"
    if language in CPP_LANGUAGES:
        return "c++"
    return "rust" if language == RUST else "go" if language == GO else ""


def is_runtime(unit: Unit) -> bool:
    """Tell whether a unit belongs to a language's own runtime library, linked into this one."""
    name = unit.top.name
    kind = dialect(unit)
    if kind == "rust":
        return name.startswith(("/rustc/", "/rust/deps/")) or unit.top.text(At.COMP_DIR).startswith("/rustc/")
    if kind == "zig":
        return name in _ZIG_RUNTIME
    if kind == "c++":
        return any(part in name for part in _CPP_RUNTIME)
    return kind == "go"


def is_library_namespace(kind: str, name: str) -> bool:
    """Tell whether a namespace belongs to the language's own library, not to the user."""
    return name in _LIBRARY_NAMESPACES.get(kind, ())


def c_name(name: str) -> str:
    """Return a base type's name as programmers write it: gcc says ``long unsigned int`` for ``unsigned long``."""
    return _C_NAMES.get(name, name)


def names_const_pointer(kind: str, name: str) -> bool:
    """Tell whether a Rust or Zig pointer type's name says that it points to constant data."""
    if kind == "rust":
        return name.startswith("*const ") or (name.startswith("&") and not name.startswith("&mut "))
    if kind == "zig":
        return bool(_CONST_POINTER.match(name.removeprefix("?")))
    return False


class Scopes:
    """Finds the scopes that an entry of a unit lies in; entries don't know their parents."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._kind = dialect(unit)
        self._children: dict[int, array[int]] = {}
        self._paths: dict[int, tuple[Entry, ...]] = {}

    def parents(self, offset: int) -> tuple[Entry, ...]:
        """Return the entries that enclose an offset, from the outermost to the innermost."""
        if offset not in self._paths:
            found: list[Entry] = []
            holder = self._unit.top
            while len(found) < _DEEPEST:
                inner = self._holder(holder, offset)
                if inner is None or inner.offset == offset:
                    break
                found.append(inner)
                holder = inner
            self._paths[offset] = tuple(found)
        return self._paths[offset]

    def path(self, offset: int) -> tuple[str, ...]:
        """Return the names of the scopes that enclose an offset."""
        parents = self.parents(offset)
        library = bool(parents) and is_library_namespace(self._kind, parents[0].name)
        return tuple(
            name
            for entry in parents
            # std::__1 and std::__cxx11 are nothing that people write.
            if (name := scope_name(entry)) and not (library and entry.flag(At.EXPORT_SYMBOLS))
        )

    def is_library(self, offset: int) -> bool:
        """Tell whether an entry lies in a namespace of the language's own library."""
        return any(
            parent.tag == Tag.NAMESPACE and is_library_namespace(self._kind, parent.name)
            for parent in self.parents(offset)[:1]
        )

    def _holder(self, holder: Entry, offset: int) -> Entry | None:
        ranges = self._children.get(holder.offset)
        if ranges is None:
            ranges = self._children[holder.offset] = array("Q")
            for place in self._unit.level(holder, _SCOPE_TAGS):
                ranges.extend(place)
        # Beginnings and ends take turns, and both only grow; so an odd number of them lies before what is inside one.
        before = bisect_right(ranges, offset)
        return self._unit.entry(ranges[before - 1]) if before % 2 else None


def scope_name(entry: Entry) -> str:
    """Return the name that a scope adds to the names within it."""
    if entry.tag in {Tag.LEXICAL_BLOCK, Tag.MODULE}:
        return ""
    name = resolved_name(entry)
    return name or (ANONYMOUS_NAMESPACE if entry.tag == Tag.NAMESPACE else "")


def origin(entry: Entry, attribute: int) -> Entry | None:
    """Return the entry that holds an attribute: the entry, or the declaration that it completes."""
    for _ in range(_DEEPEST):
        if attribute in entry.values:
            return entry
        further = entry.target(At.ABSTRACT_ORIGIN) or entry.target(At.SPECIFICATION)
        if further is None:
            return None
        entry = further
    return None


def resolved_name(entry: Entry) -> str:
    """Return an entry's name, also where it is said by the declaration that it completes."""
    holder = origin(entry, At.NAME)
    return holder.name if holder is not None else ""


def declaration(entry: Entry) -> Entry:
    """Return the outermost declaration of an entry: the one that lies in the scope where the source declares it."""
    for _ in range(_DEEPEST):
        further = entry.target(At.ABSTRACT_ORIGIN) or entry.target(At.SPECIFICATION)
        if further is None:
            break
        entry = further
    return entry


class Spelling:
    """Spells C++ types as their declarations do."""

    def __init__(self, scopes: dict[int, Scopes]) -> None:
        self._scopes = scopes
        self._known: dict[int, str] = {}

    def scopes(self, unit: Unit) -> Scopes:
        """Return the scopes of a unit."""
        found = self._scopes.get(unit.offset)
        if found is None:
            found = self._scopes[unit.offset] = Scopes(unit)
        return found

    def qualified(self, entry: Entry) -> str:
        """Return an entry's name with the scopes that it is declared in."""
        declared = declaration(entry)  # the description of a type in a unit of its own stands outside its scope
        return "::".join((*self.scopes(declared.unit).path(declared.offset), entry.name))

    def type_of(self, entry: Entry, depth: int = 0) -> str:
        """Return the spelling of the type that an entry refers to."""
        target = entry.target(At.TYPE)
        if target is None:
            return "void"
        known = self._known.get(target.offset)
        if known is None:
            self._known[target.offset] = "…"  # what a damaged file's type would find that leads back to itself
            known = self._known[target.offset] = self._spell(target, depth)[:_LONGEST]
        return known

    def _spell(self, entry: Entry, depth: int) -> str:
        if depth > _DEEPEST:
            return "…"
        deeper = depth + 1
        match entry.tag:
            case Tag.BASE | Tag.UNSPECIFIED_TYPE:
                return c_name(entry.name)
            case Tag.POINTER:
                return self._indirect(entry, "*", deeper)
            case Tag.REFERENCE:
                return self._indirect(entry, "&", deeper)
            case Tag.RVALUE_REFERENCE:
                return self._indirect(entry, "&&", deeper)
            case Tag.CONST | Tag.VOLATILE:
                return self._with_qualifier(entry, "const" if entry.tag == Tag.CONST else "volatile", deeper)
            case Tag.RESTRICT | Tag.ATOMIC | Tag.IMMUTABLE:
                return self.type_of(entry, deeper)
            case Tag.ARRAY:
                return f"{self.type_of(entry, deeper)} []"
            case Tag.SUBROUTINE:
                return f"{self.type_of(entry, deeper)} ({self.parameters(entry, deeper)})"
        return self.qualified(entry) if entry.name else "(unnamed)"

    def _indirect(self, entry: Entry, sign: str, depth: int) -> str:
        target = entry.target(At.TYPE)
        if target is not None and target.tag == Tag.SUBROUTINE:
            return f"{self.type_of(target, depth)} ({sign})({self.parameters(target, depth)})"
        inner = self.type_of(entry, depth)
        return f"{inner}{'' if inner.endswith(('*', '&')) else ' '}{sign}"

    def _with_qualifier(self, entry: Entry, word: str, depth: int) -> str:
        inner = self.type_of(entry, depth)
        return f"{inner}{word}" if inner.endswith("*") else f"{word} {inner}"

    def parameters(self, entry: Entry, depth: int = 0) -> str:
        """Return the spelling of a function's parameter types, as declared: without ``this``."""
        found = []
        for child in entry.children():
            if child.tag == Tag.FORMAL_PARAMETER and not child.flag(At.ARTIFICIAL):
                found.append(self.type_of(child, depth))
            elif child.tag == Tag.UNSPECIFIED_PARAMETERS:
                found.append("...")
        return ", ".join(found)
