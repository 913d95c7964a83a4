"""The swap transaction: written once, for one module or several, for every lane.

resolve → inspect → probe → load → hooks → canary → gate → move → **switch** → hooks → drain → retire.  Guarantees:
- All that can fail comes before the switch, which is one call of the core that stores the new table of every module
  concerned.  When a stage fails, for whatever module, all that was done is undone, in reverse order, and nothing has
  changed.  Only hooks in Python run after it: if one fails, all modules go back, by a swap of their own.
- Swaps of one module run one after the other, in the order in which they asked; those of different modules side by
  side.  Several modules' queues are taken in one fixed order, so that two transactions can't wait for each other.
- Callers never wait for a stage but the move of data, where there are any: see `midflight._gate`.
- The error names the stage, the reason and what goes on running.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from midflight import _crashes, _prepare, _stages
from midflight._carry import Carrying
from midflight._errors import HookError, MidflightError, SwapError, SwapInsideError
from midflight._events import Refused, Swapped, emit
from midflight._fall_back import FallBack
from midflight._gate import Closed
from midflight._prepare import stage
from midflight._running import runs_for
from midflight._stages import Request, Step
from midflight.soaking.watcher import tell, watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midflight._control import Control, Generation
    from midflight._trial import Trial
    from midflight._version import Report
    from midflight.soaking.watcher import Member


def run(requests: Sequence[Request]) -> list[Report]:
    """Carry out all requests, or none.  Raises what the failing stage raised."""
    try:
        return _run(requests)
    finally:
        for request in requests:
            tell(request.control, request.ended)


def _run(requests: Sequence[Request]) -> list[Report]:
    _refuse_inside(requests)
    try:
        with _queued(requests):
            steps = _carry_out(requests)
        for step in steps:
            _stages.finish(step)
    except MidflightError as error:
        for request in requests:
            module = request.control.module
            if module is not None:
                emit(Refused(module, request.control.name, error))
        raise
    reports = [step.report for step in steps if step.report is not None]
    for request, report in zip(requests, reports, strict=True):
        module = request.control.module
        if module is not None and report.changed:
            emit(Swapped(module, report))
    return reports


def first_generation(control: Control, trial: Trial) -> Generation:
    """Resolve, inspect and load a module's first version."""
    generation = _prepare.first_generation(control, trial)
    _watch_crashes(control, generation)
    return generation


def _watch_crashes(control: Control, generation: Generation) -> None:
    if generation.code is not None:
        generation.code.failing = FallBack(control, generation, _go_back_fresh, "crashes again and again").later
        _crashes.watch(control, generation, FallBack(control, generation, _go_back_with_data, "crashed"))


def _go_back_fresh(control: Control) -> Report:
    """Go back from a version whose process has died again and again: its data died with it."""
    why = "it crashed again and again"
    return run([Request(control, control.source, "any", back=True, carrying=Carrying("fresh"), because=why)])[0]


def _go_back_with_data(control: Control) -> Report:
    """Go back from a version that has crashed in this process."""
    carrying = control.options.carrying
    return run([Request(control, control.source, "any", back=True, carrying=carrying, because="it crashed")])[0]


def _go_back_together(members: Sequence[Member], because: str) -> None:
    """Go back from versions that do worse than those before them."""
    found = [(member.control(), member.generation(), member.carrying) for member in members]
    run(
        [
            Request(control, control.source, "any", back=True, carrying=carrying, leaving=generation, because=because)
            for control, generation, carrying in found
            if control is not None
        ]
    )


watcher.go_back = _go_back_together


# ---- the queue ------------------------------------------------------------------------------------------------------


_AFTERWARDS = "swap again when the outer swap has ended"


def _refuse_inside(requests: Sequence[Request]) -> None:
    """Refuse what would wait for itself."""
    for request in requests:
        control, current = request.control, request.control.current
        if control in runs_for():
            what = "a swap was asked for from inside a hook of a swap of the same module"
            raise SwapInsideError(what, subject=control.name, unchanged="the outer swap goes on", todo=_AFTERWARDS)
        if current is None or current.code is None or not current.table.entered_here():
            continue
        if request.drain > 0:
            what = "a swap that waits for calls to end was asked for from inside a call into the same module"
            todo = "swap without drain=; the old version is unloaded when the call has ended"
            raise SwapInsideError(what, subject=control.name, unchanged="nothing was changed", todo=todo)
        if request.moves(current):
            what = "a swap that moves data was asked for from inside a call into the same module"
            todo = "swap when the call has ended, from another thread for example; or with carry='fresh'"
            raise SwapInsideError(what, subject=control.name, unchanged="nothing was changed", todo=todo)


