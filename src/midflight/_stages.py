"""The stages of a swap, for one module each; `midflight._transaction` knows their order.

Guarantees:
- A stage that raises has undone what it did; what a stage that succeeded did is undone by what it put on ``undo``.
- Its error names the stage and what goes on running.
"""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight import _core, _hooks, _observing, _prepare, _probe, _retire, moving
from midflight._carry import Carrying
from midflight._errors import IncompatibleError, StateError, SwapError
from midflight._lane import moves_data_early, pause_of, tell_has_data, tell_switched, threads_of
from midflight._prepare import stage
from midflight._trial import Trial
from midflight._version import Report
from midflight.artifact import compare
from midflight.soaking import window
from midflight.soaking.watcher import Member, watcher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from midflight._control import Control, Generation
    from midflight._prepare import Inspected
    from midflight._soak import Soak, State
    from midflight._version import Carried
    from midflight.build import Artifact, Source
    from midflight.moving import Move, Planned
    from midflight.soaking.watcher import Watch


@dataclass(slots=True)
class Request:
    """One module's part of a transaction.

    ``back``: to the artifact before, instead of what the source gives; ``to``: to this artifact and source;
    ``leaving``: only from this version; ``because``: why a module goes back by itself; ``ended``: the soak that the
    swap has ended, which is still to be told.
    """

    control: Control
    source: Source
    compat: str
    drain: float = 0.0
    back: bool = False
    carrying: Carrying = field(default_factory=Carrying)
    to: tuple[Artifact, Source] | None = None
    trial: Trial = field(default_factory=Trial)
    leaving: Generation | None = None
    because: str = ""
    ended: Soak | None = None

    def moves(self, old: Generation) -> bool:
        """Whether callers have to be held back while ``old`` is replaced."""
        return moving.has_state(self.control, old, self.carrying)


@dataclass(slots=True)
class Step:
    """A request on its way.  ``source_before``: the module's source until the switch."""

    request: Request
    old: Generation
    source_before: Source
    stages: dict[str, float] = field(default_factory=dict)
    artifact: Artifact | None = None
    data: bytes = b""
    inspected: Inspected | None = None
    changes: tuple[str, ...] = ()
    new: Generation | None = None
    planned: Planned | None = None
    unknown: Carried | None = None
    move: Move | None = None
    warnings: tuple[str, ...] = ()
    soak: Soak | None = None
    watch: Watch | None = None
    report: Report | None = None

    @property
    def control(self) -> Control:
        """The module's record."""
        return self.request.control

    @property
    def moves(self) -> bool:
        """Whether its data, or its hooks, want callers to be held back."""
        return self.new is not None and self.request.moves(self.old)

    @property
    def current_already(self) -> bool:
        """Whether the bytes are those of the current version."""
        return self.artifact is not None and self.artifact.sha256 == self.old.artifact.sha256

    @property
    def going_on(self) -> str:
        """What the failure of a stage leaves unchanged."""
        return f"version {self.old.version.number} of {self.control.name} goes on running"


# ---- beforehand ---------------------------------------------------------------------------------------------------


def observe(step: Step, undo: ExitStack) -> None:
    """Note the old version's calls from now on, if the new one's are to be compared with them."""
    soaking = step.request.trial.soaking
    if soaking.canary:
        with stage("canary", {}, step.going_on):
            refuse_canary_with_data(step)
    elif soaking.seconds:
        _observing.begin(step.control, step.old)
        undo.callback(_observing.end, step.old)


def refuse_canary_with_data(step: Step) -> None:
    """Refuse to let two versions run side by side where their data are to be one version's afterwards."""
    moves_early = step.old.code is not None and moves_data_early(step.old.code)
    if not moves_early and not step.request.moves(step.old):
        return
    fresh = step.request.carrying.carry == "fresh"
    what = "with canary= two versions run at the same time, each with data of its own, and what calls of the candidate"
    what = f"{what} do to its data would be lost when the old version's are carried over"
    todo = "use soak= without canary=" if fresh or moves_early else "give carry='fresh', or soak= without canary="
    raise SwapError(what, subject=step.control.name, todo=todo)


# ---- before the switch ----------------------------------------------------------------------------------------------


