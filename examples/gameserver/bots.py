"""The clients: bots that play over real sockets, in a process of their own, and check each reply.

Started by the demo as ``bots.py PORT CLIENTS RATE``.  Prints one JSON object when all have joined and one at the end;
reads orders, one a line: ``phase NAME`` (the latencies of the requests from here on are counted under NAME) and
``stop``.

The bots send at their own pace, whether or not the replies keep up: a server that stood still would see requests pile
up, and each of them would show in the latencies.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import random
import signal
import sys
import time
from typing import Any, Final, cast

from histogram import Histogram
from rulebook import RULEBOOKS, Ground, Point

_PATIENCE: Final = 5.0
"""Seconds that the bots wait at the end for replies that are still missing."""

_FAR: Final = 700
"""How far a bot tries to walk in one step: farther than any rules allow."""


class Crowd:
    """All bots, and what they found out together."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.phase = "joining"
        self.latencies: dict[str, Histogram] = collections.defaultdict(Histogram)
        self.by_rules: collections.Counter[int] = collections.Counter()
        self.sent = 0
        self.answered = 0
        self.dropped = 0
        self.complaints: list[str] = []
        self.wrong = 0
        self.playing = False

    def complain(self, text: str) -> None:
        """Note a wrong reply; the first few are told in full."""
        self.wrong += 1
        if self.wrong <= 10:  # noqa: PLR2004 - enough to see what went wrong
            self.complaints.append(text)

    def report(self) -> dict[str, Any]:
        """Return everything that the demo wants to know, as plain data."""
        return {
            "sent": self.sent,
            "answered": self.answered,
            "dropped": self.dropped,
            "wrong": self.wrong,
            "complaints": self.complaints,
            "by_rules": dict(self.by_rules),
            "latencies": {phase: list(found.counts.items()) for phase, found in self.latencies.items()},
        }


