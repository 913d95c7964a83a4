"""The swap transaction: written once, for one module or several, for every lane.

resolve → inspect → load → **switch** → drain → retire.  Guarantees:
- All that can fail comes before the switch, which is one call of the core that stores the new table of every module
  concerned.  When a stage fails, for whatever module, all that was prepared is discarded and nothing has changed.
- Swaps of one module run one after the other, in the order in which they asked; those of different modules side by
  side.  Several modules' queues are taken in one fixed order, so that two transactions can't wait for each other.
- Callers never wait for a stage; nobody waits for calls under way while holding a queue.
- The error names the stage, the reason and what goes on running.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from midflight import _core, _retire, lanes
from midflight._control import Control, Generation
from midflight._errors import IncompatibleError, MidflightError, SwapError, SwapInsideError, UnresolvedSymbolError
from midflight._events import Refused, Swapped, emit
from midflight._lane import Wanted, pause_of, tell_switched
from midflight._version import Report, Version
from midflight.artifact import compare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midflight._lane import Code, Lane
    from midflight.artifact.interface import Interface
    from midflight.build import Artifact, Source


_log = logging.getLogger("midflight")


@dataclass(slots=True)
class Request:
    """One module's part of a transaction.  ``back``: to the artifact before, instead of what the source gives."""

    control: Control
    source: Source
    compat: str
    drain: float = 0.0
    back: bool = False


class Inspected(NamedTuple):
    """What was found out about an artifact.  ``reason``: why its lane isn't the usual one, or ""."""

    lane: Lane
    reason: str
    interface: Interface


@dataclass(slots=True)
class _Step:
    """A request on its way."""

    request: Request
    old: Generation
    stages: dict[str, float] = field(default_factory=dict)
    artifact: Artifact | None = None
    data: bytes = b""
    inspected: Inspected | None = None
    changes: tuple[str, ...] = ()
    new: Generation | None = None

    @property
    def current_already(self) -> bool:
        return self.artifact is not None and self.artifact.sha256 == self.old.artifact.sha256


def run(requests: Sequence[Request]) -> list[Report]:
    """Carry out all requests, or none.  Raises what the failing stage raised."""
    _refuse_inside(requests)
    try:
        with _queued(requests):
            steps = [_Step(request, request.control.need_current()) for request in requests]
            _prepare(steps)
            _switch(steps)
        reports = [_finish(step) for step in steps]
    except MidflightError as error:
        for request in requests:
            module = request.control.module
            if module is not None:
                emit(Refused(module, request.control.name, error))
        raise
    for request, report in zip(requests, reports, strict=True):
        module = request.control.module
        if module is not None and report.changed:
            emit(Swapped(module, report))
    return reports


def first_generation(control: Control) -> Generation:
    """Resolve, inspect and load a module's first version."""
    stages: dict[str, float] = {}
    with _stage("resolve", stages, ""):
        artifact = control.source.resolve()
        data = artifact.read()
    with _stage("inspect", stages, ""):
        inspected = inspect(control, control.source, artifact, data)
    with _stage("load", stages, ""):
        return prepare(control, control.source, artifact, data, inspected, None)


def inspect(control: Control, source: Source, artifact: Artifact, data: bytes) -> Inspected:
    """Judge an artifact without running any of it, choose its lane, and read what it offers."""
    try:
        lane, reason = lanes.choose(control.options.lanes, artifact, data)
        return Inspected(lane, reason, lane.read_interface(artifact, data, control.options.interface))
    except MidflightError as error:
        error.subject = error.subject or source.display
        raise


