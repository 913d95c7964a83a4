"""Data that nothing describes: what lies between the variables that are known."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from midflight.artifact.elf import Elf
    from midflight.artifact.interface import Interface
    from midflight.artifact.symbol_table import Name

_SECTIONS = (".data", ".bss", ".ldata", ".lbss", ".tm_clone_table")
_CONSTANT = ".data.rel.ro"
"""Written while the library is loaded, and never again."""

_LEAST = 8
"""Bytes: smaller gaps are padding, or the start-up code's own flags."""

_ALIGNED = 32
"""Compilers align large variables to so many bytes: smaller gaps in which nothing has a name are padding, too."""

_STARTUP_FLAG = "completed."


def find_gaps(elf: Elf, interface: Interface | None, names: Sequence[Name]) -> Iterator[tuple[int, int]]:
    """Return such places as link-time addresses and sizes."""
    known = _known(interface, names) if interface is not None else []
    named = sorted(
        one.address for one in names if one.size and not one.is_function and not one.name.startswith(_STARTUP_FLAG)
    )
    for section in elf.sections.values():
        if not section.name.startswith(_SECTIONS) or section.name.startswith(_CONSTANT):
            continue
        at, end = section.address, section.address + section.size
        for address, size in [*known, (end, 0)]:
            if at + _LEAST < address <= end and not (address - at < _ALIGNED and _is_nameless(at, address, named)):
                yield at, address - at
            at = max(at, address + size) if address + size > at else at


def _is_nameless(start: int, end: int, named: list[int]) -> bool:
    """Tell whether no variable that has a name begins between two addresses; of a stripped file nobody knows."""
    return bool(named) and bisect_left(named, start) == bisect_left(named, end)


def _known(interface: Interface, names: Iterable[Name]) -> list[tuple[int, int]]:
    known = [
        (one.address, size_of(interface.types, one.type) or 1)
        for one in interface.variables
        if one.address is not None and not one.thread_local
    ]
    if interface.language == "c++":  # notes of what has been initialised: see Symbols.guard
        known += [(one.address, one.size) for one in names if one.name.startswith("_ZGV")]
    return sorted(known)
