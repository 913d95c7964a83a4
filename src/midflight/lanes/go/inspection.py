"""What `midflight.inspect` tells of a Go package."""

from __future__ import annotations

import hashlib

from midflight.inspection.model import ExportedFunction, Exports, Finding, Inspection, Needs, verdict_of
from midflight.lanes.go.interface import interface_of
from midflight.lanes.go.model import read_api


def examine_host(path: str, data: bytes) -> Inspection:
    """Describe a host program that was built for a Go package."""
    interface = interface_of(read_api(data))
    functions = tuple(
        ExportedFunction(one.name, one.qualified, interface.describe(one), one.declared_in)
        for one in interface.functions
    )
    finding = Finding(
        "go-package",
        "worker",
        "it is a Go package, which midflight builds a host program for",
        "Each version runs in a process of its own, which ends with it; package-level variables are carried.",
    )
    return Inspection(
        path=path,
        verdict=verdict_of((finding,)),
        needs=Needs(),
        findings=(finding,),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        kind="Go host",
        exports=Exports(functions, symbols=len(functions)),
    )