def prepare(
    control: Control,
    source: Source,
    artifact: Artifact,
    data: bytes,
    inspected: Inspected,
    old: Generation | None,
) -> Generation:
    """Load an artifact as a new version that isn't current yet."""
    lane, reason, interface = inspected
    control.add_slots(interface)
    services, unused = control.services.resolve(interface, data, lane.name)
    if old is None:
        control.services.refuse_unused(unused, interface, data)
    number = control.next_number()
    display = source.display
    wanted = Wanted(
        module=control.name,
        label=str(number),
        data=data,
        artifact=artifact,
        interface=interface,
        source=display,
        slots=control.slots,
        explicit=control.explicit,
        hold_gil=control.options.holds_gil,
        lazy=control.options.lazy,
        before=_alike(interface, old),
        old=old.code if old is not None else None,
        services=services,
    )
    try:
        code = lane.prepare(wanted)
    except UnresolvedSymbolError as error:
        control.services.advise(error, interface, data)
        raise
    if unused:
        code.warnings = (*code.warnings, f"version {number} doesn't call what is provided as {', '.join(unused)}")
    if reason:
        code.warnings = (*code.warnings, f"version {number} runs in a process of its own: {reason}")
    version = Version(number, artifact.sha256, display, "current", path=code.path, lane=lane.name)
    generation = Generation(version, artifact, interface, code)
    code.failing = partial(_fall_back_later, weakref.ref(control), weakref.ref(generation))
    return generation


def _alike(interface: Interface, old: Generation | None) -> Code | None:
    """The version before, where the types are the same: its classes stay, so that instances and isinstance() do."""
    if old is None or old.code is None or old.interface.types != interface.types:
        return None
    return old.code


# ---- a version that crashes again and again ------------------------------------------------------------------------


def _fall_back_later(control: weakref.ref[Control], generation: weakref.ref[Generation]) -> None:
    """Go back in the background: a call that has just crashed is no place to wait for a swap."""
    threading.Thread(target=_fall_back, args=(control, generation), name="midflight-fall-back", daemon=True).start()


def _fall_back(find: weakref.ref[Control], failed: weakref.ref[Generation]) -> None:
    control, generation = find(), failed()
    if control is None or generation is None or control.current is not generation or not control.past:
        return
    try:
        report = run([Request(control, control.source, "any", back=True)])[0]
    except MidflightError as error:
        _log.error("%s crashes again and again, and the version before can't take over: %s", control.name, error)
    else:
        _log.warning("%s: version %d crashes again and again: %s", control.name, generation.version.number, report)


# ---- the queue ------------------------------------------------------------------------------------------------------


def _refuse_inside(requests: Sequence[Request]) -> None:
    for request in requests:
        control, current = request.control, request.control.current
        if request.drain > 0 and current is not None and current.table.entered_here():
            what = "a swap that waits for calls to end was asked for from inside a call into the same module"
            todo = "swap without drain=; the old version is unloaded when the call has ended"
            raise SwapInsideError(what, subject=control.name, unchanged="nothing was changed", todo=todo)


@contextmanager
def _queued(requests: Sequence[Request]) -> Iterator[None]:
    """Hold the queues of all modules concerned."""
    controls = sorted({request.control for request in requests}, key=lambda control: control.serial)
    if len(controls) != len(requests):
        raise SwapError("a module is named twice in one transaction", unchanged="nothing was changed")
    with ExitStack() as held:
        for control in controls:
            held.enter_context(control.queue)
            if control.busy:
                what = "a swap was asked for from inside a swap of the same module, in the same thread"
                raise SwapInsideError(what, subject=control.name, unchanged="the outer swap goes on")
            control.busy = True
            held.callback(setattr, control, "busy", False)
        yield


@contextmanager
def _stage(name: str, stages: dict[str, float], unchanged: str) -> Iterator[None]:
    """Time a stage, and let its error say which it was."""
    start = time.perf_counter()
    try:
        yield
    except MidflightError as error:
        error.stage = error.stage or name
        error.unchanged = error.unchanged or unchanged
        raise
    finally:
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - start


# ---- the stages -----------------------------------------------------------------------------------------------------


