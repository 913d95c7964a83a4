"""The wildlife: a library with 100,000 creatures and variables of its own, which outlive the code.

The host counts the ticks that it asks for, and by which version each was made.  From these counts follows where every
creature has to be: a tick that was lost or made twice, or a creature that a swap has mixed up, is noticed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import midflight

from history import History, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CREATURES: Final = 100_000
_HERE: Final = Path(__file__).parent / "wildlife"
_FILES: Final = {1: "1-wanderers.cpp", 2: "2-stamina.cpp"}
_LAND: Final = 100_000
_COUNTRY: Final = b"the steppe"


class Wildlife:
    """The library, and what the host knows of its creatures.

    ``ticks``: how many were made, by the number of the wildlife; 2 may run once only.  ``faults``: what didn't fit.
    """

    def __init__(self, directory: Path, creatures: int = CREATURES) -> None:
        self.source = directory / "wildlife.cpp"
        self.ticks: Counter[int] = Counter()
        self.faults: list[str] = []
        self.checks = 0
        shutil.copy(_HERE / "land.hpp", directory)
        self._save(1)
        self.module = midflight.load(self.source)
        self.history = History(self.module)
        self.creatures = creatures
        self.module.settle(creatures)

    def tick(self) -> None:
        """Let every creature do what it does."""
        self.ticks[self.module.tick()] += 1

    # ---- new versions ----

    async def bring_stamina(self) -> Outcome:
        """Bring in version 2, in which a creature has a field more."""
        self._save(2)
        return await self._try("wildlife 2, creatures get tired", lambda: midflight.aswap(self.module))

    async def narrow_weights(self) -> Outcome:
        """Try one in which a creature is there that doesn't fit."""
        self._save(2, "int16_t weight;", "int8_t weight;")
        return await self._try("one with weights of 8 bits", lambda: midflight.aswap(self.module), midflight.StateError)

    async def roll_back(self) -> Outcome:
        """Return to version 1, with the creatures as they are by now."""
        return await self._try("back to wildlife 1", lambda: asyncio.to_thread(midflight.rollback, self.module))

    async def _try(
        self,
        title: str,
        swap: Callable[[], Awaitable[midflight.Report]],
        wanted: type[midflight.MidflightError] | None = None,
    ) -> Outcome:
        self.check(f"before {title}")
        outcome = await self.history.attempt(title, swap, wanted)
        self.check(f"after {title}")
        return outcome

    def _save(self, number: int, good: str = "", bad: str = "") -> None:
        text = (_HERE / _FILES[number]).read_text(encoding="utf-8")
        if good not in text:
            message = f"wildlife {number} doesn't contain {good!r}"
            raise ValueError(message)
        self.source.write_text(text.replace(good, bad) if good else text, encoding="utf-8")

    # ---- checks ----

    def check(self, when: str) -> None:
        """Compare what the library says of itself, what Python sees in its memory, and what both should be."""
        self.checks += 1
        told = midflight.types(self.module).census()
        self.module.look(told)
        (block,) = midflight.blocks(self.module)
        creatures = _Creatures(block.array)
        found = {
            "creatures": (told.count, creatures.count),
            "ticks": (told.ticks, self.ticks.total()),
            "checksum": (told.checksum, creatures.checksum()),
            "strays": (told.strays, 0),
            "favourite": (told.favourite, self.creatures // 2),
            "country": (told.country, _COUNTRY),
            "misplaced": (creatures.misplaced(self.ticks), 0),
        }
        self.faults += [f"{when}: {what} {one!r}, not {two!r}" for what, (one, two) in found.items() if one != two]


class _Creatures:
    """A typed block, as Python sees it: numpy's view of the library's memory, or ctypes' where there is no numpy."""

    def __init__(self, array: Any) -> None:
        self.count = len(array)
        self._columns = [_column(array, name) for name in ("id", "x", "y", "steps")]

    def checksum(self) -> int:
        """Return what the library should say."""
        ids, xs, ys, _ = self._columns
        return sum((one + 1) * (1_000_003 * x + y) for one, x, y in zip(ids, xs, ys, strict=True)) % (1 << 64)

    def misplaced(self, ticks: Counter[int]) -> int:
        """Return how many creatures aren't where so many ticks should have brought them."""
        steps = [ticks[1] + ticks[2] - -(-ticks[2] // (stamina + 1)) for stamina in range(5, 10)]
        rows = zip(*self._columns, range(self.count), strict=True)
        return sum((one, x, y, made) != _expected(index, steps[index % 5]) for one, x, y, made, index in rows)


def _column(array: Any, name: str) -> list[int]:
    return array[name].tolist() if hasattr(array, "dtype") else [getattr(one, name) for one in array]


def _expected(creature: int, steps: int) -> tuple[int, int, int, int]:
    x, y = ((creature + (creature % choices + 1) * steps) % _LAND for choices in (7, 11))
    return creature, x, y, steps
