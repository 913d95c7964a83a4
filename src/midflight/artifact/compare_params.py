"""Pairs the parameters of a function that takes more or fewer of them than before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.compare_types import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight.artifact.interface import Param, TypeId

    Spell = Callable[[TypeId], str]


def pair_up(old: Sequence[Param], new: Sequence[Param], spell_old: Spell, spell_new: Spell) -> list[Part]:
    """Return a part for each parameter, in the new version's order, then those that are gone.

    They are paired by their names where all have names of their own, else by their positions.  A part's ``position`` is
    the one in the new version, or that of one that is gone in the old one.
    """
    by_name = _are_named(old) and _are_named(new)
    before = {param.name if by_name else str(index): param for index, param in enumerate(old)}
    after = {param.name if by_name else str(index): param for index, param in enumerate(new)}
    made = []
    for position, (key, param) in enumerate(after.items(), 1):
        was = before.get(key)
        made.append(_part(param.name, position, spell_old(was.type) if was else None, spell_new(param.type)))
    for position, (key, param) in enumerate(before.items(), 1):
        if key not in after:
            made.append(_part(param.name, position, spell_old(param.type), None))
    return made


def _part(name: str, position: int, old: str | None, new: str | None) -> Part:
    return Part("parameter", name, position, old, new)


def _are_named(params: Sequence[Param]) -> bool:
    names = [param.name for param in params]
    return all(names) and len(set(names)) == len(names)
