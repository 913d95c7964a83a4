"""What is called otherwise in the new version: ``MF_RENAMED(old, new)`` in its source, or said from Python.

``player.hp`` → ``player.health`` renames a field, ``struct old`` → ``struct new`` a type, ``counter`` → ``hits`` a
variable (its key may be given, too).  The words ``struct``, ``class``, ``union`` and ``enum`` may be left out.

What lies in the library isn't trusted: its size, the texts' number and length are bounded.  A rename that names nothing
is a warning, as it may be a leftover of a change some versions ago.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight.artifact.elf import Elf
from midflight.artifact.interface import Enum, Record, Typedef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midflight.artifact.interface import Interface, Type

SECTION = "midflight_renames"
_MOST_BYTES = 1 << 20
_MOST_PAIRS = 1 << 12
_LONGEST = 1 << 10
_KEYWORDS = ("struct ", "class ", "union ", "enum ")


def bare(name: str) -> str:
    """Return a type's name without its keyword."""
    for word in _KEYWORDS:
        if name.startswith(word):
            return name[len(word) :].strip()
    return name


@dataclass(frozen=True, slots=True)
class Renames:
    """Old names and what they are now.  ``warnings``: one line for each that names nothing."""

    fields: dict[tuple[str, str], str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def field_of(self, record: str, name: str) -> str:
        """Return what a field of an old type is called now."""
        return self.fields.get((bare(record), name), name)

    def type_of(self, name: str) -> str:
        """Return what an old type is called now."""
        return self.types.get(bare(name), bare(name))


NONE = Renames()


def read(data: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the pairs that a library's own source gives, and warnings about what can't be read."""
    raw = Elf(data).section(SECTION)
    warnings = []
    if len(raw) > _MOST_BYTES:
        warnings.append("its renames are longer than 1 MiB; the rest is left out")
    # Between two files' pairs the linker may have put zeros.
    texts = [text.decode("utf-8", "replace") for text in raw[:_MOST_BYTES].split(b"\0") if text]
    if len(texts) % 2:
        warnings.append(f"the rename of {texts[-1][:80]!r} has no new name")
    pairs = list(zip(texts[::2], texts[1::2], strict=False))
    if len(pairs) > _MOST_PAIRS:
        warnings.append(f"it has more than {_MOST_PAIRS} renames; the rest is left out")
    return [pair for pair in pairs[:_MOST_PAIRS] if max(map(len, pair)) <= _LONGEST], warnings


def resolve(pairs: Iterable[tuple[str, str]], old: Interface, new: Interface) -> Renames:
    """Tell what each pair renames: a field, a variable or a type."""
    before, after = _Names(old), _Names(new)
    fields: dict[tuple[str, str], str] = {}
    types: dict[str, str] = {}
    variables: dict[str, str] = {}
    warnings: list[str] = []
    for one, other in pairs:
        was, now = one.strip(), other.strip()
        field_was, field_now = _split(was), _split(now)
        if field_was in before.fields and field_now in after.fields:
            fields[field_was] = field_now[1]
        elif was in before.variables and now in after.variables:
            variables[was] = now
        elif bare(was) in before.types and bare(now) in after.types:
            types[bare(was)] = bare(now)
        else:
            warnings.append(_complaint(was, now, before, after))
    return Renames(fields, types, variables, tuple(warnings))


def reversed_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs for the way back."""
    return [(new, old) for old, new in pairs]


def _split(text: str) -> tuple[str, str]:
    record, _, name = text.rpartition(".")
    return bare(record), name


class _Names:
    """All that can be named in an interface."""

    def __init__(self, interface: Interface) -> None:
        self.variables = {name for variable in interface.variables for name in (variable.key, variable.name) if name}
        self.types: set[str] = set()
        self.fields: set[tuple[str, str]] = set()
        for name, found in _named_types(interface):
            self.types.add(name)
            if isinstance(found, Record):
                self.fields |= {(name, member) for member in _members(interface, found, 0)}
            elif isinstance(found, Enum):
                self.fields |= {(name, item) for item, _ in found.items}

    def has(self, text: str) -> bool:
        """Tell whether a text names anything."""
        return text in self.variables or bare(text) in self.types or _split(text) in self.fields


def _named_types(interface: Interface) -> Iterator[tuple[str, Type]]:
    for found in interface.types:
        if isinstance(found, (Record, Enum)) and found.name:
            yield bare(found.name), found
        elif isinstance(found, Typedef):
            yield found.name, interface.strip(found.target)


def _members(interface: Interface, record: Record, depth: int) -> Iterator[str]:
    for member in record.fields:
        inner = interface.strip(member.type)
        if member.name:
            yield member.name
        elif isinstance(inner, Record) and depth < 64:  # noqa: PLR2004 - nothing is nested deeper
            yield from _members(interface, inner, depth + 1)


def _complaint(was: str, now: str, before: _Names, after: _Names) -> str:
    head = f"the rename of {was[:80]!r} to {now[:80]!r} changes nothing"
    if not before.has(was):
        return f"{head}: the old version has nothing of that name"
    if not after.has(now):
        return f"{head}: the new version has nothing of that name"
    return f"{head}: the two aren't of one kind, or not of the same type"
