"""Two versions of a module at work, compared again and again.

Guarantees: `look` may be called from any thread, one at a time.  It never waits: the user's function runs in a thread
of its own, and what it says counts at a later look.
"""

from __future__ import annotations

import weakref
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from midflight._running import Running
from midflight._samples import slots_of
from midflight.soaking import stats, verdict
from midflight.soaking.stats import SoakStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._control import Control, Generation
    from midflight._trial import Soaking

_LONGEST_INTERVAL = 0.1
"""Seconds between two looks."""


class Both(NamedTuple):
    """The figures of the old version and of the new one."""

    old: SoakStats
    new: SoakStats


class Comparison:
    """Compares two versions that are observed, from ``began`` on.

    ``told``: called when there may be something new to see; ``busy``: modules that are being swapped meanwhile.
    """

    def __init__(
        self,
        control: Control,
        old: Generation,
        new: Generation,
        soaking: Soaking,
        began: float,
        told: Callable[[], object],
        busy: frozenset[Control] = frozenset(),
    ) -> None:
        self.control = weakref.ref(control)
        self.old, self.new = old, new
        self.soaking = soaking
        self.ends = began + soaking.seconds
        self.interval = min(_LONGEST_INTERVAL, soaking.seconds / 4)
        self._told = told
        self._busy = busy
        self._timeout = control.options.hook_timeout
        self._long: set[str] = set()
        self._judging: tuple[Running, float] | None = None
        self._judged = began  # when the last judgement that was heard had begun
        assert new.observer is not None  # noqa: S101 - both are observed
        new.observer.on_crash = told

    def stats(self) -> Both:
        """Return the figures as they are now."""
        control = self.control()
        if control is None or self.old.observer is None or self.new.observer is None:
            return Both(SoakStats(), SoakStats())
        return Both(stats.read(control, self.old, self.old.observer), stats.read(control, self.new, self.new.observer))

    def look(self, now: float) -> list[str]:
        """Say what the new version does worse, a line each."""
        both = self.stats()
        self._note_long_calls()
        elsewhere = any(one.version.lane != "here" for one in (self.old, self.new))
        found = list(verdict.findings(both.old, both.new, self.soaking, self._long, elsewhere=elsewhere))
        return found or self._judge(both, now)

    def settled(self, now: float) -> bool:
        """Whether the time is over, and the user's function was asked since."""
        return now >= self.ends and (self.soaking.judge is None or self._judged >= self.ends)

    def next_look(self, now: float) -> float:
        """Say when to look again, unless somebody tells before."""
        return min(now + self.interval, self.ends) if now < self.ends else now + self.interval

    def end(self) -> None:
        """Be told no more."""
        if self.new.observer is not None:
            self.new.observer.on_crash = None

    def _note_long_calls(self) -> None:
        """Note what the old version has been in since before it was observed: nobody knows how long that takes."""
        control, code, observer = self.control(), self.old.code, self.old.observer
        if control is None or code is None or observer is None:
            return
        names = {slot: name for name, slots in slots_of(control, self.old).items() for slot in slots}
        observed = Counter((thread, names.get(slot, "")) for slot, thread, _ in observer.under_way())
        for thread, functions in code.table.callers():
            mine = Counter((thread, name.removeprefix(f"{control.name}.")) for name in functions)
            self._long |= {name for _, name in mine - observed}

    # ---- the user's function

    def _judge(self, both: Both, now: float) -> list[str]:
        """Hear what the user's function has said meanwhile, and ask it again."""
        judge, said = self.soaking.judge, ""
        if judge is None:
            return []
        if self._judging is not None:
            running, since = self._judging
            if not running.finished:
                late = now - since > self._timeout
                return [f"the judge hasn't returned within {self._timeout:g} s"] if late else []
            said = _said(running)
            self._judging, self._judged = None, since
        if not said and (now >= self._judged + self.interval or now >= self.ends > self._judged):
            self._judging = Running("judge", partial(judge, *both), self._busy, self._told), now
        return [said] if said else []


def _said(running: Running) -> str:
    try:
        answer = running.result()
    except Exception as error:  # noqa: BLE001 - whatever the user's function raises
        return f"the judge raised {type(error).__name__}: {error}"
    return "" if answer is None else str(answer)