def resolve(step: Step, _undo: ExitStack) -> None:
    """Find or build the artifact."""
    request, past = step.request, step.control.past
    with stage("resolve", step.stages, step.going_on):
        if request.to is not None:
            step.artifact, request.source = request.to
        elif request.back:
            if not past:
                todo = "name what to swap to: midflight.swap(module, 'calc-1.so')"
                raise SwapError(
                    "there is no version before this one to go back to", subject=step.control.name, todo=todo
                )
            step.artifact, request.source = past[-1]
        else:
            with _probe.while_building(step.control, _probe.wanted(step.control, request.trial.probe)):
                step.artifact = step.control.expected.resolve(request.source, request.trial.expect)
        if not step.current_already:
            step.data = step.artifact.read()


def inspect(step: Step, _undo: ExitStack) -> None:
    """Judge the artifact, and what it changes."""
    control, artifact = step.control, step.artifact
    assert artifact is not None  # noqa: S101 - resolve has run
    with stage("inspect", step.stages, step.going_on):
        step.inspected = _prepare.inspect(control, step.request.source, artifact, step.data)
        changes = compare.compare(step.old.interface, step.inspected.interface)
        step.changes = tuple(str(change) for change in changes)
        breaking = [str(change) for change in changes if not change.compatible]
        if breaking and step.request.compat == "strict":
            what = f"the new version doesn't offer what version {step.old.version.number} does: {'; '.join(breaking)}"
            todo = "keep what callers use, or allow the change with compat='any'"
            raise IncompatibleError(what, changes=breaking, subject=control.name, todo=todo)


def probe(step: Step, _undo: ExitStack) -> None:
    """Try the artifact in a process of its own; not one that the module goes back to, which has run here already."""
    control, artifact, inspected, request = step.control, step.artifact, step.inspected, step.request
    assert artifact is not None  # noqa: S101 - resolve has run
    assert inspected is not None  # noqa: S101 - inspect has run
    want = _probe.wanted(control, request.trial.probe) if not request.back and request.to is None else None
    if want is not None:
        with stage("probe", step.stages, step.going_on):
            step.warnings += _probe.run(control, request.source, artifact, step.data, inspected, want)


def load(step: Step, undo: ExitStack) -> None:
    """Load the artifact as a new version."""
    control, artifact, inspected = step.control, step.artifact, step.inspected
    assert artifact is not None  # noqa: S101 - resolve has run
    assert inspected is not None  # noqa: S101 - inspect has run
    with stage("load", step.stages, step.going_on):
        step.new = _prepare.prepare(control, step.request.source, artifact, step.data, inspected, step.old)
        step.data = b""
    undo.callback(_prepare.discard, control, step.new)
    soaking = step.request.trial.soaking
    if soaking.seconds and not soaking.canary:
        _observing.begin(control, step.new)


def plan(step: Step, _undo: ExitStack) -> None:
    """Find out what can be known of the move of its data, if there are any."""
    if step.new is None:
        return
    with stage("plan", step.stages, step.going_on):
        if step.moves:
            step.planned = moving.plan_move(step.control, step.old, step.new, step.request.carrying)
        elif step.request.carrying.carry != "fresh":
            step.unknown = moving.undescribed(step.old)
            if step.unknown is not None and step.request.carrying.carry == "require":
                what = f"data can't be carried to the new version: {step.unknown}"
                todo = "build all of both versions with -g, or let it start anew with carry='auto'"
                raise StateError(what, refusals=(str(step.unknown),), subject=step.control.name, todo=todo)


def tell_before(step: Step, busy: frozenset[Control]) -> None:
    """Run the program's hooks, unless nothing is swapped."""
    if step.new is not None and step.control.before:
        with stage("before", step.stages, step.going_on):
            told = _hooks.Swapping(step.control.module, step.old.version, step.new.version)
            _hooks.run_all(step.control.before, told, step.control, busy)


def canary(steps: Sequence[Step], busy: frozenset[Control]) -> None:
    """Let the new versions have their share of calls for a while, and judge them."""
    sharing = [(step, step.new) for step in steps if step.request.trial.soaking.canary and step.new is not None]
    if not sharing:
        return
    seconds: dict[str, float] = {}
    with stage("canary", seconds, "; ".join(step.going_on for step, _ in sharing)):
        for step, _ in sharing:
            refuse_canary_with_data(step)
        candidates = [
            window.Candidate(step.control, step.old, new, step.request.trial.soaking) for step, new in sharing
        ]
        soaks = window.run(candidates, busy)
    for (step, _), soak in zip(sharing, soaks, strict=True):
        step.soak = soak
        step.stages |= seconds


