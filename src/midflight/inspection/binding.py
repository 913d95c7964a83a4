"""Who holds a library because it is bound to what the library exports."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, TypeVar

from midflight._errors import MidflightError
from midflight.artifact import dynamic
from midflight.inspection.hosting import CXX_RUNTIMES
from midflight.inspection.model import Finding
from midflight.inspection.scope import program_offers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from midflight.artifact.dynamic import Dynamic
    from midflight.inspection.scope import Scope

Answer = TypeVar("Answer")
_DF_1_NODELETE = 8
_HIDDEN_FROM_OTHERS = frozenset({1, 2})


def findings(scope: Scope) -> Iterator[Finding]:
    """Say which libraries that stay are bound to this one, and by what.

    The loader looks a symbol up in the program, then in the library that is opened, then in those that this needs, also
    for these.  One that can't be unloaded then keeps what it is bound to.
    """
    staying = sorted(_staying(scope) - scope.program.keys() - CXX_RUNTIMES)
    own = _own(scope.library) if staying else {}
    for name in staying:
        taken = tuple(sorted(_taken(scope.paths[name], own)))
        if taken:
            yield Finding(
                "held-by-needed", "resident",
                f"{name}, which it needs and which is never unloaded, takes symbols from it",
                "Unless the program has loaded that library before, old versions stay loaded.",
                f"load {name} first (ctypes.CDLL), or don't export what both have (-fvisibility=hidden)",
                taken,
            )  # fmt: skip


def _own(library: Dynamic) -> dict[str, str]:
    """Return what a library offers to those that it needs, and under which version."""
    found = {
        one.name: one.version
        for one in library.symbols
        if one.defined and one.binding and one.visibility not in _HIDDEN_FROM_OTHERS
    }
    before = program_offers(frozenset(map(os.fsencode, found)))
    return {name: found[name] for name in found.keys() - {os.fsdecode(name) for one in before.values() for name in one}}


def _staying(scope: Scope) -> set[str]:
    """Return the needed libraries that are never unloaded, with those that these need."""
    waiting = [name for name in scope.found if _stays(scope.found[name], scope.paths[name])]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found and name in scope.found:
            found.add(name)
            waiting += scope.found[name].needed
    return found


def _stays(library: Dynamic, path: Path) -> bool:
    return bool(library.flags_1 & _DF_1_NODELETE) or _ask(path, dynamic.Dynamic.has_unique) is True


def _taken(path: Path, own: dict[str, str]) -> set[str]:
    """Return what a library is bound to of the one that needs it."""
    wanted = _ask(path, lambda library: {(one.name, one.version) for one in library.bound() if one.binding})
    return {name for name, version in wanted or () if own.get(name) in {"", version}}


def _ask(path: Path, question: Callable[[Dynamic], Answer]) -> Answer | None:
    """Read a library again, of which only the most necessary was kept; None if it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return question(dynamic.read(dynamic.File(descriptor)))
    except (MidflightError, struct.error, OverflowError):
        return None
    finally:
        os.close(descriptor)
