"""The trials of a candidate, in the probing process: loading, its own checks, the program's checks, replay, unloading.

What a trial does to this process, by a crash or a hang, the program sees from outside; `tell` says what is being done.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from typing import TYPE_CHECKING, Any

from midflight._errors import MidflightError, UnresolvedSymbolError, WorkerCrashedError
from midflight.artifact.hooks import returns_int
from midflight.lanes.worker import process as workers
from midflight.probing import assertions, replaying, travel
from midflight.probing.candidate import Candidate
from midflight.probing.protocol import Answer, CheckFailed, Crashed, NotLoaded, Passed, Phase, long, short
from midflight.probing.stand_ins import StandIns

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Link
    from midflight.probing.protocol import Job, Reply

    Tell = Callable[..., object]


class _FailedError(Exception):
    """A trial has failed; ``answer`` says how."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def run(job: Job, data: bytes, tell: Tell) -> Answer:
    """Carry out all trials, up to the first that fails."""
    try:
        stand_ins = StandIns(job.needs, _unpacked(job.stand_ins, None))
        tell(Phase.LOADING)
        candidate = _load(job, data, stand_ins, tell)
        _run_native_checks(job, candidate, tell)
        _run_checks(job, candidate, stand_ins, tell)
        replies = _replay(job, candidate, tell)
        _refuse_ended(candidate.link)
        tell(Phase.UNLOADING)
        warnings = _unload(candidate)
        tell(Phase.DONE)
    except _FailedError as failed:
        return failed.answer
    return Passed(replies, warnings)


# ---- loading and unloading ------------------------------------------------------------------------------------------


def _load(job: Job, data: bytes, stand_ins: StandIns, tell: Tell) -> Candidate:
    try:
        return Candidate(job, data, stand_ins, tell)
    except WorkerCrashedError as error:
        raise _FailedError(_crashed(error)) from None
    except MidflightError as error:
        symbol = error.symbol if isinstance(error, UnresolvedSymbolError) else ""
        what = error.what.replace("version 1 ", "the new version ", 1)  # here it is always the first
        texts = map(short, (type(error).__name__, what, error.subject, error.todo, symbol))
        raise _FailedError(NotLoaded(*texts)) from None
    except BaseException as error:  # noqa: BLE001 - a stand-in that a constructor has called may raise anything
        raise _FailedError(_raised(error)) from None


def _unload(candidate: Candidate) -> tuple[str, ...]:
    link = candidate.link
    held = candidate.unload()
    if link is not None and (link.crash is not None or link.status):
        raise _FailedError(_ended(link))
    return (short(f"its unloading couldn't be tried in the probe: it is held by {held}"),) if held else ()


def _refuse_ended(link: Link | None) -> None:
    """Notice that the candidate's own process has ended on its own."""
    if link is not None and link.gone():
        raise _FailedError(_ended(link))


def _ended(link: Link) -> Crashed:
    """Say how the candidate's own process has ended."""
    signal, _, address, *_ = link.crash or (max(0, link.status) & 0x7F, 0, None)
    return Crashed(short(workers.how_it_ended(link)), signal, address, text=long(workers.crash_text(link)))


def _crashed(error: WorkerCrashedError) -> Crashed:
    backtrace = tuple(map(short, error.backtrace))
    return Crashed(short(error.what), error.signal, error.address, backtrace, long(error.text))


# ---- checks ---------------------------------------------------------------------------------------------------------


def _run_native_checks(job: Job, candidate: Candidate, tell: Tell) -> None:
    for index, check in enumerate(job.interface.checks):
        tell(Phase.NATIVE_CHECK, index)
        try:
            answer = candidate.call(check.qualified)
        except BaseException as error:  # noqa: BLE001 - a stand-in that it has called may raise anything
            raise _FailedError(_raised(error)) from None
        if returns_int(job.interface, check) and answer != 0:
            raise _FailedError(CheckFailed(f"returned {answer}"))


def _run_checks(job: Job, candidate: Candidate, stand_ins: StandIns, tell: Tell) -> None:
    for index, check in enumerate(job.checks):
        tell(Phase.UNPACKING, index)
        functions, function = _unpacked(check.stand_ins, candidate), _unpacked(check.function, candidate)
        tell(Phase.CHECK, index)
        with stand_ins.replaced(functions):
            _run_check(function, candidate)


def _run_check(function: Any, candidate: Candidate) -> None:
    try:
        answer = function(candidate.module)
        if inspect.iscoroutine(answer):
            asyncio.run(answer)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the check has failed
        raise _FailedError(_raised(error)) from None


def _unpacked(data: bytes, candidate: Candidate | None) -> Any:
    try:
        return travel.unpack(data, candidate) if data else {}
    except BaseException as error:  # noqa: BLE001 - it may import anything
        what = f"can't be unpacked in the probe: {type(error).__name__}: {error}"
        raise _FailedError(CheckFailed(short(what), _text(error))) from None


def _raised(error: BaseException) -> Answer:
    if isinstance(error, WorkerCrashedError):
        return _crashed(error)
    return CheckFailed(short(assertions.describe(error)), _text(error))


def _text(error: BaseException) -> str:
    """Return a traceback without what is ours at its top."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("midflight.probing"):
        trace = trace.tb_next
    return long("".join(traceback.format_exception(type(error), error, trace)))


# ---- replay ---------------------------------------------------------------------------------------------------------


def _replay(job: Job, candidate: Candidate, tell: Tell) -> tuple[Reply, ...]:
    replies = []
    for index, sample in enumerate(job.samples):
        tell(Phase.REPLAY, index)
        try:
            replies.append(replaying.replay(sample, candidate))
        except WorkerCrashedError as error:
            raise _FailedError(_crashed(error)) from None
    return tuple(replies)
