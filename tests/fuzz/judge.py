"""What midflight does with bytes that anybody may hand it: all that reads them, and loading.  Each may only refuse."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from rich.console import Console

import midflight
from midflight import _core
from midflight.artifact import reader, stub
from midflight.artifact.ctypes_types import CTypes
from midflight.cli import diff, doctor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midflight.artifact.interface import Interface

DECLARED = "int add(int a, int b);"
"""What each of the originals has, for those whose debug information is past reading."""


def readings(path: Path, whole: diff.Side) -> Iterator[str]:
    """Read a library in each of the ways that there are; yield for each the kind of error that refused it, or ""."""
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    for look in (
        lambda: _core.check(data),
        lambda: _core.needs(data),
        lambda: reader.read_interface(data, sha256=sha256, declared=DECLARED),
        lambda: use(reader.read_interface(data, sha256=sha256), whole, data),
    ):
        try:
            look()
        except midflight.MidflightError as error:
            str(error)
            yield type(error).__name__
        else:
            yield ""
    yield judged(path, data)
    reader.forget()


def judged(path: Path, data: bytes) -> str:
    """Return "refused" if the doctor refuses it; what the loading refuses it must refuse too."""
    found = midflight.inspect(path)
    doctor.as_json(found)
    doctor.show(found, Console(file=io.StringIO(), width=100), everything=True)
    try:
        _core.check(data)
    except midflight.MidflightError:
        assert found.verdict == "refused", found.verdict
    return "refused" if found.verdict == "refused" else ""


def use(interface: Interface, whole: diff.Side, data: bytes) -> None:
    """Do with an interface what midflight does, all but calling it; ``whole``: the undamaged library."""
    classes = CTypes(interface)
    for type_id in range(len(interface.types)):
        classes.of(type_id)
        interface.spell(type_id)
    classes.namespace()
    for function in interface.functions:
        stub.signature(interface, function)
        stub.docstring(interface, function)
    stub.render(interface, "library")
    damaged = diff.Side("damaged", interface, data, None)
    for old, new in ((whole, damaged), (damaged, whole)):
        diff.as_json(diff.compared(old, new))


def load(path: Path, *, declared: bool) -> str:
    """Load a library, call nothing, and unload it; return the kind of error that refused it, or ""."""
    try:
        module = midflight.load(path, name="damaged", interface=DECLARED if declared else None)
    except midflight.ProbeError as error:
        str(error)
        return f"ProbeError, {error.kind}"
    except midflight.MidflightError as error:
        str(error)
        return type(error).__name__
    midflight.unload(module)
    return ""
