"""The one thread that watches files, for all watchers of the process.

The kernel's notifications (by watchfiles) tell quickly that something happened; what happened is never concluded from
them, only that a runner should look.  Once a second the watched files' status is looked at too, which covers what
notifications miss: network file systems, a directory that was moved together with its parent.

Guarantees:
- A change made after `Watcher.wait_ready` has returned is looked at.  So is one made between loading and watching.
- The directories that are watched follow the modules' inputs, symbolic links on the way to them, and directories that
  vanish and come back.
- `add`, `remove` and `refresh` may be called from any thread; `refresh` also from a finalizer.
- The thread exists while there are watchers, and has ended when the last `remove` returns.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from watchfiles._rust_notify import RustNotify  # documented as watchfiles' low-level interface

from midflight.triggers.trail import trail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midflight.triggers.runner import Runner

_CHECK_MILLISECONDS = 1000
_POLL_SECONDS = 0.1
_LONGEST_SETTLE = 10

_log = logging.getLogger("midflight")

_Status: TypeAlias = tuple[int, ...] | None


@dataclass(eq=False)
class Subscription:
    """What one watcher wants: its ``runner`` told of changes, ``settle`` seconds after the last one."""

    runner: Runner
    settle: float
    ready: threading.Event = field(default_factory=threading.Event)
    entries: frozenset[str] = frozenset()
    status: dict[Path, _Status] = field(default_factory=dict)

    def follow(self) -> None:
        """Find out anew which directory entries matter."""
        inputs = self.runner.target.inputs()
        self.entries = frozenset(str(entry) for path in inputs for entry in trail(path))
        self.status = {path: _status(path) for path in inputs}

    def drifted(self) -> bool:
        """Tell whether a file's status, or which files matter, has changed since the last look."""
        before = self.status
        self.status = {path: _status(path) for path in self.runner.target.inputs()}
        return self.status != before


class _Flag:
    """Like an event, but without a lock, so that a finalizer may set it."""

    def __init__(self) -> None:
        self.value = False

    def is_set(self) -> bool:
        return self.value


