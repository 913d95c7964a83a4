"""`pin`: several calls, all in one version.

Guarantee: from entering to leaving the block the pinned version stays loaded, and every call through the pinned view
runs in it, whatever becomes current meanwhile.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import TYPE_CHECKING

from midflight import _core
from midflight._control import control_of, is_attribute, remember_pin
from midflight._errors import UnloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._control import Control, Generation


@contextmanager
def pin(module: types.ModuleType) -> Iterator[types.ModuleType]:
    """Give a view of the module whose functions all run in the version that is current now.

    Raises:
        UnloadedError: the module has been unloaded.
    """
    control = control_of(module)
    generation = _hold_current(control)
    table = generation.table
    cell = _core.Cell(control.name, table)
    view = types.ModuleType(control.name, f"version {generation.version.number} of {control.name}, pinned")
    for function in generation.interface.functions:
        if is_attribute(function.name):
            view.__dict__[function.name] = _core.Function(cell, control.slots[function.name], function.name)
    remember_pin(view, control, generation)
    try:
        yield view
    finally:
        cell.end("the pin has ended")
        table.unpin()


def _hold_current(control: Control) -> Generation:
    """Pin whatever is current; a version that is unloaded in between is current no longer."""
    while True:
        generation = control.need_current()
        try:
            generation.table.pin()
        except UnloadedError:
            continue
        return generation
