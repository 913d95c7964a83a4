"""What midflight does with bytes that anybody may hand it: all that reads them, and loading.  Each may only refuse."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import midflight
from midflight import _core
from midflight.artifact import reader, stub
from midflight.artifact.compare import compare
from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.elf import Elf
from midflight.artifact.symbol_table import read_names
from midflight.state.forecast import forecast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midflight.artifact.interface import Interface

DECLARED = "int add(int a, int b);"
"""What each of the originals has, for those whose debug information is past reading."""


def readings(data: bytes, whole: Interface) -> Iterator[type[midflight.MidflightError] | None]:
    """Read the bytes in each of the ways that there are; yield for each what refused them, or None."""
    sha256 = hashlib.sha256(data).hexdigest()
    for look in (
        lambda: _core.check(data),
        lambda: _core.needs(data),
        lambda: read_names(Elf(data)),
        lambda: reader.read_interface(data, sha256=sha256, declared=DECLARED),
        lambda: use(reader.read_interface(data, sha256=sha256), whole, data),
    ):
        try:
            look()
        except midflight.MidflightError as error:
            str(error)
            yield type(error)
        else:
            yield None
    reader.forget()


def use(interface: Interface, whole: Interface, data: bytes) -> None:
    """Do with an interface what midflight does, all but calling it; ``whole``: the undamaged library's."""
    classes = CTypes(interface)
    for type_id in range(len(interface.types)):
        classes.of(type_id)
        interface.spell(type_id)
    classes.namespace()
    for function in interface.functions:
        stub.signature(interface, function)
        stub.docstring(interface, function)
    stub.render(interface, "library")
    for old, new in ((whole, interface), (interface, whole)):
        compare(old, new)
        forecast(old, new, data)


def load(path: Path, *, declared: bool) -> type[midflight.MidflightError] | None:
    """Load a library, call nothing, and unload it; return what refused it, or None."""
    try:
        module = midflight.load(path, name="damaged", probe=True, interface=DECLARED if declared else None)
    except midflight.MidflightError as error:
        str(error)
        return type(error)
    midflight.unload(module)
    return None