def move(step: Step, undo: ExitStack) -> None:
    """Bring the data over.  Precondition: the gate is closed, and nobody is inside."""
    assert step.new is not None  # noqa: S101 - load has run
    assert step.planned is not None  # noqa: S101 - plan has run
    old, control = step.old, step.control
    hooks = step.request.carrying.carry != "fresh"
    with stage("move", step.stages, step.going_on):
        if hooks:
            _hooks.run(old, _hooks.SAVE, control)
        step.move = moving.begin_move(control, old, step.new, step.planned, step.request.carrying, undo)
        if hooks:
            _hooks.run(step.new, _hooks.RESTORE, control)
    threads = threads_of(old.code) if old.code is not None else None
    if threads:
        step.warnings += (f"{threads} was alive while the data of version {old.version.number} moved",)


# ---- the switch and what follows ------------------------------------------------------------------------------------


def switch(steps: Sequence[Step], undo: ExitStack) -> None:
    """Make the new versions current: one call of the core; then only bookkeeping that can't fail."""
    changing = [(step, step.new) for step in steps if step.new is not None]
    start = time.perf_counter()
    pairs = [(step.control.cell, new.table) for step, new in changing]
    undo.pop_all()
    # Callers of the new versions wait for no gate: what Python holds of the data has to follow them before.
    for step, new in changing:
        if step.move is not None:
            step.move.commit()
            if new.code is not None and step.old.code is not None:
                tell_has_data(new.code, step.old.code)
    _core.switch(pairs)
    for step, new in changing:
        if new.code is not None:
            tell_switched(new.code)
        control = step.control
        control.current = new
        control.generations.append(new)
        if step.request.back:
            control.past.pop()
        else:
            control.past.append((step.old.artifact, control.source))
        control.source = step.request.source
        control.publish()
        step.stages["switch"] = time.perf_counter() - start


def report(step: Step, gate_seconds: float) -> Report:
    """Say what has been done.  Later stages go on adding their seconds."""
    if step.new is None:
        return Report(step.control.name, step.old.version, step.old.version, changed=False, stages=step.stages)
    code, moved = step.new.code, step.move
    warnings = (step.artifact.warnings if step.artifact else ()) + (code.warnings if code else ()) + step.warnings
    return Report(
        step.control.name,
        step.old.version,
        step.new.version,
        stages=step.stages,
        pause=gate_seconds if moved is not None else pause_of(code) if code else 0.0,
        changes=step.changes,
        warnings=warnings + (moved.warnings if moved is not None else ()),
        state=moved.rows if moved is not None else (step.unknown,) if step.unknown is not None else (),
        soak=step.soak,
    )


def tell_after(step: Step, busy: frozenset[Control]) -> None:
    """Run the program's hooks, unless nothing was swapped."""
    if step.new is not None and step.control.after:
        with stage("after", step.stages, ""):
            told = _hooks.Swapping(step.control.module, step.old.version, step.new.version, step.report)
            _hooks.run_all(step.control.after, told, step.control, busy)


def end_soak(step: Step) -> None:
    """Note that the old version isn't on trial any more."""
    if step.new is not None:
        state: State = "went back" if step.request.because else "superseded"
        reason = step.request.because or f"version {step.new.version.number} has taken its place"
        step.request.ended = watcher.end(step.old, state, reason)


def begin_soak(steps: Sequence[Step]) -> None:
    """Watch the new versions from now on."""
    for step in steps:
        if step.new is None and step.request.trial.soaking.seconds and not step.request.trial.soaking.canary:
            _observing.end(step.old)  # it stays, and is compared with nothing
    changed = [(step, step.new) for step in steps if step.new is not None]
    for step, new in changed:
        soaking = step.request.trial.soaking
        if soaking.seconds and not soaking.canary and step.report is not None:
            step.watch = watcher.watch(step.control, step.old, new, soaking)
            step.report.soak = step.watch.soak
    together = [Member(weakref.ref(step.control), weakref.ref(new), step.request.carrying) for step, new in changed]
    watcher.start([step.watch for step, _ in changed if step.watch is not None], together)


def way_back(step: Step) -> Request:
    """Return the request that undoes a switch."""
    before = (step.old.artifact, step.source_before)
    request = step.request
    return Request(step.control, step.source_before, "any", back=not request.back, carrying=request.carrying, to=before)


def finish(step: Step) -> None:
    """Let the old version go."""
    if step.new is None:
        return
    with stage("drain", step.stages, ""):
        if step.request.drain > 0:
            _retire.wait_idle(step.old, step.request.drain)
    if step.watch is not None:
        watcher.hold(step.watch)
    with stage("retire", step.stages, ""):
        _retire.let_go(step.old)
    step.control.forget_old()
