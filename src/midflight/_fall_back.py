"""Goes back from a version that crashes again and again."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from midflight._errors import MidflightError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._control import Control, Generation

_log = logging.getLogger("midflight")


def when_failing(
    control: Control, generation: Generation, go_back: Callable[[Control], object]
) -> Callable[[], object]:
    """Return what a version's code calls when it has crashed too often.  It refers to neither of the two strongly."""
    find, failed = weakref.ref(control), weakref.ref(generation)

    def fall_back() -> None:
        # In the background: a call that has just crashed is no place to wait for a swap.
        arguments = (find, failed, go_back)
        threading.Thread(target=_fall_back, args=arguments, name="midflight-fall-back", daemon=True).start()

    return fall_back


def _fall_back(
    find: weakref.ref[Control], failed: weakref.ref[Generation], go_back: Callable[[Control], object]
) -> None:
    control, generation = find(), failed()
    if control is None or generation is None or control.current is not generation or not control.past:
        return
    try:
        report = go_back(control)
    except MidflightError as error:
        _log.error("%s crashes again and again, and the version before can't take over: %s", control.name, error)
    else:
        _log.warning("%s: version %d crashes again and again: %s", control.name, generation.version.number, report)
