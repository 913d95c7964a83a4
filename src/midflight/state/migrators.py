"""Functions by which a library itself migrates a struct: ``midflight_migrate_player(const void *old, void *new)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Pointer

if TYPE_CHECKING:
    from midflight.artifact.interface import Interface

PREFIX = "midflight_migrate_"
_PARAMETERS = 2


def migrators(new: Interface) -> dict[str, str]:
    """Return the symbols of the new version's functions by the old structs' names, without ``struct``."""
    return {
        function.symbol.removeprefix(PREFIX): function.symbol
        for function in new.functions
        if function.symbol.startswith(PREFIX)
        and len(function.params) == _PARAMETERS
        and all(isinstance(new.strip(param.type), Pointer) for param in function.params)
    }
