"""A version under trial, in the probing process: an ordinary module of midflight's.

It is loaded by the very functions that load it in the program, with the same options, and let go like any other.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from midflight import _load, _prepare, _retire, lanes
from midflight._control import Control, Options
from midflight._errors import MissingFunction
from midflight._integrity import Expectations
from midflight._lane import link_of, threads_of
from midflight._prepare import Inspected
from midflight.build import Artifact
from midflight.lanes import LaneOptions, Limits
from midflight.probing.protocol import Phase
from midflight.probing.replaying import classes_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from midflight._core import Function, Link
    from midflight._lane import Code, Lane, Wanted
    from midflight._services import Services
    from midflight.artifact.interface import Interface
    from midflight.build.model import Accept
    from midflight.probing.protocol import Job, Settings
    from midflight.probing.stand_ins import StandIns

THREADS_END = 0.1
"""Seconds in which threads that the library has started may end, or crash, before it is left loaded."""


class Candidate:
    """Loads it.  ``tell``: told what is being done.  Raises `MidflightError` as a load does."""

    def __init__(self, job: Job, data: bytes, stand_ins: StandIns, tell: Callable[[Phase], object]) -> None:
        artifact = Artifact(job.sha256, Path(job.path), Path(job.origin), cached=True)
        source = _Given(job.module, job.source, artifact)
        options = _options(job.settings)
        self.control = Control(job.module, source, options, cast("Services", stand_ins), Expectations(None))
        lane, reason = lanes.choose(options.lanes, artifact, data)
        inspected = Inspected(_Telling(lane, tell), reason, _with_checks(job.interface))
        self._generation = _prepare.prepare(self.control, source, artifact, data, inspected, None)
        self.module: ModuleType = _load.make_module(self.control, self._generation)
        self._code: Code = cast("Code", self._generation.code)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the library's.  Raises `MissingFunction`, and what the call raises."""
        if name not in self.control.slots:
            raise MissingFunction(f"it has no function {name}", todo="name one that every version has")
        return self.control.function(name)(*arguments)

    def function(self, name: str) -> Function:
        """Return a function of the module's."""
        return self.control.function(name)

    @property
    def classes(self) -> Mapping[str, Any]:
        """The classes of its structs, unions and enums, by name."""
        return self._code.ctypes.namespace()

    @property
    def classes_by_name(self) -> Mapping[str, Any]:
        """The same, as a sample names them."""
        return classes_by_name(self._code)

    @property
    def link(self) -> Link | None:
        """The process that it runs in, if that is another one."""
        return link_of(self._code)

    def unload(self) -> str:
        """Unload it; return why that wasn't possible, or ""."""
        gc.collect()  # what failing checks have left
        generation, control = self._generation, self.control
        control.current = None
        control.cell.end("the probe is over")
        _retire.let_go(generation)
        end = time.monotonic() + THREADS_END
        while generation.code is not None and threads_of(generation.code) and time.monotonic() < end:
            time.sleep(THREADS_END / 50)
            _retire.refresh(generation)
        return ", ".join(generation.version.held_by)


class _Given:
    """A source that gives one artifact."""

    library = None

    def __init__(self, name: str, display: str, artifact: Artifact) -> None:
        self.name = name
        self.display = display
        self._artifact = artifact

    def inputs(self) -> frozenset[Path]:
        """There are no files of the user's."""
        return frozenset()

    def resolve(self, accept: Accept | None = None) -> Artifact:
        """Return it."""
        del accept  # the program has judged the bytes
        return self._artifact

    def changed(self) -> bool:
        """It never does."""
        return False

    def missing(self) -> frozenset[Path]:
        """It is all there."""
        return frozenset()


class _Telling:
    """A lane that says when the library's constructors have run: what comes next is its hook."""

    def __init__(self, lane: Lane, tell: Callable[[Phase], object]) -> None:
        self.name = lane.name
        self._lane = lane
        self._tell = tell

    def read_interface(self, artifact: Artifact, data: bytes, declared: Any) -> Interface:
        """As the lane does."""
        return self._lane.read_interface(artifact, data, declared)

    def prepare(self, wanted: Wanted) -> Code:
        """Load it."""
        code = self._lane.prepare(wanted)
        self._tell(Phase.HOOK)
        return code


def _options(settings: Settings) -> Options:
    limits = settings.limits
    return Options(
        compat="any",
        interface=None,
        hold_gil=settings.hold_gil,
        lazy=settings.lazy,
        flags=(),
        hook_timeout=settings.hook_timeout,
        probe=False,
        on_crash="end",
        hardened=settings.hardened,
        lanes=LaneOptions(
            settings.lane,
            settings.workers,
            Limits(limits.memory, limits.cpu, limits.call, limits.files),
            settings.sandbox,
        ),
    )


def _with_checks(interface: Interface) -> Interface:
    """Let the library's own checks be functions like any other."""
    return msgspec.structs.replace(interface, functions=(*interface.functions, *interface.checks), checks=())