class Observer:
    """Watches for any number of subscriptions."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as new, without any subscription; for a forked child, in which the thread doesn't exist."""
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._thread: threading.Thread | None = None
        self._wake = _Flag()

    def add(self, subscription: Subscription) -> None:
        """Watch for one more."""
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
            if self._thread is None:
                # A flag for each thread: a new one can't clear what an old one still has to see.
                self._wake = _Flag()
                self._thread = threading.Thread(
                    target=self._run, args=(self._wake,), name="midflight-watch", daemon=True
                )
                self._thread.start()
        self.refresh()

    def remove(self, subscription: Subscription) -> None:
        """Watch for one fewer."""
        with self._lock:
            self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)
            thread = None
            if not self._subscriptions:
                thread, self._thread = self._thread, None
            self.refresh()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def refresh(self) -> None:
        """Look anew at what is to be watched."""
        self._wake.value = True

    def shutdown(self) -> None:
        """End the thread: a daemon thread may not be inside foreign code when the interpreter goes."""
        for subscription in self._subscriptions:
            self.remove(subscription)

    def _run(self, wake: _Flag) -> None:
        notify, watched = None, _Directories()
        _settle_notifier()
        while (subscriptions := self._next(wake)) is not None:
            for subscription in subscriptions:
                subscription.follow()
            wanted = _Directories.of(subscriptions)
            if notify is None or wanted != watched:
                if notify is not None:
                    notify.close()
                notify, watched = _open(wanted), wanted
            for subscription in subscriptions:
                # Something may have happened before the watching began, or been dropped by the notifier, which forgets
                # what it has not told yet when it is woken.
                subscription.runner.mark()
                subscription.ready.set()
            self._wait(notify, watched, subscriptions, wake)
        if notify is not None:
            notify.close()

    def _next(self, wake: _Flag) -> tuple[Subscription, ...] | None:
        """Return the subscriptions to serve, None to end."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return None
            wake.value = False
            for ended in [one for one in self._subscriptions if not one.runner.alive]:
                ended.ready.set()
            self._subscriptions = tuple(one for one in self._subscriptions if one.runner.alive)
            if not self._subscriptions:
                self._thread = None
                return None
            return self._subscriptions

    def _wait(
        self, notify: RustNotify | None, watched: _Directories, subscriptions: tuple[Subscription, ...], wake: _Flag
    ) -> None:
        """Tell runners of changes until what is watched has to be looked at anew."""
        settle = min(subscription.settle for subscription in subscriptions)
        while not wake.value:
            changes = _changes(notify, settle, wake)
            if isinstance(changes, str):
                if changes == "timeout" and self._check(subscriptions, watched):
                    return
                continue
            paths = {path for _, path in changes}
            for subscription in subscriptions:
                if not paths.isdisjoint(subscription.entries):
                    subscription.runner.mark()
            if not paths.isdisjoint(watched.structure(subscriptions)):
                return

    def _check(self, subscriptions: Iterable[Subscription], watched: _Directories) -> bool:
        """Look at the files themselves; return True if what is watched is no longer what should be."""
        drifted = [subscription for subscription in subscriptions if subscription.drifted()]
        for subscription in drifted:
            subscription.runner.mark()
        if drifted or not all(subscription.runner.alive for subscription in subscriptions):
            return True
        return watched.moved()


@dataclass(frozen=True)
class _Directories:
    """The directories to watch, each with its device and inode: a new directory of the same name is another one."""

    identities: frozenset[tuple[str, int, int]] = frozenset()

    @classmethod
    def of(cls, subscriptions: Iterable[Subscription]) -> _Directories:
        names = {str(Path(entry).parent) for one in subscriptions for entry in one.entries}
        return cls(frozenset(identity for identity in map(_identity, names) if identity is not None))

    def names(self) -> list[str]:
        return sorted(name for name, _, _ in self.identities)

    def moved(self) -> bool:
        return any(_identity(identity[0]) != identity for identity in self.identities)

    def structure(self, subscriptions: Iterable[Subscription]) -> set[str]:
        """Return the paths whose change may mean that other directories have to be watched."""
        entries = {entry for one in subscriptions for entry in one.entries}
        return {*self.names(), *(entry for entry in entries if not Path(entry).is_file() or Path(entry).is_symlink())}


def _identity(name: str) -> tuple[str, int, int] | None:
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return name, found.st_dev, found.st_ino


def _status(path: Path) -> _Status:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _open(directories: _Directories) -> RustNotify | None:
    """Return a new notifier, None if there can be none: a directory has just vanished, or the kernel's limit is met."""
    try:
        return RustNotify(directories.names(), False, False, 0, False, True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        _log.warning("file notifications can't be had (%s); the files are looked at ten times a second instead", error)
        return None


def _settle_notifier() -> None:
    """Let the notifier make what it makes at its first use, before anybody is told that the watching has begun.

    A fork in the middle of that would leave the child's first use waiting for ever for a thread that it doesn't have.
    """
    raised = _Flag()
    raised.value = True
    with contextlib.suppress(OSError, RuntimeError):
        RustNotify([], False, False, 0, False, True).watch(1, 1, 1, raised)


def _changes(
    notify: RustNotify | None, settle: float, wake: _Flag
) -> set[tuple[int, str]] | Literal["signal", "stop", "timeout"]:
    if notify is None:
        time.sleep(_POLL_SECONDS)
        return "timeout"
    # The notifier looks every step, and returns when nothing more came for one step: two steps after the last change.
    step = max(1, round(settle * 500))
    with contextlib.suppress(RuntimeError):
        return notify.watch(step * 2 * _LONGEST_SETTLE, step, _CHECK_MILLISECONDS, wake)
    return "timeout"


observer = Observer()
atexit.register(observer.shutdown)


os.register_at_fork(after_in_child=observer.forget)
