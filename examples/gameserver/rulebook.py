"""The players' own copy of the rules, by which the bots check every reply.

Each reply carries the number of the rules that made it.  The rules differ in every formula, so a reply that was made
half by one version and half by another, or made twice, or not at all, fails the check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Point: TypeAlias = tuple[int, int]
Wall: TypeAlias = tuple[int, int, int, int]
"""The low x and y, and the high x and y, of a rectangle."""


@dataclass(frozen=True)
class Ground:
    """What the server tells a client about the world when it joins."""

    size: Point
    walls: tuple[Wall, ...]

    def is_free(self, x: int, y: int) -> bool:
        """Say whether a player can stand there."""
        if not (0 <= x <= self.size[0] and 0 <= y <= self.size[1]):
            return False
        return not any(low_x <= x <= high_x and low_y <= y <= high_y for low_x, low_y, high_x, high_y in self.walls)


@dataclass(frozen=True)
class Rulebook:
    """One version of the rules, as formulas."""

    step: int
    slow_step: int
    slides: bool
    reach: int
    strongest: int
    fades: bool
    cover: bool
    sight: int
    death_costs: int
    gem_factor: int

    def walk(self, ground: Ground, at: Point, way: Point, health: int) -> Point:
        """Return where a step from ``at`` ends."""
        most = self.slow_step if health < _WOUNDED else self.step
        dx, dy = (max(-most, min(part, most)) for part in way)
        x, y = at
        if ground.is_free(x + dx, y + dy):
            return x + dx, y + dy
        if self.slides and ground.is_free(x + dx, y):
            return x + dx, y
        if self.slides and ground.is_free(x, y + dy):
            return x, y + dy
        return at

    def damage(self, distance: int, *, covered: bool, friendly: bool) -> int:
        """Return what a hit takes."""
        if distance > self.reach or (self.cover and friendly):
            return 0
        full = self.strongest - self.strongest * distance // self.reach if self.fades else self.strongest
        return full // 2 if self.cover and covered else full

    def points(self, kills: int, deaths: int, gems: int) -> int:
        """Return the score."""
        return 100 * kills + self.gem_factor * gems - self.death_costs * deaths


_WOUNDED = 50

RULEBOOKS = {
    1: Rulebook(
        step=400,
        slow_step=400,
        slides=False,
        reach=6000,
        strongest=10,
        fades=False,
        cover=False,
        sight=8000,
        death_costs=0,
        gem_factor=1,
    ),
    2: Rulebook(
        step=500,
        slow_step=500,
        slides=True,
        reach=9000,
        strongest=30,
        fades=True,
        cover=False,
        sight=10000,
        death_costs=25,
        gem_factor=1,
    ),
    3: Rulebook(
        step=500,
        slow_step=300,
        slides=True,
        reach=9000,
        strongest=30,
        fades=True,
        cover=True,
        sight=10000,
        death_costs=25,
        gem_factor=2,
    ),
}
