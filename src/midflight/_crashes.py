"""The crash guard: a crash of a function in this process becomes `ModuleCrashed`, and its version goes back.

Guarantees:
- When the error is raised, the call has left its version, and so the module has gone back, or will do so in the
  background, or the error says why not.
- The version that goes back is the one whose code has crashed, also where that was called by another module's.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

from midflight import _core
from midflight._control import all_controls
from midflight._errors import MidflightError, ModuleCrashed, SwapInsideError
from midflight._lane import image_of
from midflight._signal_names import fault_address
from midflight.artifact.backtrace import backtrace
from midflight.lanes.native.crashed import said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight._control import Control, Generation, Options
    from midflight._core import Crash
    from midflight._fall_back import FallBack
    from midflight._trial import OnCrash

_log = logging.getLogger("midflight")
_default: OnCrash = "end"


def raise_by_default() -> None:
    """Let modules be guarded that don't say otherwise: `midflight run` does."""
    global _default  # noqa: PLW0603 - one choice for the process
    _default = "raise"


def is_guarded(options: Options) -> bool:
    """Whether a module's crashes are raised."""
    return (options.on_crash or _default) == "raise"


def watch(control: Control, generation: Generation, fall_back: FallBack) -> None:
    """See to it that a crash of a version in this process is dealt with as its module wants it."""
    code = generation.code
    if code is None or image_of(code) is None:
        return
    _core.arm_crash_signals()
    generation.fall_back = fall_back
    if is_guarded(control.options):
        code.table.on_crash = _raiser(weakref.ref(control), weakref.ref(generation))


def _raiser(
    control: weakref.ref[Control], generation: weakref.ref[Generation]
) -> Callable[[str, Crash], ModuleCrashed]:
    """Return what makes the error of a crashed call into a version; it holds neither of the two."""
    return lambda function, crash: _error(control(), generation(), function, crash)


def _error(control: Control | None, called: Generation | None, function: str, crash: Crash) -> ModuleCrashed:
    found = _lies_in(crash[3])
    if found is None and control is not None and called is not None:
        found = control, called
    frames: tuple[str, ...] = ()
    fate = "its version is gone"
    if found is not None:
        control, generation = found
        frames = _frames(generation, crash)
        fate = _go_back(control, generation)
    _log.error("%s crashed: %s; %s", function, said(crash), fate)
    return ModuleCrashed(
        f"crashed: {said(crash)}",
        subject=function,
        unchanged=fate,
        todo="mend it and swap; what the call has left half done may be broken, locks and memory too",
        signal=crash[0],
        address=fault_address(*crash[:3]),
        backtrace=frames,
    )


# ---- whose crash it was ---------------------------------------------------------------------------------------------


def _lies_in(frames: Sequence[int]) -> tuple[Control, Generation] | None:
    """Return the version that the innermost frame of any version lies in."""
    known = [(control, one) for control in all_controls() for one in (*control.generations, control.candidate) if one]
    for address in frames:
        for control, generation in known:
            image = image_of(generation.code) if generation.code is not None else None
            if image is not None and image[1] <= address < image[2]:
                return control, generation
    return None


def _frames(generation: Generation, crash: Crash) -> tuple[str, ...]:
    code = generation.code
    image = image_of(code) if code is not None else None
    if image is None:
        return ()
    try:
        return backtrace(generation.artifact.read(), image, crash[3])
    except MidflightError:
        return ()  # the stored bytes are gone; the addresses alone say nothing


# ---- going back -----------------------------------------------------------------------------------------------------


def _go_back(control: Control, generation: Generation) -> str:
    """Go back from a version; say what has become of it."""
    number, fall_back = generation.version.number, generation.fall_back
    if control.candidate is generation:
        return f"version {number} of {control.name} had a share of the calls only, and is refused"
    if control.current is not generation:
        return f"version {number} of {control.name} isn't current any more"
    if not control.past:
        return f"version {number} of {control.name} stays current, as there is no version before it to go back to"
    before = _version_before(control)
    if fall_back is None:
        return f"version {number} of {control.name} stays current"
    try:
        report = fall_back.now()
    except SwapInsideError:
        fall_back.later()
        return f"{control.name} goes back to {before} when this thread's calls into it have ended"
    except MidflightError as error:
        return f"version {number} of {control.name} stays current, because going back failed: {error}"
    if report is None:
        return f"version {number} of {control.name} isn't current any more"
    return f"{control.name} has gone back to {before}, now version {report.new.number}"


def _version_before(control: Control) -> str:
    """Name the version to go back to by the number that its artifact had."""
    sha256 = control.past[-1][0].sha256
    numbers = [one.version.number for one in tuple(control.generations) if one.version.artifact == sha256]
    return f"what version {numbers[-1]} was" if numbers else "the version before"
