"""The hooks of a library in this process, guarded against their own crash."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import HookError
from midflight.artifact.hooks import returns_int
from midflight.lanes.native.crashed import said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight._core import Crash, Table
    from midflight.artifact.interface import Interface


def make_hooks(interface: Interface, addresses: dict[str, int], table: Table) -> dict[str, Callable[[], int]]:
    """Return what runs each hook, by name.  ``addresses``: by the linker's name."""
    return {
        hook.name: partial(_run, table, hook.name, addresses[hook.symbol], answers=returns_int(interface, hook))
        for hook in interface.hooks
    }


def migrate(table: Table, name: str, address: int, pairs: Sequence[tuple[int, int]]) -> None:
    """Migrate structs from and to addresses.  Raises `HookError`, or what the function raised."""
    packed = struct.pack(f"={2 * len(pairs)}Q", *(number for pair in pairs for number in pair))
    _result(_core.run_guarded(table, name, address, packed), name)


def _run(table: Table, name: str, address: int, *, answers: bool) -> int:
    result = _result(_core.run_guarded(table, name, address), name)
    return result if answers else 0


def _result(result: int | Crash, name: str) -> int:
    if isinstance(result, tuple):
        raise HookError(f"crashed: {said(result)}", subject=name, todo=f"mend {name}")
    return result
