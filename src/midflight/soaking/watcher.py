"""Watches new versions after their swap, and sends back those that do worse.

Guarantees:
- One thread watches all, and exists only while there is something to watch.  It never waits for a lock of a module's,
  for a user's function or for a swap: what follows from a look is done in a thread of its own.
- A watch ends once: it passes, its version goes back, or something else takes the version's place.  Then the old
  version is held no longer, and calls cost nothing more.
- Versions that were swapped together go back together.
- In a fork's child the watches go on, by themselves; their figures begin as they were in the parent.
- Any function here may be called from any thread; `wake` from anywhere, in the middle of a call too.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import weakref  # noqa: TC003 - a field's type
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from midflight import _observing
from midflight._carry import Carrying  # noqa: TC001 - a field's type
from midflight._errors import MidflightError
from midflight._events import Soaked, emit, log
from midflight._soak import Soak
from midflight.soaking.comparison import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight._control import Control, Generation
    from midflight._soak import State
    from midflight._trial import Soaking


class Member(NamedTuple):
    """A module of a transaction, and the version that it brought."""

    control: weakref.ref[Control]
    generation: weakref.ref[Generation]
    carrying: Carrying

    @property
    def current(self) -> bool:
        """Whether the version is still the module's."""
        control, generation = self.control(), self.generation()
        return control is not None and generation is not None and control.current is generation


@dataclass(slots=True, eq=False)
class Watch:
    """One version that is watched.

    ``together``: what was swapped with it, itself too; ``due``: when to look again; ``holding``: whether the old
    version is held; ``leaving``: whether it has been decided how this ends.
    """

    comparison: Comparison
    soak: Soak
    due: float
    together: Sequence[Member] = ()
    holding: bool = False
    leaving: bool = False

    @property
    def control(self) -> Control | None:
        """The module's record, unless nothing is left of the module."""
        return self.comparison.control()


class Watcher:
    """The thread of all watches, by a clock.

    ``go_back``: swaps modules back, and so ends their watches; says why.  Raises `MidflightError`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.go_back: Callable[[Sequence[Member], str], object] = lambda _members, _why: None
        self._clock = clock
        self._mutex = threading.RLock()  # protects the two below, and how watches end
        self._watches: list[Watch] = []
        self._thread: threading.Thread | None = None
        self._notes: queue.SimpleQueue[None] = queue.SimpleQueue()

    # ---- beginning

    def watch(self, control: Control, old: Generation, new: Generation, soaking: Soaking) -> Watch:
        """Make a watch, which begins with `start`.  Precondition: both versions are observed."""
        now = self._clock()
        comparison = Comparison(control, old, new, soaking, now, self.wake)
        soak = Soak(control.name, old.version, new.version, soaking.seconds, comparison.stats)
        return Watch(comparison, soak, comparison.next_look(now))

    def start(self, watches: Sequence[Watch], together: Sequence[Member]) -> None:
        """Begin to watch versions that were swapped together with others."""
        with self._mutex:
            for watch in watches:
                watch.together = together
            self._watches += watches
            self._run_thread()
        self.wake()

    def hold(self, watch: Watch) -> None:
        """Keep the old version loaded until the watch ends."""
        with self._mutex:
            old = watch.comparison.old
            if watch in self._watches and old.code is not None:
                old.code.table.pin()
                old.soaked_by = f"the soak of version {watch.comparison.new.version.number}"
                watch.holding = True

    # ---- ending

    def end(self, generation: Generation, state: State, reason: str) -> Soak | None:
        """End the watch of a version, if there is one; return its soak, for `tell`."""
        with self._mutex:
            watch = next((one for one in self._watches if one.comparison.new is generation), None)
            if watch is None:
                return None
            self._watches.remove(watch)
            self._release(watch)
        watch.soak.end(state, reason)
        self.wake()
        rest = [one for one in watch.together if one.current and one.generation() is not generation]
        if state == "went back" and rest:
            self._in_background(lambda: self._send_after(rest, reason))
        return watch.soak

    def _release(self, watch: Watch) -> None:
        old = watch.comparison.old
        watch.comparison.end()
        for generation in (old, watch.comparison.new):
            _observing.end(generation)
        if watch.holding and old.code is not None:
            old.soaked_by = ""
            old.code.table.unpin()

    # ---- looking

    def wake(self) -> None:
        """Look at once."""
        self._notes.put(None)

    def look(self) -> float | None:
        """Look at all; return for how many seconds there is nothing to do, None if there is nothing to watch."""
        with self._mutex:
            watches = [one for one in self._watches if not one.leaving]
            if not self._watches:
                return None
        now = self._clock()
        for watch in watches:
            try:
                self._look_at(watch, now)
            except Exception:  # noqa: BLE001 - the thread must live on
                log.exception("%s can't be watched", watch.soak.module)
                watch.due = now + watch.comparison.interval
        return max(0.0, min((one.due for one in watches if not one.leaving), default=1.0) - now)

    def _look_at(self, watch: Watch, now: float) -> None:
        control = watch.control
        if control is None:
            self._conclude(watch, "superseded", "nothing is left of the module")
            return
        if control.current is not watch.comparison.new:  # whoever has replaced it is about to say so
            watch.due = now + watch.comparison.interval
            return
        found = watch.comparison.look(now)
        if found:
            watch.leaving = True
            self._in_background(lambda: self._send_back(watch, "; ".join(found)))
        elif watch.comparison.settled(now):
            watch.leaving = True
            self._in_background(lambda: self._conclude(watch, "passed", ""))
        watch.due = watch.comparison.next_look(now)

    def _send_back(self, watch: Watch, why: str) -> None:
        try:
            self.go_back([one for one in watch.together if one.current], why)
        except Exception as error:  # noqa: BLE001 - a watch that doesn't end would hold its versions for ever
            self._conclude(watch, "stuck", f"{why}; going back failed: {error}")
        else:
            self._conclude(watch, "superseded", "nothing is left of the module")  # unless the swap has ended it

    def _send_after(self, rest: Sequence[Member], why: str) -> None:
        try:
            self.go_back(rest, why)
        except MidflightError as error:
            log.error("what was swapped with a version that went back can't do so too: %s", error)

    def _conclude(self, watch: Watch, state: State, reason: str) -> None:
        tell(watch.control, self.end(watch.comparison.new, state, reason))

    # ---- the thread

    def _in_background(self, what: Callable[[], object]) -> None:
        threading.Thread(target=what, name="midflight-soak", daemon=True).start()

    def _run_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="midflight-soak-watcher", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            pause = self.look()
            with self._mutex:
                if not self._watches:
                    self._thread = None
                    return
            with contextlib.suppress(queue.Empty):
                self._notes.get(timeout=pause)
                while True:
                    self._notes.get_nowait()  # one look is for all of them

    def after_fork(self) -> None:
        """In the child: the thread stayed behind, and so did those in which versions were about to leave."""
        self._mutex = threading.RLock()
        self._notes = queue.SimpleQueue()
        self._thread = None
        for watch in self._watches:
            watch.leaving = False
        if self._watches:
            self._run_thread()


def tell(control: Control | None, soak: Soak | None) -> None:
    """Tell whoever wants to know how a soak has ended.  Not to be called with a lock held."""
    module = control.module if control is not None else None
    if soak is not None and module is not None:
        emit(Soaked(module, soak.module, soak))


watcher = Watcher()
os.register_at_fork(after_in_child=watcher.after_fork)
