"""How the transaction asks for a version's data to be brought to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight._lane import hooks_of

if TYPE_CHECKING:
    from midflight._carry import Carrying
    from midflight._control import Generation
    from midflight._version import Carried


class Move:
    """Data that have been brought over.  ``rows``: what became of each; ``warnings``: for the report.

    Either `commit` or `undo` follows, once; neither can fail.
    """

    rows: tuple[Carried, ...] = ()
    warnings: tuple[str, ...] = ()

    def commit(self) -> None:
        """The new version is the current one now: let go of what only the way back needed."""

    def undo(self) -> None:
        """Leave the old version's data as they were before."""


def has_state(old: Generation) -> bool:
    """Whether callers have to be held back while a version is replaced: it has data to move, or hooks that do it."""
    return old.code is not None and bool({"midflight_save", "midflight_restore"} & set(hooks_of(old.code)))


def begin_move(old: Generation, new: Generation, carrying: Carrying) -> Move:
    """Bring the data over.  When it raises, they are as they were.

    Precondition: nobody is inside the old version, and nobody can get in.
    """
    del old, new, carrying
    return Move()
