"""Lets versions go: at once where nothing holds them, else when the last holder has left.

Guarantees:
- A version's code is retired exactly once at a time, and only after its table is closed: nothing is inside, and nothing
  can enter again.
- The thread that ends the last call only puts a note into a queue; unloading is done by the swap itself or by one
  background thread, never by a caller.
- Code that can't be unloaded yet (threads of its own, thread_local destructors) is tried again in the background, and
  whenever somebody looks.  The background thread sleeps while there is nothing to try.
- A version's hook midflight_unloading runs once, in a thread of its own, when nothing calls the version any more.  The
  swap waits for it, for so long as hooks may take; the background thread doesn't, and is told when it has ended.
- Any function here may be called from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from midflight._errors import MidflightError
from midflight._lane import Held, ends_hooks, hooks_of, objects_of
from midflight._running import Running

if TYPE_CHECKING:
    from midflight._control import Generation
    from midflight._lane import Code

_log = logging.getLogger("midflight")

_FIRST_DELAY, _LONGEST_DELAY = 0.05, 5.0
_UNHEARD_DELAY = 0.002


def let_go(generation: Generation) -> None:
    """Retire a version that no cell offers any more, now or when its last holder leaves."""
    code = generation.code
    if code is None:
        return
    generation.version.status = "draining"
    code.table.on_idle = lambda: _reaper.idle(generation)
    if not retire_if_idle(generation, patience=generation.hook_timeout):
        generation.version.held_by = holders(generation)
        _reaper.start()


def let_go_later(generation: Generation) -> None:
    """Do as `let_go` does, in the background: for a garbage collection, which must not run a library's destructors."""
    code = generation.code
    if code is not None:
        generation.version.status = "draining"
        code.table.on_idle = lambda: _reaper.idle(generation)
        _reaper.idle(generation)
        _reaper.start()


def retire_if_idle(generation: Generation, *, patience: float = 0.0) -> bool:
    """Try to retire; return whether the version is no longer draining.

    ``patience``: seconds to wait for its hook midflight_unloading, if it is to run now.
    """
    with generation.mutex:
        code = generation.code
        if code is None:
            return True
        if generation.retiring or not code.table.close():
            if code.table.unheard:
                _reaper.try_later(generation)
            return False
        generation.retiring = True
        try:
            generation.held = _unloading_hook(generation, code, patience) or code.retire()
        finally:
            generation.retiring = False
        if generation.held is None:
            generation.code = None
            generation.version.held_by = ()
            generation.version.path = ""
            generation.version.status = "unloaded"
        else:
            generation.version.held_by = (generation.held.why,)
            generation.version.status = "resident"
    if generation.held is not None and generation.held.passing:
        _reaper.try_later(generation)
    return True


def _unloading_hook(generation: Generation, code: Code, patience: float) -> Held | None:
    """Run the version's last hook, if that is still to be done; return why the version can't be unloaded, if so."""
    hook = hooks_of(code).get("midflight_unloading")
    if hook is None or not generation.unloading_wanted:
        return None
    if generation.unloading is None:
        generation.unloading = Running("midflight_unloading", hook, then=lambda: _reaper.idle(generation))
        patience = patience or (generation.hook_timeout if ends_hooks(code) else 0.0)
    if not generation.unloading.wait(patience):
        if ends_hooks(code):
            _log.error("%s: midflight_unloading is ended with its process", _name(generation))
            return None
        return Held("its hook midflight_unloading, which hasn't returned", passing=True)
    generation.unloading_wanted = False
    return _judge_unloading(generation, code)


def _judge_unloading(generation: Generation, code: Code) -> Held | None:
    assert generation.unloading is not None  # noqa: S101 - it has just run
    try:
        answer = generation.unloading.result()
        did = f"which returned {answer}" if answer else ""
    except MidflightError as error:
        did = f"which failed: {error.what}"
    except Exception as error:  # noqa: BLE001 - whatever a callback of it raised
        did = f"which raised {type(error).__name__}: {error}"
    if not did:
        return None
    _log.error("%s: its hook midflight_unloading, %s", _name(generation), did)
    # What it was to end may still be at work: with the process it ends all the same.
    return None if ends_hooks(code) else Held(f"its hook midflight_unloading, {did}", passing=False)


def _name(generation: Generation) -> str:
    return f"version {generation.version.number} of {generation.version.source}"


def refresh(generation: Generation) -> None:
    """Bring a version's status and what it is held by up to date."""
    if generation.version.status == "draining":
        generation.version.held_by = holders(generation)
        retire_if_idle(generation)
    elif generation.version.status == "resident" and generation.held is not None and generation.held.passing:
        retire_if_idle(generation)


