"""The instances of `midflight.wrap`: pointers that Python holds, moved like those in variables."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight import _core
from midflight._lane import link_of
from midflight.moving.pointers import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._control import Control, Generation
    from midflight._wrap import WrappedObject

_POINTER = struct.pack("=HBBIQQQ", 8, 0, 0, 0, 0, 0, 0)
_AFRESH = "the module was started afresh"


@dataclass(slots=True)
class Holders:
    """Those of one move.  ``places``: what each holds, as memory of a pointer's size."""

    held: list[WrappedObject]
    places: list[ctypes.c_uint64]
    fresh: bool
    goals: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, control: Control, *, fresh: bool) -> Holders:
        """Return those that are alive now."""
        alive = [one for one in control.holders if one.holder.lost is None]
        return cls(alive, [ctypes.c_uint64(one.holder.address) for one in alive], fresh)

    def roots(self, old: Generation) -> Iterator[Root]:
        """Return where they point, for the search."""
        for one, place in zip(self.held, self.places, strict=True) if not self.fresh else ():
            address = ctypes.addressof(place)
            yield Root(one.name, one.type_in(old.interface), address, address)

    def translate(self, mapping: _core.Mapping) -> Iterator[str]:
        """Find out where their objects go; return what has no place."""
        plan = _core.Plan(_POINTER, 8, 8)
        for one, place in zip(self.held, self.places, strict=True) if not self.fresh else ():
            goal = ctypes.c_uint64()
            loss = plan.run(ctypes.addressof(place), ctypes.addressof(goal), 1, mapping)
            self.goals.append(goal.value)
            if loss is not None:
                yield f"{one.name} points to {place.value:#x}, which has no place in the new version"

    def commit(self, new: Generation) -> None:
        """The new version is current: let them follow."""
        link = link_of(new.code) if new.code is not None else None
        if self.fresh:
            for one in self.held:
                one.holder.lose(_AFRESH)
        for one, goal in zip(self.held, self.goals, strict=False):
            one.holder.moved(goal, link)
