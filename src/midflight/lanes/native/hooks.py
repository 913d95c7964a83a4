"""The hooks of a library in this process, guarded against their own crash."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import HookError
from midflight.artifact.hooks import returns_int

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Table
    from midflight.artifact.interface import Interface


def make_hooks(interface: Interface, addresses: dict[str, int], table: Table) -> dict[str, Callable[[], int]]:
    """Return what runs each hook, by name.  ``addresses``: by the linker's name."""
    return {
        hook.name: partial(_run, table, hook.name, addresses[hook.symbol], answers=returns_int(interface, hook))
        for hook in interface.hooks
    }


def _run(table: Table, name: str, address: int, *, answers: bool) -> int:
    result = _core.run_guarded(table, name, address)
    if isinstance(result, tuple):
        number, where = result
        at = f" at address {where:#x}" if number in {signal.SIGSEGV, signal.SIGBUS} else ""
        raise HookError(f"crashed: {signal.Signals(number).name}{at}", subject=name)
    return result if answers else 0