def holders(generation: Generation) -> tuple[str, ...]:
    """Say what holds a version: calls, pins, pointers, live objects, hooks that haven't returned."""
    code = generation.code
    if code is None:
        return ()
    objects = objects_of(code)
    # A live object holds a pin, and so do data and a soak.
    pins = max(0, code.table.pins - objects - bool(generation.kept_for) - bool(generation.soaked_by))
    hooks = [] if ends_hooks(code) else [one.name for one in generation.running if not one.finished]
    calls = max(0, code.table.inside - len(hooks))
    counts = ((calls, "call"), (pins, "pin"), (code.table.pointers, "pointer"), (objects, "object"))
    said = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    said += [f"carried data: {text}" for text in generation.kept_for]
    said += [generation.soaked_by] if generation.soaked_by else []
    return (*said, *(f"its hook {name}, which hasn't returned" for name in hooks))


def wait_idle(generation: Generation, timeout: float | None) -> bool:
    """Wait until nothing holds a version that isn't offered any more; return whether that came in time."""
    code = generation.code
    if code is None:
        return True
    # A queue that may be put to from anywhere: the last holder may leave in the middle of a garbage collection.
    left: queue.SimpleQueue[None] = queue.SimpleQueue()
    code.table.on_idle = lambda: left.put(None)
    end = None if timeout is None else time.monotonic() + timeout
    while holders(generation):
        rest = None if end is None else max(0.0, end - time.monotonic())
        # Calls through stable pointers end without telling anybody.
        pause = _UNHEARD_DELAY if code.table.unheard and (rest is None or rest > _UNHEARD_DELAY) else rest
        try:
            left.get(timeout=pause)
        except queue.Empty:
            if pause == rest:
                return not holders(generation)
        else:
            return True
    return True


def settle() -> None:
    """Wait until the background thread has dealt with every version whose last holder has left by now."""
    _reaper.settle()


class _Reaper:
    """The background thread, started when there is first something for it to do."""

    def __init__(self) -> None:
        # What has become idle, or an event to set when this place is reached.  put() may be called from anywhere.
        self._notes: queue.SimpleQueue[Generation | threading.Event] = queue.SimpleQueue()
        self._residents: set[Generation] = set()
        # Protects _residents and _thread.  Reentrant, because a garbage collection may come here from anywhere.
        self._mutex = threading.RLock()
        self._thread: threading.Thread | None = None

    def idle(self, generation: Generation) -> None:
        """Note that a version's last holder has left.  Called in the middle of anybody's call: it only notes."""
        self._notes.put(generation)

    def try_later(self, generation: Generation) -> None:
        """Try to unload a resident version again from time to time."""
        with self._mutex:
            known = generation in self._residents
            self._residents.add(generation)
        if not known:
            self.start()
            self._notes.put(generation)

    def start(self) -> None:
        """See to it that the thread runs."""
        with self._mutex:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="midflight-reaper", daemon=True)
                self._thread.start()

    def settle(self) -> None:
        """Wait until all that has been noted so far is dealt with."""
        settled = threading.Event()
        self._notes.put(settled)
        self.start()
        settled.wait()

    def after_fork(self) -> None:
        """In the child: the thread stayed behind; what it had to do didn't."""
        self._mutex = threading.RLock()
        started, self._thread = self._thread is not None, None
        notes, self._notes = self._notes, queue.SimpleQueue()
        with contextlib.suppress(queue.Empty):
            while True:
                self._notes.put(notes.get_nowait())
        if started:
            self.start()

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                note = self._notes.get(timeout=delay if self._residents else None)
                delay = _FIRST_DELAY
                if isinstance(note, threading.Event):
                    note.set()
                else:
                    self._retire(note)
            except queue.Empty:
                self._sweep()
                delay = min(2 * delay, _LONGEST_DELAY)

    def _sweep(self) -> None:
        with self._mutex:
            residents = list(self._residents)
        for generation in residents:
            self._retire(generation)
            if not _may_pass(generation):
                with self._mutex:
                    self._residents.discard(generation)

    def _retire(self, generation: Generation) -> None:
        try:
            retire_if_idle(generation)
        except Exception:  # noqa: BLE001 - the thread must live on
            _log.exception("version %d of %s can't be unloaded", generation.version.number, generation.version.source)


def _may_pass(generation: Generation) -> bool:
    """Whether what holds a version may end without telling anybody."""
    code = generation.code
    if code is None:
        return False
    return code.table.unheard > 0 if generation.held is None else generation.held.passing


_reaper = _Reaper()
os.register_at_fork(after_in_child=_reaper.after_fork)
