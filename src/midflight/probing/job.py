"""What a probing process is to do: put together in the program, from what would be loaded here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from midflight._errors import ProbeError
from midflight._samples import samples_of
from midflight._services import Services, names_of
from midflight.probing import leftovers
from midflight.probing.protocol import Check, Job, Limits, Need, Settings, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from midflight._control import Control, Options
    from midflight._lane import Service
    from midflight._prepare import Inspected
    from midflight._trial import Probe
    from midflight.artifact.interface import Interface
    from midflight.build import Artifact, Source


def make(control: Control, source: Source, artifact: Artifact, data: bytes, inspected: Inspected, probe: Probe) -> Job:
    """Return the job.  Raises `ProbeError` for a check that can't travel, `ServiceError` for what can't be provided."""
    interface, lane = inspected.interface, inspected.lane.name
    stand_ins = probe.provides or {}
    given = [Services(control.name, stand_ins or None)]
    given += [Services(control.name, check.provides or None) for check in control.checks]
    needs: dict[str, Need] = {}
    for services in (*given, control.services):
        for service in services.resolve(interface, data, lane)[0]:
            needs.setdefault(service.symbol, _need(service, interface))
    return Job(
        module=control.name,
        source=source.display,
        sha256=artifact.sha256,
        path=str(artifact.path),
        origin=str(artifact.origin),
        interface=interface,
        settings=_settings(control.options),
        needs=tuple(needs.values()),
        checks=tuple(_checks(control)),
        stand_ins=_packed(stand_ins, control, "a stand-in of the probe"),
        samples=samples_of(control),
    )


def surroundings(directory: Path | None, mark: bytes) -> Surroundings:
    """Return the program's surroundings as they are now."""
    try:
        here = os.getcwd()  # noqa: PTH109 - text is wanted
    except OSError:  # it has been removed
        here = "/"
    path = tuple(entry for entry in sys.path if isinstance(entry, str))
    return Surroundings("" if directory is None else str(directory), here, path, environment(mark))


def environment(mark: bytes) -> dict[bytes, bytes]:
    """Return the program's environment, with a sign of the probe.  What a check swaps isn't probed again."""
    return {**os.environb, b"MIDFLIGHT_PROBE": b"off", leftovers.VARIABLE: mark}


def name_of(function: Any) -> str:
    """Return a check's name for people."""
    return str(getattr(function, "__name__", "") or repr(function))


def place_of(function: Any) -> str:
    """Return where a check is: "file:line", or ""."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""  # noqa: PTH119


def _need(service: Service, interface: Interface) -> Need:
    own = service.interface is interface
    names = names_of(service.symbol, service.function)
    return Need(service.symbol, names, service.function, None if own else service.interface)


def _settings(options: Options) -> Settings:
    lanes, limits = options.lanes, options.lanes.limits
    return Settings(
        lane=lanes.lane,
        workers=lanes.workers,
        limits=Limits(limits.memory, limits.cpu, limits.call, limits.files),
        sandbox=lanes.sandbox,
        lazy=options.lazy,
        hardened=options.hardened,
        hold_gil=options.hold_gil,
        hook_timeout=options.hook_timeout,
    )


def _checks(control: Control) -> Iterable[Check]:
    for check in tuple(control.checks):
        name = name_of(check.function)
        subject = f"the check {name}"
        function = _packed(check.function, control, subject)
        stand_ins = _packed(check.provides, control, f"a stand-in of {subject}")
        yield Check(name, place_of(check.function), function, stand_ins)


def _packed(value: Callable[..., Any] | dict[str, Callable[..., Any]], control: Control, subject: str) -> bytes:
    if isinstance(value, dict) and not value:
        return b""
    # Imported here because programs without checks don't need it.
    from midflight.probing import travel  # noqa: PLC0415

    try:
        return travel.pack(value, control)
    except travel.CannotTravelError as error:
        what = f"{subject} can't be taken to the probing process: {error}"
        todo = "let it make what it needs itself, and use the module that it is given"
        raise ProbeError(what, kind="check", subject=control.name, todo=todo) from None
