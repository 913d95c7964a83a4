"""Swap on a signal.

Why the handler is safe: CPython runs Python-level handlers in the main thread between two bytecodes, so it may
interrupt any Python code there, but no C code.  The handler takes no lock that this code could hold.  All it does is
`SimpleQueue.put`, which is documented as reentrant, and a call of the handler that was there before.  Building and
swapping happen in the runners' threads.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, TypeAlias

from midflight._errors import TriggerError
from midflight.triggers.module import runner_of
from midflight.triggers.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

    from midflight.triggers.runner import Runner

_Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int | None"


class SignalTrigger(Trigger):
    """Swaps its modules when the signal comes.

    Guarantees: the handler that was there before is called too, and is put back by `stop`.  If somebody has put
    another handler in place since, that one stays, and calls of this one do nothing but pass the signal on.
    """

    def __init__(self, signum: int, runners: tuple[Runner, ...]) -> None:
        self._signum = signum
        self._previous: _Handler = signal.getsignal(signum)
        super().__init__(runners)
        try:
            signal.signal(signum, self._handle)
        except (OSError, ValueError) as error:
            self.stop()
            what = f"the signal {signum} can't be handled ({error})"
            raise TriggerError(what, todo="take another signal, such as SIGHUP or SIGUSR1") from error

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._stopped:
            for runner in self._runners:
                runner.mark(force=True)
        elif signal.getsignal(signum) == self._handle:
            # Stopped in another thread, in which handlers can't be changed; here they can.
            signal.signal(signum, self._previous)
            if self._previous == signal.SIG_DFL:
                signal.raise_signal(signum)
        if callable(self._previous):
            self._previous(signum, frame)

    def _detach(self) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(self._signum) == self._handle:
            signal.signal(self._signum, self._previous)


def on_signal(signum: int, *modules: ModuleType) -> SignalTrigger:
    """Swap ``modules`` each time the signal comes: ``on_signal(signal.SIGHUP, calc)``.

    A signal is an explicit wish, so content that was refused before is tried again.  A handler that was installed from
    Python before is called as well.  Only the main thread may call this.  Raises `TriggerError`, or `SwapError` for
    what `midflight.load` didn't return.
    """
    name = _signal_name(signum)
    if not modules:
        raise TriggerError("no module was given", subject=name, todo="write on_signal(signal.SIGHUP, module)")
    if threading.current_thread() is not threading.main_thread():
        what = "a signal handler can only be installed in the main thread"
        raise TriggerError(what, subject=name, todo="call on_signal in the main thread")
    if signal.getsignal(signum) is None:
        what = "the signal has a handler that wasn't installed from Python and couldn't be put back"
        raise TriggerError(what, subject=name, todo="take another signal, such as SIGUSR1")
    return SignalTrigger(signum, tuple(dict.fromkeys(runner_of(module) for module in modules)))


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError as error:
        what = f"{signum!r} is no signal"
        raise TriggerError(what, todo="take one of the signal module's, such as signal.SIGHUP") from error
