"""What a swap leaves behind to read: versions and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from midflight._soak import Soak

Status = Literal["current", "draining", "resident", "unloaded"]


@dataclass(slots=True, eq=False)
class Version:
    """One loaded generation of a module's code; its ``number`` is never used again within the module.

    ``status``: ``current``; ``draining`` (no longer current, but calls, pins or pointers still hold it: see
    ``held_by``); ``resident`` (nothing of ours holds it, but the loader keeps it mapped: ``held_by`` says why);
    ``unloaded`` (the process's memory map shows that it is gone; its process has ended).  ``lane``: where it runs.
    ``instead_of``: the artifact that `load` left alone, because it had crashed the program twice in a row.
    """

    number: int
    artifact: str
    source: str
    status: Status = "current"
    held_by: tuple[str, ...] = ()
    path: str = ""
    lane: str = "here"
    instead_of: str = ""

    def __repr__(self) -> str:
        held = f", held by {', '.join(self.held_by)}" if self.held_by else ""
        instead = f", instead of {self.instead_of[:12]}, which crashes" if self.instead_of else ""
        return f"Version({self.number}, {self.status}{held}{instead})"


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one variable, or of the typed blocks of one type, in a swap.

    ``what``: "carried" (as it was), "migrated" (to another layout: ``how``), "initialised" (it takes the new version's
    value: it is new, nobody had changed it, or ``how`` says why), "dropped" (the new version has no such variable),
    "refused" (``how`` says why), "kept" (its version stays loaded for what it points to), "left" (it isn't carried, and
    ``how`` says why: thread_local, or a hook's business).
    """

    name: str
    what: Literal["carried", "migrated", "initialised", "dropped", "refused", "kept", "left"]
    how: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.what}{f' ({self.how})' if self.how else ''}"


@dataclass(slots=True)
class Report:
    """What one swap did.

    ``stages``: seconds of each stage, in order.  ``pause``: seconds for which a caller may have had to wait.
    ``changed`` is False where the bytes were already current and nothing was done.  ``old`` is the version that was
    replaced (a live object: its ``status`` goes on changing), ``new`` the one that is current now.  ``state``: what
    became of each variable and of the typed blocks.  ``soak``: the new version's soak, a live object; None without one.
    """

    module: str
    old: Version
    new: Version
    changed: bool = True
    stages: dict[str, float] = field(default_factory=dict)
    pause: float = 0.0
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    state: tuple[Carried, ...] = ()
    soak: Soak | None = None

    @property
    def seconds(self) -> float:
        """The whole swap's time."""
        return sum(self.stages.values())

    def __str__(self) -> str:
        if not self.changed:
            return f"{self.module}: version {self.new.number} is current already, nothing to do"
        spent = ", ".join(f"{name} {seconds * 1e3:.1f}" for name, seconds in self.stages.items())
        return (
            f"{self.module}: {self.old.number} → {self.new.number} in {self.seconds * 1e3:.1f} ms ({spent});"
            f" version {self.old.number} {self.old.status}"
        )