@contextmanager
def _queued(requests: Sequence[Request]) -> Iterator[None]:
    """Hold the queues of all modules concerned."""
    controls = sorted({request.control for request in requests}, key=lambda control: control.serial)
    if len(controls) != len(requests):
        names = [request.control.name for request in requests]
        twice = ", ".join(dict.fromkeys(name for name in names if names.count(name) > 1))
        what, todo = "a module is named twice in one transaction", "name it once, with the version that you mean"
        raise SwapError(what, subject=twice, unchanged="nothing was changed", todo=todo)
    with ExitStack() as held:
        for control in controls:
            held.enter_context(control.queue)
            if control.busy:
                what = "a swap was asked for from inside a swap of the same module, in the same thread"
                raise SwapInsideError(what, subject=control.name, unchanged="the outer swap goes on", todo=_AFTERWARDS)
            control.busy = True
            held.callback(setattr, control, "busy", False)
        yield


# ---- the order ------------------------------------------------------------------------------------------------------


def _carry_out(requests: Sequence[Request]) -> list[Step]:
    """Make all new versions current, and let the program's hooks judge them.  What was old is still to be let go."""
    busy = frozenset(request.control for request in requests)
    steps = _steps(requests)
    _make_current(steps, busy)
    try:
        for step in steps:
            _stages.tell_after(step, busy)
    except BaseException as error:
        _go_back(steps, error)
        raise
    _stages.begin_soak(steps)
    return steps


def _steps(requests: Sequence[Request]) -> list[Step]:
    for request in requests:
        if request.leaving is not None and request.control.need_current() is not request.leaving:
            what = f"version {request.leaving.version.number} isn't current any more"
            todo = "another swap came first; see midflight.versions(module)"
            raise SwapError(what, subject=request.control.name, unchanged="nothing was changed", todo=todo)
    return [Step(request, request.control.need_current(), request.control.source) for request in requests]


def _make_current(steps: Sequence[Step], busy: frozenset[Control] | None) -> None:
    """Do all that can fail, for every module, then switch; undo everything if anything fails.

    ``busy``: the modules concerned, for the program's hooks; None: they don't run.
    """
    with ExitStack() as undo:
        for one in (_stages.observe, _stages.resolve, _stages.inspect, _stages.probe, _load, _stages.plan):
            for step in steps:
                if not step.current_already:
                    one(step, undo)
        for step in steps if busy is not None else ():
            _stages.tell_before(step, busy or frozenset())
        _stages.canary(steps, busy or frozenset())
        gate = _close_gate(steps, undo)
        for step in steps:
            if step.planned is not None:
                _stages.move(step, undo)
        _stages.switch(steps, undo)
    if gate is not None:
        gate.open()
    for step in steps:
        step.report = _stages.report(step, gate.seconds if gate is not None else 0.0)
        _stages.end_soak(step)


def _load(step: Step, undo: ExitStack) -> None:
    _stages.load(step, undo)
    if step.new is not None:
        _watch_crashes(step.control, step.new)


def _close_gate(steps: Sequence[Step], undo: ExitStack) -> Closed | None:
    """Hold callers back, if there is anything to move, and wait until nobody is inside."""
    moving = [step for step in steps if step.planned is not None]
    if not moving:
        return None
    seconds: dict[str, float] = {}
    with stage("gate", seconds, "; ".join(step.going_on for step in moving)):
        gate = Closed([(step.control, step.old) for step in moving])
        undo.callback(gate.open)
        gate.wait(min(step.request.carrying.timeout for step in moving))
    for step in moving:
        step.stages |= seconds
    return gate


def _go_back(steps: Sequence[Step], error: BaseException) -> None:
    """Return to the versions before, because a hook has failed after the switch.  Raises `HookError` that says so."""
    changed = [step for step in steps if step.new is not None]
    names = ", ".join(step.control.name for step in changed)
    what = error.what if isinstance(error, HookError) else f"{type(error).__name__} while hooks ran after a swap"
    back = _steps([_stages.way_back(step) for step in changed])
    try:
        _make_current(back, None)
    except MidflightError as problem:
        unchanged = "; ".join(step.going_on for step in back)
        what = f"{what}; and going back failed: {problem}"
        todo = "mend the hook, and swap to a version that can take the data"
        raise HookError(what, subject=names, unchanged=unchanged, stage="after", todo=todo) from error
    finally:
        for step in changed:
            _stages.finish(step)
    for step in back:
        _stages.finish(step)
    if isinstance(error, HookError):
        error.unchanged = "; ".join(
            f"{step.control.name} has gone back to what version {step.old.version.number} was" for step in changed
        )