def _prepare(steps: list[_Step]) -> None:
    """Do all that can fail, for every module; discard everything if anything does."""
    try:
        for stage in (_resolve, _inspect, _load):
            for step in steps:
                if not step.current_already:
                    stage(step)
    except BaseException:
        for step in steps:
            if step.new is not None:
                _retire.let_go(step.new)
        raise


def _going_on(step: _Step) -> str:
    return f"version {step.old.version.number} of {step.request.control.name} goes on running"


def _resolve(step: _Step) -> None:
    request = step.request
    with _stage("resolve", step.stages, _going_on(step)):
        if request.back:
            if not request.control.past:
                what = "there is no version before this one to go back to"
                raise SwapError(what, subject=request.control.name)
            step.artifact, request.source = request.control.past[-1]
        else:
            step.artifact = request.source.resolve()
        if not step.current_already:
            step.data = step.artifact.read()


def _inspect(step: _Step) -> None:
    control, artifact = step.request.control, step.artifact
    assert artifact is not None  # noqa: S101 - resolve has run
    with _stage("inspect", step.stages, _going_on(step)):
        step.inspected = inspect(control, step.request.source, artifact, step.data)
        changes = compare.compare(step.old.interface, step.inspected.interface)
        step.changes = tuple(str(change) for change in changes)
        breaking = [str(change) for change in changes if not change.compatible]
        if breaking and step.request.compat == "strict":
            what = f"the new version doesn't offer what version {step.old.version.number} does: {'; '.join(breaking)}"
            todo = "keep what callers use, or allow the change with compat='any'"
            raise IncompatibleError(what, changes=breaking, subject=control.name, todo=todo)


def _load(step: _Step) -> None:
    control, artifact, inspected = step.request.control, step.artifact, step.inspected
    assert artifact is not None  # noqa: S101 - resolve has run
    assert inspected is not None  # noqa: S101 - inspect has run
    with _stage("load", step.stages, _going_on(step)):
        step.new = prepare(control, step.request.source, artifact, step.data, inspected, step.old)
        step.data = b""


def _switch(steps: list[_Step]) -> None:
    """Make the new versions current: one call of the core; then only bookkeeping that can't fail."""
    moving = [(step, step.new) for step in steps if step.new is not None]
    start = time.perf_counter()
    _core.switch([(step.request.control.cell, new.table) for step, new in moving])
    for step, new in moving:
        if new.code is not None:
            tell_switched(new.code)
        control = step.request.control
        control.current = new
        control.generations.append(new)
        if step.request.back:
            control.past.pop()
        else:
            control.past.append((step.old.artifact, control.source))
        control.source = step.request.source
        control.publish()
        step.stages["switch"] = time.perf_counter() - start


def _finish(step: _Step) -> Report:
    """Let the old version go, and report."""
    control, old = step.request.control, step.old
    if step.new is None:
        return Report(control.name, old.version, old.version, changed=False, stages=step.stages)
    with _stage("drain", step.stages, ""):
        if step.request.drain > 0:
            wait_idle(old, step.request.drain)
    with _stage("retire", step.stages, ""):
        _retire.let_go(old)
    control.forget_old()
    code = step.new.code
    warnings = (step.artifact.warnings if step.artifact else ()) + (code.warnings if code else ())
    return Report(
        control.name,
        old.version,
        step.new.version,
        stages=step.stages,
        pause=pause_of(code) if code else 0.0,
        changes=step.changes,
        warnings=warnings,
    )


def wait_idle(generation: Generation, timeout: float | None) -> bool:
    """Wait until nothing holds a version that isn't offered any more; return whether that came in time."""
    code = generation.code
    if code is None:
        return True
    # A queue that may be put to from anywhere: the last holder may leave in the middle of a garbage collection.
    left: queue.SimpleQueue[None] = queue.SimpleQueue()
    code.table.on_idle = lambda: left.put(None)
    if not _retire.holders(generation):
        return True
    try:
        left.get(timeout=timeout)
    except queue.Empty:
        return False
    return True
