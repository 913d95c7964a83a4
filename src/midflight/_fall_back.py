"""Goes back from a version that crashes, in whatever lane it runs.

Guarantees:
- Only from the version that has crashed: one that isn't current any more is left alone, and of several crashes of one
  version one goes back.
- `FallBack` refers to neither the module nor its version strongly.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from midflight._errors import MidflightError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._control import Control, Generation
    from midflight._version import Report

_log = logging.getLogger("midflight")


class FallBack:
    """One version's way back.  ``go_back`` swaps the module back; ``crashes``: what this version does, for people."""

    def __init__(
        self, control: Control, generation: Generation, go_back: Callable[[Control], Report], crashes: str
    ) -> None:
        self._find, self._failed = weakref.ref(control), weakref.ref(generation)
        self._go_back = go_back
        self._crashes = crashes

    def now(self) -> Report | None:
        """Go back; return None if there is nothing to go back from, or to.  Raises what the swap raises."""
        control, generation = self._find(), self._failed()
        if control is None or generation is None:
            return None
        with control.queue:
            return self._go_back(control) if control.current is generation and control.past else None

    def later(self) -> None:
        """Do so in the background: who has just crashed may be no one who could wait for a swap."""
        threading.Thread(target=self._run, name="midflight-fall-back", daemon=True).start()

    def _run(self) -> None:
        control, generation = self._find(), self._failed()
        if control is None or generation is None:
            return
        try:
            report = self.now()
        except MidflightError as error:
            _log.error("%s %s, and the version before can't take over: %s", control.name, self._crashes, error)
        else:
            if report is not None:
                _log.warning("%s: version %d %s: %s", control.name, generation.version.number, self._crashes, report)
