"""What a program says of its modules' data: what has another name now, and how structs are to be migrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from midflight._control import control_of
from midflight.state.renames import bare

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_Migration = TypeVar("_Migration", bound="Callable[[Any, Any], object]")


def renamed(module: ModuleType, old: str, new: str) -> None:
    """Say that something of a module has another name in its next versions, so that its data are carried.

    A field (``"player.hp"``, ``"player.health"``), a type (``"struct actor"``, ``"struct player"``) or a variable.  The
    same as ``MF_RENAMED(old, new)`` in the source.  On the way back, by `rollback`, it holds the other way round.
    """
    control_of(module).migrations.renames[old.strip()] = new.strip()


def migrate(module: ModuleType, struct: str) -> Callable[[_Migration], _Migration]:
    """Migrate a struct by a function of the program's: ``@midflight.migrate(game, "struct player")``.

    Where its layout changes, it is called for each element with two ctypes views, while callers are held back: the old
    struct, as the old version has it (to read), and the new one, zero or as the new version has initialised it (to
    fill).  It overrides what midflight would do, and ``midflight_migrate_player`` in the library.  What it raises
    refuses the swap.
    """

    def remember(function: _Migration) -> _Migration:
        control_of(module).migrations.functions[bare(struct.strip())] = function
        return function

    return remember
