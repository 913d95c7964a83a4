"""Makes one version ready: judges an artifact, loads it, and lets it say that it is.

Guarantee: when anything here raises, nothing is left of the new version, and nothing else has changed.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from midflight import _crashes, _hooks, _observing, _probe, _retire, lanes, records
from midflight._control import Control, Generation
from midflight._errors import MidflightError, UnresolvedSymbolError
from midflight._lane import Wanted
from midflight._version import Version
from midflight.artifact.declared import TEXT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._lane import Code, Lane
    from midflight._trial import Trial
    from midflight.artifact.interface import Interface
    from midflight.build import Artifact, Source

_log = logging.getLogger("midflight")


class Inspected(NamedTuple):
    """What was found out about an artifact.  ``reason``: why its lane isn't the usual one, or ""."""

    lane: Lane
    reason: str
    interface: Interface


@contextmanager
def stage(name: str, stages: dict[str, float], unchanged: str) -> Iterator[None]:
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


def first_generation(control: Control, trial: Trial) -> Generation:
    """Resolve, inspect and load a module's first version."""
    stages: dict[str, float] = {}
    control.identity = records.identity_of(control.name, control.source)
    want = _probe.wanted(control, trial.probe, first=True)
    with stage("resolve", stages, "nothing was loaded" if trial.expect is not None else ""):
        with _probe.while_building(control, want):
            artifact = control.expected.resolve(control.source, trial.expect)
        # Who says which bytes are the right ones wants no others.
        instead = records.instead(control.name, control.identity, artifact) if trial.expect is None else None
        artifact = instead.artifact if instead is not None else artifact
        data = artifact.read()
    with stage("inspect", stages, ""):
        inspected = inspect(control, control.source, artifact, data)
    if want is not None:
        with stage("probe", stages, "nothing was loaded"):
            for warning in _probe.run(control, control.source, artifact, data, inspected, want):
                _log.log(logging.WARNING if want.asked else logging.INFO, "%s: %s", control.name, warning)
    with stage("load", stages, ""):
        generation = prepare(control, control.source, artifact, data, inspected, None)
    generation.version.instead_of = instead.crashed if instead is not None else ""
    return generation


def inspect(control: Control, source: Source, artifact: Artifact, data: bytes) -> Inspected:
    """Judge an artifact without running any of it, choose its lane, and read what it offers."""
    try:
        lane, reason = lanes.choose(control.options.lanes, artifact, data)
        return Inspected(lane, reason, lane.read_interface(artifact, data, control.options.interface))
    except MidflightError as error:
        declared = error.subject == TEXT_NAME  # the text alone doesn't say which library's it is
        error.subject = f"interface= of {source.display}" if declared else error.subject or source.display
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
        number=number,
        heaps=control.heaps,
        data=data,
        artifact=artifact,
        interface=interface,
        source=display,
        slots=control.slots,
        explicit=control.explicit,
        hold_gil=control.options.holds_gil,
        guarded=_crashes.is_guarded(control.options),
        line=records.line_of(control.identity, artifact, number) if lane.name == "here" else 0,
        lazy=control.options.lazy,
        before=_alike(interface, old),
        old=old.code if old is not None else None,
        services=services,
        hardened=control.options.hardened,
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
    generation = Generation(version, artifact, interface, code, hook_timeout=control.options.hook_timeout)
    try:
        _hooks.run(generation, _hooks.LOADED, control)
    except BaseException:
        discard(control, generation)
        raise
    generation.unloading_wanted = True
    _observing.begin_recording(control, generation)
    return generation


def discard(control: Control, generation: Generation) -> None:
    """Let go of a version that never became current; one that can't be unloaded is listed all the same."""
    _retire.let_go(generation)
    if generation.version.status != "unloaded":
        control.generations.append(generation)


def _alike(interface: Interface, old: Generation | None) -> Code | None:
    """The version before, where the types are the same: its classes stay, so that instances and isinstance() do."""
    if old is None or old.code is None or old.interface.types != interface.types:
        return None
    return old.code
