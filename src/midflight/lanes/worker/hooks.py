"""The hooks of a library in a worker.  A crash of theirs is the worker's, and one that hangs ends with it."""

from __future__ import annotations

import ctypes
import logging
from functools import partial
from typing import TYPE_CHECKING

from midflight import _core
from midflight._errors import MidflightError
from midflight.artifact.hooks import returns_int

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight._core import Link, ParamSpec, Worker
    from midflight.artifact.interface import Function, Interface

_OLD: ParamSpec = ("old", "pointer", "v", 0, True, "const void *", None, "void", None)
_NEW: ParamSpec = ("new", "pointer", "v", 0, False, "void *", None, "void", None)

_log = logging.getLogger("midflight")


def make_hooks(
    module: str, interface: Interface, addresses: dict[str, int], worker: Worker
) -> dict[str, Callable[[], int]]:
    """Return what runs each hook, by name.  ``addresses``: by qualified name.

    They are in a table of their own: the gate that holds calls back isn't for them.
    """
    made = [_binding(module, interface, hook, addresses, worker) for hook in interface.hooks]
    cell = _core.Cell(module, _core.Table("hooks", made))
    functions = [_core.Function(cell, slot, hook.name) for slot, hook in enumerate(interface.hooks)]
    return {hook.name: partial(_run, function) for hook, function in zip(interface.hooks, functions, strict=True)}


def _run(function: _core.Function) -> int:
    return function() or 0


def _binding(
    module: str, interface: Interface, hook: Function, addresses: dict[str, int], worker: Worker
) -> _core.Binding:
    result = ("int32", "int", None, "") if returns_int(interface, hook) else ("void", "void", None, "")
    return _core.Binding(f"{module}.{hook.name}", addresses[hook.qualified], [], result, worker=worker)


def migrate(
    module: str,
    name: str,
    address: int,
    worker: Worker,
    pairs: Sequence[tuple[int, int]],
    sizes: tuple[int, int],
) -> None:
    """Run a function that migrates structs; see `midflight._lane.migrate_by`."""
    binding = _core.Binding(f"{module}.{name}", address, [_OLD, _NEW], ("void", "void", None, ""), worker=worker)
    call = _core.Function(_core.Cell(module, _core.Table("migrations", [binding])), 0, name)
    old, new = (ctypes.c_char * size for size in sizes)
    for source, target in pairs:
        call(old.from_address(source), new.from_address(target))


def run_in_fresh(
    hook: str,
    module: str,
    interface: Interface,
    addresses: dict[str, int],
    timeout: float,
    lend: Callable[[Worker], object],
    link: Link,
) -> None:
    """Run a hook in a process that doesn't serve yet.  It can call what its host provides (``lend`` sees to it).

    Raises `LinkDeadError` if the process has ended, also because the hook took too long.
    """

    def gone(_link: Link | None, _function: str, _begun: bool, late: bool) -> None:  # noqa: FBT001 - the core calls it
        if late:
            link.kill()
        link.gone(-1)
        raise _core.LinkDeadError(True)

    worker = _core.Worker(gone, timeout=timeout)
    worker.link = link
    lend(worker)
    found = make_hooks(module, interface, addresses, worker).get(hook)
    try:
        answer: object = found() if found is not None else 0
    except MidflightError as error:
        answer = str(error)
    if answer:
        _log.error("%s: %s in a fresh process: %s", module, hook, answer)
