"""Brings a module's data from one version to the next: what the transaction asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight._errors import WorkerError
from midflight._lane import data_of, has_data, hooks_of
from midflight._version import Carried
from midflight.moving.mover import Move, Mover
from midflight.moving.planned import Planned, is_data, plan
from midflight.moving.undescribed import changed

if TYPE_CHECKING:
    from contextlib import ExitStack

    from midflight._carry import Carrying
    from midflight._control import Control, Generation
    from midflight._lane import Data

__all__ = ["Move", "Planned", "begin_move", "has_state", "plan_move", "undescribed"]


def has_state(control: Control, old: Generation, carrying: Carrying) -> bool:
    """Whether callers have to be held back while a version is replaced: it has data to move, or hooks that do it."""
    code = old.code
    if code is None or not has_data(code):
        return False
    if control.heaps.has_blocks() or control.holders:
        return True
    if carrying.carry == "fresh":
        return False
    has_hooks = bool({"midflight_save", "midflight_restore"} & set(hooks_of(code)))
    return has_hooks or any(is_data(one) or one.split for one in old.interface.variables)


def undescribed(old: Generation) -> Carried | None:
    """Say what has changed in a version that nothing describes, where nothing else has to be moved."""
    data = _data_of(old)
    return changed(old, data) if data is not None else None


def plan_move(control: Control, old: Generation, new: Generation, carrying: Carrying) -> Planned:
    """Find out, before anybody is held back, what can be known of the move.  Raises `StateError`."""
    kinds = [kind for heap in control.heaps.existing() for kind in heap.types()]
    types = [kind[0] for kind in kinds if kind is not None]
    return plan(old, new, control.migrations, carrying.carry, types)


def begin_move(
    control: Control, old: Generation, new: Generation, planned: Planned, carrying: Carrying, undo: ExitStack
) -> Move:
    """Bring the data over.  What takes it back is put on ``undo`` before anything is done.

    Precondition: nobody is inside the old version, and nobody can get in.
    """
    old_data, new_data = _data_of(old), data_of(new.code) if new.code is not None else None
    if old_data is None or new_data is None:
        how = (
            "it runs in another kind of lane now" if old_data is not None else "its process has died, and they with it"
        )
        rows = (Carried(f"the data of version {old.version.number}", "dropped", how),)
        return Move(old, new, control.heaps, rows=rows, warnings=(str(rows[0]),))
    return Mover(control, old, new, old_data, new_data, planned, carrying).run(undo)


def _data_of(old: Generation) -> Data | None:
    """Return a version's variables; None if its process has died and can't start again, and they with it."""
    try:
        return data_of(old.code) if old.code is not None else None
    except WorkerError:
        return None
