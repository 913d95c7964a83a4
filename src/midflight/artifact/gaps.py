"""Data that nothing describes: what lies between the variables that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midflight.artifact.elf import Elf
    from midflight.artifact.interface import Interface
    from midflight.artifact.symbol_table import Name

_SECTIONS = (".data", ".bss", ".ldata", ".lbss", ".tm_clone_table")
_CONSTANT = ".data.rel.ro"
"""Written while the library is loaded, and never again."""

_LEAST = 8
"""Bytes: smaller gaps are padding, or the start-up code's own flags."""


def find_gaps(elf: Elf, interface: Interface | None, names: Iterable[Name]) -> Iterator[tuple[int, int]]:
    """Return such places as link-time addresses and sizes."""
    known = _known(interface, names) if interface is not None else []
    for section in elf.sections.values():
        if not section.name.startswith(_SECTIONS) or section.name.startswith(_CONSTANT):
            continue
        at, end = section.address, section.address + section.size
        for address, size in [*known, (end, 0)]:
            if at + _LEAST < address <= end:
                yield at, address - at
            at = max(at, address + size) if address + size > at else at


def _known(interface: Interface, names: Iterable[Name]) -> list[tuple[int, int]]:
    known = [
        (one.address, size_of(interface.types, one.type) or 1)
        for one in interface.variables
        if one.address is not None and not one.thread_local
    ]
    if interface.language == "c++":  # notes of what has been initialised: see Symbols.guard
        known += [(one.address, one.size) for one in names if one.name.startswith("_ZGV")]
    return sorted(known)
