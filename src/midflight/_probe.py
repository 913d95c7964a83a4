"""The probe: a new version is tried in a throwaway process before it becomes current, with the checks of the program.

Guarantees:
- Nothing that the new version does there (a crash, a hang, an exit) touches this program or its data.
- Whoever waits for a probe does so without the GIL; calls of the module go on meanwhile.
- Bytes that have passed are not tried again with the same checks and options.
- Any function here may be called from any thread.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from midflight._control import control_of
from midflight._directory import private
from midflight._errors import MidflightError, MissingLibraryError, ProbeError, UnresolvedSymbolError
from midflight._sealed import sealed
from midflight._trial import Probe, RegisteredCheck, check_stand_ins
from midflight.build import progress
from midflight.lanes.native import neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from midflight._control import Control
    from midflight._prepare import Inspected
    from midflight.build import Artifact, Source
    from midflight.probing.process import Outcome
    from midflight.probing.protocol import Job
    from midflight.probing.starting import CannotStartError

VARIABLE = "MIDFLIGHT_PROBE"
"""The environment variable that turns probing off where nothing else is said: "off"."""

_UNPROBED_LANES = {"remote"}
_NATIVE_LANES = {"here", "worker"}  # whose versions are libraries, with others beside them
_KILLED = 9

_Check = TypeVar("_Check", bound="Callable[[Any], object]")


# ---- checks ---------------------------------------------------------------------------------------------------------


class CheckList:
    """A decorator that adds a check.  Checks run in the order in which they were added."""

    def __init__(self, control: Control, provides: dict[str, Callable[..., Any]]) -> None:
        self._control = control
        self._provides = provides

    def __call__(self, function: _Check) -> _Check:
        """Add a check, and return it."""
        self._control.checks.append(RegisteredCheck(function, self._provides))
        if _by_default():
            _warm_up()
        return function

    def remove(self, function: Callable[[Any], object]) -> None:
        """Take a check away again.  Raises ValueError if it isn't one."""
        found = next((one for one in self._control.checks if one.function == function), None)
        if found is None:
            message = f"{function!r} is no check of {self._control.name}"
            raise ValueError(message)
        self._control.checks.remove(found)


def check(module: ModuleType, *, provides: dict[str, Callable[..., Any]] | None = None) -> CheckList:
    """Let every new version of a module pass a function before it becomes current: ``@midflight.check(calc)``.

    The function gets the new version, as a module, in a process that is thrown away afterwards:
    ``def doubles(v): assert v.add(2, 2) == 4``.  If it raises, crashes or hangs there, the swap is refused with a
    `ProbeError`.  It travels by value, with the functions and classes of the program that it uses; docs/probe.md says
    what can't come along.

    ``provides``: stand-ins, while this check runs, for the functions that the library gets from the program; what has
    none answers zero.  ``check(calc).remove(function)`` takes it away again.
    """
    return CheckList(control_of(module), check_stand_ins(provides))


# ---- whether --------------------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """How to probe.

    ``asked``: whether somebody has asked for it, so that there is no going on without; ``first``: whether it is a
    module's first version, after which no other may ever come.
    """

    probe: Probe
    asked: bool
    first: bool = False


def wanted(control: Control, choice: Probe | bool | None, *, first: bool = False) -> Wanted | None:  # noqa: FBT001 - an option, passed on
    """Return how a version is to be probed; None: not at all.  ``first``: it is the module's first version."""
    found = control.options.probe if choice is None else choice
    if found is None:
        return Wanted(Probe(), asked=False, first=first) if _by_default() else None
    if found is False:
        return None
    return Wanted(found if isinstance(found, Probe) else Probe(), asked=True, first=first)


def expected(control: Control) -> None:
    """Make a process ready in the background, if the module's next versions are going to be probed."""
    if wanted(control, None) is not None:
        _warm_up()


@contextmanager
def while_building(control: Control, want: Wanted | None) -> Iterator[None]:
    """Make a process ready in the background if something is built here, that is to be probed then."""
    if want is None or control.options.lanes.lane not in {None, "here"}:
        yield
        return
    end = progress.listen(lambda event: _warm_up() if isinstance(event, progress.Started) else None)
    try:
        yield
    finally:
        end()


