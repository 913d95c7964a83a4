"""A game server whose rules are replaced, again and again, while 200 clients play.

Run it with ``midflight demo``, ``make demo``, or ``python demo.py``.  It exits with 1 if a call was lost or mixed up, a
client dropped, a bad version not refused, or an old one not unloaded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import midflight
from rich.console import Console
from rich.text import Text

from crowd import BotProcess
from deployment import Deployment
from footprint import resident_bytes, still_mapped
from scoreboard import CALM, STORM, Result, explain, show, told_state
from server import GameServer
from wildlife import CREATURES, Wildlife
from workshop import Workshop
from world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from history import Outcome

_ROUNDS = 2
"""Calm and storm take turns, so that neither has the machine's better moments to itself."""


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="midflight demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200, help="how many bots play (default: 200)")
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second of each (default: 25)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of play with and without swaps (default: 5 each)")
    parser.add_argument("--swaps", type=float, default=20.0, help="a second while swapping (default: 20)")
    return parser.parse_args()


class Teller:
    """Tells the story: each line with the time since the start."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.perf_counter() - self._start

    def say(self, text: str, mark: str = "●", style: str = "cyan") -> None:
        """Print one line."""
        line = Text.assemble((f"{self.seconds:5.1f} s  ", "dim"), (f"{mark} ", style), text)
        self.console.print(line, soft_wrap=True)

    def say_outcome(self, outcome: Outcome) -> None:
        """Print what became of a swap."""
        if outcome.report is not None:
            old, new = outcome.report.old.number, outcome.report.new.number
            text = f"{outcome.title}: version {old} → {new} in {outcome.seconds * 1e3:.0f} ms"
            self.say(f"{text}{told_state(outcome.report)}", "✔", "bold green")
        elif outcome.error is not None:
            self.say(f"{outcome.title}: refused, {explain(outcome.error)}", "✘", "bold yellow")


async def tell_story(deployment: Deployment, wildlife: Wildlife, teller: Teller, pause: float) -> None:
    """Develop the game while it is played: better versions, bad ones, changes of mind."""
    steps = (
        functools.partial(deployment.save, 2),
        functools.partial(deployment.save_with_a_typo, 3),
        functools.partial(deployment.save, 3),
        functools.partial(deployment.save_without_look, 3),
        deployment.bring_half_a_library,
        deployment.roll_back,
        wildlife.bring_stamina,
        wildlife.narrow_weights,
        wildlife.roll_back,
    )
    for step in steps:
        teller.say_outcome(await step())
        await asyncio.sleep(pause)


async def storm(deployment: Deployment, seconds: float, per_second: float) -> None:
    """Swap as often as asked, good versions and bad ones."""
    end = time.perf_counter() + seconds
    turn = 0
    while (begun := time.perf_counter()) < end:
        turn += 1
        if turn % 10 == 5:  # noqa: PLR2004 - each tenth swap is one that lacks a function
            await deployment.save_without_look(deployment.number)
        elif turn % 10 == 9:  # noqa: PLR2004 - each tenth a truncated library
            await deployment.bring_half_a_library()
        elif turn % 10 == 0:
            await deployment.roll_back()
        else:
            await deployment.save(deployment.number % 3 + 1)
        await asyncio.sleep(max(0.0, begun + 1 / per_second - time.perf_counter()))


async def play(chosen: argparse.Namespace, directory: Path, teller: Teller) -> Result:
    """Run the whole demo."""
    workshop = Workshop(directory)
    workshop.save(1)
    teller.say(f"building {workshop.source.name}")
    rules = midflight.load(workshop.source)
    teller.say("rules 1, the open field: version 1")

    wildlife = Wildlife(directory)
    teller.say(f"wildlife 1, {CREATURES:,} creatures that a C++ library owns")

    server = GameServer(rules, World(rules, chosen.clients), frozenset({1}), wildlife)
    deployment = Deployment(rules, server, workshop, number=1)
    async with _running(server, chosen) as bots:
        wildlife.check("at the start")
        teller.say(f"{server.clients} clients play, {chosen.clients * chosen.rate:,.0f} calls a second")
        before = resident_bytes()

        def phase(name: str) -> None:
            server.phase = name
            bots.phase(name)

        phase("story")
        await tell_story(deployment, wildlife, teller, pause=min(0.4, chosen.seconds / 10))
        await _measure(deployment, chosen, teller, phase)
        phase("leaving")
        found = await bots.stop()
    wildlife.check("at the end")
    gc.collect()
    for module in (rules, wildlife.module):
        midflight.versions(module)  # looks once more whether the last ones can be unloaded
    mapped = len(still_mapped(deployment.history.paths | wildlife.history.paths))
    return Result(server, deployment.history, wildlife, found, mapped, before, resident_bytes(), teller.seconds)


@contextlib.asynccontextmanager
async def _running(server: GameServer, chosen: argparse.Namespace) -> AsyncIterator[BotProcess]:
    port = await server.start()
    bots = await BotProcess.start(port, chosen.clients, chosen.rate)
    try:
        yield bots
    finally:
        await bots.kill()
        await server.stop()


async def _measure(
    deployment: Deployment, chosen: argparse.Namespace, teller: Teller, phase: Callable[[str], None]
) -> None:
    for _ in range(_ROUNDS):
        teller.say(f"{chosen.seconds / _ROUNDS:.1f} s without swapping")
        phase(CALM)
        await asyncio.sleep(chosen.seconds / _ROUNDS)
        teller.say(f"{chosen.seconds / _ROUNDS:.1f} s with {chosen.swaps:.0f} swaps a second")
        phase(STORM)
        await storm(deployment, chosen.seconds / _ROUNDS, chosen.swaps)


def main() -> int:
    """Play, and show the scoreboard."""
    # Refusals are a part of the story here, told by the teller; without this the log would tell them too.
    logging.getLogger("midflight").addHandler(logging.NullHandler())
    # Swaps do their work in a thread beside the server's.  A shorter turn lets the server answer sooner.
    sys.setswitchinterval(0.0005)
    console = Console(highlight=False)
    teller = Teller(console)
    with tempfile.TemporaryDirectory(prefix="midflight-demo-") as directory:
        try:
            result = asyncio.run(play(options(), Path(directory), teller))
        except midflight.MidflightError as error:
            console.print(Text(str(error), style="red"))
            return 1
        except KeyboardInterrupt:
            return 130
    return 0 if show(console, result) else 1


if __name__ == "__main__":
    sys.exit(main())
