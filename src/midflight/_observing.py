"""Which versions' calls are noted.

Guarantees:
- A version has one observer for its whole life, so that what was counted during its own soak serves when it is compared
  with the next one.  It notes calls while anybody wants that; at other times they cost nothing more.
- Any function here may be called from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight import _core
from midflight._fork import Lock
from midflight._samples import kept_slots

if TYPE_CHECKING:
    from midflight._control import Control, Generation

_mutex = Lock()  # protects what generations have for this


def begin(control: Control, generation: Generation) -> _core.Observer:
    """Note a version's calls, until `end`."""
    with _mutex:
        if generation.observer is None:
            share = control.options.record
            generation.observer = _core.Observer(share, kept_slots(control, generation.interface) if share else ())
        generation.observers += 1
        if generation.code is not None:
            generation.code.table.observer = generation.observer
        return generation.observer


def begin_recording(control: Control, generation: Generation) -> None:
    """Note a version's calls for as long as it lives, if its module's calls are to be recorded."""
    if control.options.record:
        begin(control, generation)


def end(generation: Generation) -> None:
    """Note its calls no more, unless somebody else wants that."""
    with _mutex:
        generation.observers -= 1
        if not generation.observers and generation.code is not None:
            generation.code.table.observer = None
