"""What a loss, as `_core.Plan.run` reports it, is called in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight._core import Loss
    from midflight.state.layout import Migration


def spell(
    loss: Loss,
    migration: Migration,
    name: str,
    *,
    block: bool = False,
    describe: Callable[[int], str] | None = None,
) -> str:
    """Return a loss as one clause: ``players[17].hp: 300 does not fit int8_t``.

    ``name``: what was moved; ``block``: its elements have numbers; ``describe``: tells what an old address was.
    """
    index, path, indexes, kind, value = loss
    where = place(migration, name, path, indexes, index if block else None)
    goal, names = next(((goal, names) for number, goal, names in migration.goals if number == path), ("", ()))
    match kind:
        case "range":
            return f"{where}: {value} does not fit {goal or 'its new type'}"
        case "inexact":
            return f"{where}: {value} can't be held exactly by {goal or 'its new type'}"
        case "enum":
            called = next((f"{one} ({value})" for one, number in names if number == value), str(value))
            return f"{where}: {called} is no enumerator of {goal or 'its new type'}"
        case "lost":
            return f"{where}: there is something in the part that the new version has no room for"
        case "locked":
            return f"{where} is locked"
        case "dangling":
            target = describe(int(value)) if describe is not None else f"{int(value):#x}"
            return f"{where} points to {target}, which the new version doesn't have"
    return f"{where}: {value} can't be moved ({kind})"


def place(migration: Migration, name: str, path: int, indexes: tuple[int, ...], index: int | None = None) -> str:
    """Return the full path of what a path number is about: ``players[17].items[2].count``."""
    inner = migration.where(path, indexes)
    head = name if index is None else f"{name}[{index}]"
    return f"{head}{'' if not inner or inner.startswith('[') else '.'}{inner}"
