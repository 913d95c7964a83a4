"""Brings a module's data from one version to the next: what the transaction asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight._lane import data_of, hooks_of
from midflight.moving.mover import Move, Mover
from midflight.moving.planned import Planned, is_data, plan

if TYPE_CHECKING:
    from midflight._carry import Carrying
    from midflight._control import Control, Generation

__all__ = ["Move", "Planned", "begin_move", "has_state", "plan_move"]


def has_state(control: Control, old: Generation, carrying: Carrying) -> bool:
    """Whether callers have to be held back while a version is replaced: it has data to move, or hooks that do it."""
    code = old.code
    if code is None or data_of(code) is None:
        return False
    if control.heaps.has_blocks():
        return True
    if carrying.carry == "fresh":
        return False
    has_hooks = bool({"midflight_save", "midflight_restore"} & set(hooks_of(code)))
    return has_hooks or any(is_data(variable) for variable in old.interface.variables)


def plan_move(control: Control, old: Generation, new: Generation, carrying: Carrying) -> Planned:
    """Find out, before anybody is held back, what can be known of the move.  Raises `StateError`."""
    kinds = [kind for heap in control.heaps.existing() for kind in heap.types()]
    types = [kind[0] for kind in kinds if kind is not None]
    return plan(old, new, control.migrations, carrying.carry, types)


def begin_move(control: Control, old: Generation, new: Generation, planned: Planned, carrying: Carrying) -> Move:
    """Bring the data over.  When it raises, they are as they were.

    Precondition: nobody is inside the old version, and nobody can get in.
    """
    old_data = data_of(old.code) if old.code is not None else None
    new_data = data_of(new.code) if new.code is not None else None
    if old_data is None or new_data is None:
        return Move(old, new, control.heaps)
    return Mover(control, old, new, old_data, new_data, planned, carrying).run()
