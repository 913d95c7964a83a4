"""Runs Go packages, each version in a process of its own.

Guarantees:
- `prepare` has no effect on this process; when it raises, the worker is gone and the old version goes on.
- `retire` ends the process: that is the unload, and it can't be refused.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from midflight._errors import InterfaceError, MidflightError, SourceError
from midflight._sealed import sealed
from midflight.lanes.go import state
from midflight.lanes.go.code import Family, GoCode
from midflight.lanes.go.interface import interface_of
from midflight.lanes.go.model import read_api
from midflight.lanes.worker.process import Process, Program, installed_program

if TYPE_CHECKING:
    from midflight._lane import Wanted
    from midflight.artifact.interface import Interface
    from midflight.build import Artifact
    from midflight.lanes import LaneOptions


class GoLane:
    """Go host programs, as build/go.py makes them."""

    name = "go"

    def __init__(self, options: LaneOptions) -> None:
        self._options = options

    def read_interface(self, artifact: Artifact, data: bytes, declared: Any) -> Interface:
        """Return what a Go package offers."""
        if declared is not None:
            what = "interface= is for libraries without type information; a Go package has its own"
            raise InterfaceError(what, subject=str(artifact.origin), todo="leave interface= out")
        return interface_of(read_api(data))

    def prepare(self, wanted: Wanted) -> GoCode:
        """Start the host program, and move the old version's state to it."""
        if self._options.lane == "here":
            what = "Go can't run in this process: its runtime could never be unloaded"
            raise SourceError(what, subject=wanted.source, todo="leave lane='here' out")
        api = read_api(wanted.data)
        old = wanted.old if isinstance(wanted.old, GoCode) else None
        family = old.family if old is not None else Family(wanted.module)
        process = self._start(wanted)
        try:
            code = GoCode(wanted, api, process, family, self._options)
            if old is not None and old.api.stateful:
                state.carry(old, code)
            if old is None:
                code.switched()
        except BaseException as error:
            process.end()
            if isinstance(error, MidflightError):
                error.subject = error.subject or wanted.source
            raise
        return code

    def _start(self, wanted: Wanted) -> Process:
        descriptor = sealed(f"midflight:{wanted.module}", wanted.data, program=True)
        limits = self._options.limits
        words = [f"midflight-go {wanted.module} {wanted.label}"]
        for name, value in (("memory", limits.memory), ("cpu", limits.cpu), ("files", limits.files)):
            words += [f"{name}={max(1, round(value))}"] if value is not None else []
        words[1:1] = ["exec", "sandbox"] if self._options.sandbox else []
        arguments = tuple(os.fsencode(word.replace("\0", "")) for word in words)
        if self._options.sandbox:  # the native worker program enters it, and becomes this one
            program = Program(
                installed_program(), lambda: arguments, library=descriptor, slots=self._options.workers, shared=True
            )
        else:
            program = Program(descriptor, lambda: arguments, slots=self._options.workers)
        return Process(f"{wanted.module} {wanted.label}", program, call_timeout=limits.call)
