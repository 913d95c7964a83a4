"""Which versions' calls are noted.

A version has one observer for its whole life, so that what was counted during its own soak serves when it is compared
with the next one.  While its table hasn't got it, calls cost nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight import _core
from midflight._samples import kept_slots

if TYPE_CHECKING:
    from midflight._control import Control, Generation


def begin(control: Control, generation: Generation) -> _core.Observer:
    """Note a version's calls from now on."""
    if generation.observer is None:
        share = control.options.record
        generation.observer = _core.Observer(share, kept_slots(control, generation.interface) if share else ())
    if generation.code is not None:
        generation.code.table.observer = generation.observer
    return generation.observer


def begin_recording(control: Control, generation: Generation) -> None:
    """Note a version's calls for as long as it lives, if its module's calls are to be recorded."""
    if control.options.record:
        begin(control, generation)


def end(control: Control, generation: Generation) -> None:
    """Note them no more, unless they are recorded."""
    if generation.code is not None and not control.options.record:
        generation.code.table.observer = None
