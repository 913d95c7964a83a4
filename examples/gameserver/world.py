"""The world: plain C structs, as the rules' own interface describes them, owned by this program.

Nothing of it belongs to the rules, so the rules can be replaced between any two calls and the world goes on.
"""

from __future__ import annotations

import ctypes
import random
from typing import TYPE_CHECKING, Any

import midflight

if TYPE_CHECKING:
    from types import ModuleType

    from rulebook import Wall

SIZE = (100_000, 100_000)
TEAMS = 4
_WALLS = 16
_GEMS = 60
_MARGIN = 500


class World:
    """Players, gems and walls.  ``structure`` is the ``struct world`` that the rules are given."""

    def __init__(self, rules: ModuleType, players: int, seed: int = 1) -> None:
        draw = random.Random(seed)
        self.types: Any = midflight.types(rules)
        self.walls: tuple[Wall, ...] = tuple(_wall(draw) for _ in range(_WALLS))
        self.players = self._array("player", [_player(index) for index in range(players)])
        self._gems = self._array("gem", [_gem(draw) for _ in range(_GEMS)])
        self._walls = self._array("wall", [{"low": wall[:2], "high": wall[2:]} for wall in self.walls])
        self.structure = self.types.world(
            seed=seed,
            size=SIZE,
            players=self._pointer("player", self.players),
            player_count=players,
            gems=self._pointer("gem", self._gems),
            gem_count=_GEMS,
            walls=self._pointer("wall", self._walls),
            wall_count=_WALLS,
        )

    def new(self, name: str, count: int = 0) -> Any:
        """Return a new struct of the rules' interface, or an array of ``count``."""
        kind = getattr(self.types, name)
        return (kind * count)() if count else kind()

    def _array(self, name: str, values: list[dict[str, Any]]) -> Any:
        kind = getattr(self.types, name)
        return (kind * len(values))(*(kind(**value) for value in values))

    def _pointer(self, name: str, array: ctypes.Array[Any]) -> Any:
        return ctypes.cast(array, ctypes.POINTER(getattr(self.types, name)))


def _player(index: int) -> dict[str, Any]:
    return {"id": index, "team": index % TEAMS, "health": 100}


def _gem(draw: random.Random) -> dict[str, Any]:
    at = draw.randrange(SIZE[0]), draw.randrange(SIZE[1])
    return {"at": at, "worth": draw.choice([5, 10, 25])}


def _wall(draw: random.Random) -> Wall:
    width, height = draw.choice([(20_000, 2_000), (2_000, 20_000), (8_000, 8_000)])
    x = draw.randrange(_MARGIN, SIZE[0] - width - _MARGIN)
    y = draw.randrange(_MARGIN, SIZE[1] - height - _MARGIN)
    return x, y, x + width, y + height