def _by_default() -> bool:
    return os.environ.get(VARIABLE, "").lower() != "off"


def _warm_up() -> None:
    from midflight.probing.pool import pool  # noqa: PLC0415 - most programs never need it

    pool.warm_up()


# ---- a probe --------------------------------------------------------------------------------------------------------


def run(
    control: Control, source: Source, artifact: Artifact, data: bytes, inspected: Inspected, want: Wanted
) -> tuple[str, ...]:
    """Try a version; return warnings.  Raises `ProbeError`, or what loading it would raise."""
    if inspected.lane.name in _UNPROBED_LANES:
        return ()  # its code runs elsewhere, and is somebody else's to try
    if want.first and not want.asked and inspected.lane.name != "here":
        return ()  # elsewhere than in this process it does no harm when it is loaded
    # Imported here because programs that probe nothing don't need them.
    from midflight.probing import job as jobs  # noqa: PLC0415
    from midflight.probing import passed  # noqa: PLC0415

    near = neighbours.find(data, artifact.origin) if inspected.lane.name in _NATIVE_LANES else []
    job = jobs.make(control, source, artifact, data, inspected, want.probe)
    if want.first and not want.asked and job.needs:
        return ()  # the zeros that it would get from the program may be what it stumbles over
    key = passed.key_of(job, near, want.probe, asked=want.asked)
    on_disk = not job.checks and not job.samples
    known = passed.known(key, on_disk=on_disk)
    if known is not None:
        return known
    from midflight.probing.starting import CannotStartError  # noqa: PLC0415 - see above

    try:
        outcome = _carry_out(job, data, want)
    except CannotStartError as error:
        return _not_started(control, want, error)
    warnings = _judge(outcome, job, data, control, want)
    passed.remember(key, warnings, on_disk=on_disk)
    return warnings


def _judge(outcome: Outcome, job: Job, data: bytes, control: Control, want: Wanted) -> tuple[str, ...]:
    from midflight.probing import verdict  # noqa: PLC0415 - see above

    try:
        return verdict.judge(outcome, job, data, control, want.probe)
    except (MissingLibraryError, UnresolvedSymbolError) as error:
        if want.asked:
            raise
        # None of it has run.  The program may have loaded what it needs itself; if not, loading it says so.
        return (f"the new version couldn't be probed: it can't be loaded by itself: {error.what}",)


def _not_started(control: Control, want: Wanted, error: CannotStartError) -> tuple[str, ...]:
    what = f"the new version couldn't be probed: no process for it can be started: {error}"
    if want.asked:
        raise ProbeError(what, kind="start", subject=control.name, todo=error.todo) from None
    return (what,)


def _carry_out(job: Job, data: bytes, want: Wanted) -> Outcome:
    """Let a process do a job; again, if it was killed by somebody else: once.  Raises `CannotStartError`."""
    outcome = _let_do(job, data, want)
    if outcome.status == _KILLED and not (outcome.late or outcome.starved or outcome.cut):
        outcome = _let_do(job, data, want)
    return outcome


def _let_do(job: Job, data: bytes, want: Wanted) -> Outcome:
    from midflight.probing import job as jobs  # noqa: PLC0415 - see above
    from midflight.probing.pool import pool  # noqa: PLC0415

    directory = private.new_directory("probe")
    try:
        with _sealed(data) as library:
            process = pool.take()
            try:
                around = jobs.surroundings(directory, process.mark)
                return process.run(job, around, library, timeout=want.probe.timeout, memory=want.probe.memory)
            finally:
                if want.first:  # before the program loads it: what only one process can have is free then
                    process.end()
                else:
                    pool.give_back(process)
    finally:
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _sealed(data: bytes) -> Iterator[int]:
    """Give a descriptor of bytes that nobody can change.  Raises `CannotStartError`."""
    from midflight.probing.starting import CannotStartError  # noqa: PLC0415 - see above

    try:
        library = sealed("midflight:candidate", data)
    except MidflightError as error:
        raise CannotStartError(str(error)) from None
    try:
        os.lseek(library, 0, os.SEEK_SET)
        yield library
    finally:
        os.close(library)