class Bot(asyncio.Protocol):
    """One player.  Replies come in the order of the requests, so the first one that is open is the one answered."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.open: collections.deque[tuple[int, str, tuple[int, ...], int, str]] = collections.deque()
        self.joined = asyncio.Event()
        self.finished = asyncio.Event()
        self._draw = random.Random(number)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._saying_bye = False
        self._at: tuple[Point, int] | None = None
        self._near: list[int] = []

    # ---- the connection: what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        """Notice the end, wanted or not."""
        if not self._saying_bye:
            self.crowd.dropped += 1
        self.joined.set()
        self.finished.set()

    def data_received(self, data: bytes) -> None:
        """Take what came, line by line."""
        now = time.perf_counter_ns()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self.joined.is_set():
                self._take(line.decode(), now)
            else:
                self._join(line.decode())
        if not self.open and not self.crowd.playing:
            self.finished.set()

    def say_bye(self) -> None:
        """Leave the game."""
        self._saying_bye = True
        if not self._transport.is_closing():
            self._transport.write(b"bye\n")

    def _join(self, line: str) -> None:
        _, who, team, served, width, height, walls = line.split()
        self.who, self.team, self._served = int(who), int(team), int(served)
        rectangles = (tuple(map(int, wall.split(","))) for wall in walls.split(";"))
        self.ground = Ground((int(width), int(height)), tuple((w[0], w[1], w[2], w[3]) for w in rectangles))
        self.joined.set()

    # ---- playing ----

    def play(self) -> None:
        """Send one request, and come back for the next one."""
        if not self.crowd.playing or self._transport.is_closing():
            return
        asyncio.get_running_loop().call_later(self._draw.uniform(0.5, 1.5) / self.crowd.rate, self.play)
        verb, words = self._choose()
        number = next(self._numbers)
        self.open.append((number, verb, words, time.perf_counter_ns(), self.crowd.phase))
        self.crowd.sent += 1
        self._transport.write(" ".join([str(number), verb, *map(str, words)]).encode() + b"\n")

    def _choose(self) -> tuple[str, tuple[int, ...]]:
        dice = self._draw.random()
        if dice < 0.25 and self._near:  # noqa: PLR2004 - how often a bot attacks
            return "attack", (self._draw.choice(self._near),)
        if dice < 0.5:  # noqa: PLR2004 - how often it looks around
            return "look", ()
        if dice < 0.6:  # noqa: PLR2004 - how often it asks for its score
            return "score", ()
        return "move", (self._draw.randint(-_FAR, _FAR), self._draw.randint(-_FAR, _FAR))

    # ---- checking ----

    def _take(self, line: str, now: int) -> None:
        crowd = self.crowd
        if not self.open:
            crowd.complain(f"a reply that nobody asked for: {line}")
            return
        number, verb, asked, sent_at, phase = self.open.popleft()
        crowd.latencies[phase].add(now - sent_at)
        crowd.answered += 1
        head = f"{number} {verb} "
        wrong = self._check(verb, asked, line.removeprefix(head).split()) if line.startswith(head) else "another reply"
        if wrong:
            crowd.complain(f"{head}{asked}: {wrong} in {line!r}")

    def _check(self, verb: str, asked: tuple[int, ...], words: list[str]) -> str:
        """Return what is wrong with a reply, or nothing."""
        rules, served, *found = (int(word) for word in words if "," not in word)
        self.crowd.by_rules[rules] += 1
        self._served += 1
        if rules not in RULEBOOKS:
            return f"unknown rules {rules}"
        if served != self._served:
            return f"{served} requests carried out instead of {self._served}"
        match verb:
            case "move":
                return self._check_move(rules, (asked[0], asked[1]), found)
            case "attack":
                return self._check_attack(rules, asked[0], found)
            case "look":
                others = [tuple(map(int, word.split(","))) for word in words if "," in word]
                return self._check_look(rules, found, others)
            case _:
                return self._check_score(rules, found)

    def _check_move(self, rules: int, way: Point, found: list[int]) -> str:
        start, end, health, deaths = (found[0], found[1]), (found[2], found[3]), found[4], found[5]
        if self._at is not None and self._at[1] == deaths and self._at[0] != start:
            return f"starts at {start}, but the last step ended at {self._at[0]}"
        self._at = end, deaths
        expected = RULEBOOKS[rules].walk(self.ground, start, way, health)
        return "" if expected == end else f"ends at {end}, by rules {rules} at {expected}"

    def _check_attack(self, rules: int, asked: int, found: list[int]) -> str:
        target, distance, damage, covered, friendly, _fatal = found
        if target != asked:
            return f"another target, {target}"
        expected = RULEBOOKS[rules].damage(distance, covered=bool(covered), friendly=bool(friendly))
        return "" if expected == damage else f"damage {damage}, by rules {rules} {expected}"

    def _check_look(self, rules: int, found: list[int], others: list[tuple[int, ...]]) -> str:
        _x, _y, radius, count = found
        self._near = [other[0] for other in others]
        distances = [other[3] for other in others]
        if radius != RULEBOOKS[rules].sight or any(distance > radius for distance in distances):
            return f"sight {radius}, distances {distances}, by rules {rules} {RULEBOOKS[rules].sight}"
        return "" if count == len(others) and distances == sorted(distances) else "not the nearest first"

    def _check_score(self, rules: int, found: list[int]) -> str:
        kills, deaths, gems, points = found
        expected = RULEBOOKS[rules].points(kills, deaths, gems)
        return "" if expected == points else f"{points} points, by rules {rules} {expected}"


async def main() -> None:
    """Join, play until told to stop, and report."""
    parser = argparse.ArgumentParser(description="Bots for the game server; the demo starts them.")
    parser.add_argument("port", type=int)
    parser.add_argument("clients", type=int)
    parser.add_argument("rate", type=float, help="requests a second of each client")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the demo ends this process

    crowd = Crowd(options.rate)
    bots = [await _join(crowd, number, options.port) for number in range(options.clients)]
    crowd.playing = True
    for bot in bots:
        bot.play()
    _tell({"joined": len(bots) - crowd.dropped})
    await _obey(crowd)
    await _finish(crowd, bots)
    _tell(crowd.report())


async def _join(crowd: Crowd, number: int, port: int) -> Bot:
    _, bot = await asyncio.get_running_loop().create_connection(lambda: Bot(crowd, number), "127.0.0.1", port)
    await bot.joined.wait()
    return bot


async def _obey(crowd: Crowd) -> None:
    """Follow the demo's orders until it says stop, or is gone."""
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while (order := (await orders.readline()).decode().split()) and order[0] == "phase":
        crowd.phase = order[1]


async def _finish(crowd: Crowd, bots: list[Bot]) -> None:
    """Stop sending, wait for what is still to come, and leave."""
    crowd.playing = False
    waiting = [asyncio.create_task(bot.finished.wait()) for bot in bots if bot.open]
    if waiting:
        await asyncio.wait(waiting, timeout=_PATIENCE)
    for bot in bots:
        bot.finished.clear()
        bot.say_bye()
    leaving = [asyncio.create_task(bot.finished.wait()) for bot in bots]
    await asyncio.wait(leaving, timeout=_PATIENCE)


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
