"""From what came of a job to what the user is told: nothing, or an error that says what the candidate did wrong."""

from __future__ import annotations

import re
import signal
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from midflight import _core, _errors
from midflight._errors import HookError, LoadError, MidflightError, ProbeError, UnresolvedSymbolError
from midflight._signal_names import signal_name
from midflight.artifact.backtrace import backtrace
from midflight.probing import protocol, replay
from midflight.probing.protocol import CheckFailed, Crashed, NotLoaded, Passed, Phase
from midflight.probing.replaying import classes_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from midflight._control import Control
    from midflight._trial import Probe
    from midflight.probing.process import Outcome
    from midflight.probing.protocol import Job

_FAULTS = {signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}
_KILLED = 9
_OURS = re.compile(rf'  File "(?:{re.escape(str(Path(__file__).parent.parent))}/|<string>|<frozen )')
_PYTHONS_OWN = "Fatal Python error: "


def judge(outcome: Outcome, job: Job, data: bytes, control: Control, probe: Probe) -> tuple[str, ...]:
    """Return warnings.  Raises `ProbeError`, or what loading the candidate would raise."""
    return _Judge(outcome, job, data, control, probe).warnings()


class _Judge:
    def __init__(self, outcome: Outcome, job: Job, data: bytes, control: Control, probe: Probe) -> None:
        self._outcome = outcome
        self._job = job
        self._data = data
        self._control = control
        self._probe = probe

    def warnings(self) -> tuple[str, ...]:
        outcome, answer = self._outcome, self._outcome.answer
        if outcome.took is not None:
            raise self._too_large(outcome.took)
        match answer:
            case Passed():
                self._compare(answer)
                return tuple(map(protocol.printable, answer.warnings))
            case NotLoaded():
                raise self._not_loaded(answer)
            case CheckFailed():
                text = protocol.printable(answer.text, lines=True)
                todo = "mend the new version, or the check if it asks too much"
                raise self._error(f"{self._where()} {protocol.printable(answer.what)}", "check", todo, text=text)
            case Crashed():
                raise self._crashed_elsewhere(answer)
        raise self._ended()

    # ---- how it ended

    def _ended(self) -> ProbeError:
        outcome, status = self._outcome, self._outcome.status
        number = status & 0x7F if status is not None else self._noted()
        if outcome.broken or outcome.cut:
            return self._broken()
        if outcome.late:
            return self._hung()
        if outcome.starved:
            return self._starved()
        if number == _KILLED:
            what = f"was killed {self._when()}, twice: by somebody else, by a limit, or for want of memory"
            return self._error(
                what, "crash", "see what kills it, or swap with probe=False", 9, text=_readable(outcome.words)
            )
        if number:
            return self._crashed(number)
        ended = "ended its process" if status is None else f"ended its process with status {status >> 8}"
        todo = "a library must not call exit: return an error instead"
        return self._error(f"{ended} {self._when()}", "exit", todo, text=_readable(outcome.words))

    def _noted(self) -> int:
        """Return the signal that the process has noted itself: somebody else has taken its status."""
        crash = _core.read_crash(self._outcome.note)
        return crash[0] & 0x7F if crash is not None else 0

    def _broken(self) -> ProbeError:
        said = "said no more: it closes" if self._outcome.cut else "sent what makes no sense: it writes to"
        when = "" if self._outcome.phase[0] == Phase.UNHEARD else f", {self._when()}"
        what = f"spoilt its probe{when}: the process {said} descriptors that aren't its own"
        return self._error(what, "crash", "mend the new version", text=_readable(self._outcome.words))

    def _crashed(self, number: int) -> ProbeError:
        crash = _core.read_crash(self._outcome.note)
        frames = self._frames()
        address = crash[2] if crash is not None and number in _FAULTS and crash[0] == number else None
        own = "in a thread of its own, " if crash is not None and crash[4] != self._outcome.pid else ""
        what = f"crashed {own}{self._when()}: {signal_name(number)}"
        what += f" at address {address:#x}" if address is not None else ""
        what += f" in {frames[0]}" if frames else ""
        todo = "mend the new version"
        return self._error(what, "crash", todo, number, address, frames, _readable(self._outcome.words))

    def _crashed_elsewhere(self, answer: Crashed) -> ProbeError:
        what = f"crashed {self._when()}: {protocol.printable(answer.what)}"
        frames = tuple(map(protocol.printable, answer.backtrace))
        text = protocol.printable(answer.text, lines=True)
        exited = not answer.signal
        what = what.replace("crashed", "ended", 1) if exited else what
        kind = "exit" if exited else "crash"
        return self._error(what, kind, "mend the new version", answer.signal, answer.address, frames, text)

    def _hung(self) -> ProbeError:
        frames = self._frames()
        at = f", in {frames[0]}" if frames else ""
        what = f"didn't come to an end within {self._probe.timeout:g} s: it was still at work {self._when()}{at}"
        todo = "mend the new version, or allow more with probe=midflight.Probe(timeout=...)"
        return self._error(what, "hang", todo, backtrace=frames, text=_readable(self._outcome.words))

    def _too_large(self, took: int) -> ProbeError:
        most = self._probe.memory or 0
        what = f"took more memory than the {most:,} bytes that it may have, {self._when()}: its process had {took:,}"
        todo = "mend the new version, or allow more with probe=midflight.Probe(memory=...)"
        return self._error(what, "memory", todo, text=_readable(self._outcome.words))

    def _starved(self) -> ProbeError:
        what = f"took so much memory {self._when()} that the system had none left and ended its process"
        todo = "mend the new version, or give it more memory if it needs that"
        return self._error(what, "memory", todo, _KILLED, text=_readable(self._outcome.words))

    def _frames(self) -> tuple[str, ...]:
        crash = _core.read_crash(self._outcome.note)
        return backtrace(self._data, protocol.image_in(self._outcome.note), crash[3]) if crash is not None else ()

    # ---- what it answered

    def _not_loaded(self, answer: NotLoaded) -> MidflightError:
        """Return the error that loading it here would have raised."""
        kind = getattr(_errors, answer.type_name, None)
        known = isinstance(kind, type) and issubclass(kind, (LoadError, HookError))
        what = protocol.printable(answer.what)
        todo = protocol.printable(answer.todo)
        if not known or kind is None:
            return self._error(f"can't be loaded: {what}", "load", todo)
        error: MidflightError = kind(what, subject=self._job.source, todo=todo)
        if isinstance(error, UnresolvedSymbolError):
            error.symbol = protocol.printable(answer.symbol)
            self._control.services.advise(error, self._job.interface, self._data)
        return error

    def _compare(self, answer: Passed) -> None:
        try:
            compare = self._control.options.compare
            found = replay.differences(self._job.samples, answer.replies, compare, self._classes())
        except ValueError:  # there aren't as many as there were calls
            raise self._broken() from None
        if found:
            count = len(self._job.samples)
            what = f"answers {len(found)} of {count} recorded calls differently: {found[0]}"
            shown = found[: replay.MOST_SHOWN]
            shown += [f"… and {len(found) - len(shown)} more"] if len(found) > len(shown) else []
            todo = "mend the new version; or allow it, with compare= in midflight.load, or once with probe=False"
            raise self._error(what, "replay", todo, text=protocol.printable("\n".join(shown), lines=True))

    def _classes(self) -> Mapping[str, Any]:
        current = self._control.current
        return classes_by_name(current.code) if current is not None and current.code is not None else {}

    # ---- words

    def _when(self) -> str:
        """Say what it was doing."""
        phase, index = self._outcome.phase
        if phase == Phase.HOOK:
            return "in its hook midflight_loaded"
        if phase in {Phase.NATIVE_CHECK, Phase.CHECK, Phase.UNPACKING}:
            return f"in {self._where()}"
        if phase == Phase.REPLAY and index < len(self._job.samples):
            return f"while a recorded call of {self._job.samples[index].function} was made again"
        if phase == Phase.UNLOADING:
            return "while it was unloaded"
        if phase == Phase.DONE:
            return "after all its checks"
        return "while it was loaded, in a constructor" if phase == Phase.LOADING else "before it was loaded"

    def _where(self) -> str:
        """Name the check that was being done."""
        phase, index = self._outcome.phase
        if phase == Phase.NATIVE_CHECK and index < len(self._job.interface.checks):
            check = self._job.interface.checks[index]
            place = PurePath(check.declared_in).name
            return f"{check.name}{f' ({place})' if place else ''}"
        if phase in {Phase.CHECK, Phase.UNPACKING} and index < len(self._job.checks):
            found = self._job.checks[index]
            return f"the check {found.name}{f' ({found.place})' if found.place else ''}"
        return "a constructor" if phase == Phase.LOADING else "a check"

    def _error(
        self,
        what: str,
        kind: Any,
        todo: str,
        number: int = 0,
        address: int | None = None,
        backtrace: tuple[str, ...] = (),
        text: str = "",
    ) -> ProbeError:
        what = f"the new version {what}" if kind != "check" else f"the new version didn't pass: {what}"
        if self._control.current is None:
            what = what.replace("the new version", "the library", 1)
            todo = todo.replace("the new version", "the library").replace("swap with", "load with")
        return ProbeError(
            what,
            kind=kind,
            signal=number,
            address=address,
            backtrace=backtrace,
            text=text,
            subject=self._control.name,
            todo=todo,
        )


def _readable(words: str) -> str:
    """Return what a process wrote, without what of Python's own report of a crash only names our functions."""
    head, mark, report = words.partition(_PYTHONS_OWN)
    if not mark:
        return words
    lines = [
        line for line in report.splitlines() if not _OURS.match(line) and not line.startswith("Extension modules:")
    ]
    users = any(line.startswith('  File "') for line in lines)
    return head + (mark + "\n".join(lines) if users else "")
