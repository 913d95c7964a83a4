"""The game server: clients' connections, the world and its ticks live here; what happens in it, the rules decide.

The protocol is lines of text.  A client that joins is greeted with the ground that it stands on:

    welcome ID TEAM SERVED WIDTH HEIGHT LOWX,LOWY,HIGHX,HIGHY;...

and then asks, each request with a number of its own that the reply repeats.  RULES is the number of the rules that made
the reply, SERVED the player's count of requests that were carried out:

    N move DX DY      ->  N move RULES SERVED FROMX FROMY TOX TOY HEALTH DEATHS GEMS
    N attack TARGET   ->  N attack RULES SERVED TARGET DISTANCE DAMAGE COVERED FRIENDLY FATAL
    N look            ->  N look RULES SERVED X Y RADIUS COUNT ID,X,Y,DISTANCE ...
    N score           ->  N score RULES SERVED KILLS DEATHS GEMS POINTS
    bye               ->  (the server closes)

A request that can't be carried out is answered with ``N error REASON``.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, cast

import midflight

from histogram import Histogram
from world import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from wildlife import Wildlife
    from world import World

TICK: Final = 0.05
"""Seconds between two ticks of the world."""

_SEEN: Final = 6
"""How many other players one look reports at most."""


class GameServer:
    """Serves one world by one module of rules; ``wildlife``, if there is any, lives by the same clock.

    ``phase``: the name under which the calls' durations are counted.  ``allowed``: the numbers of the rules that may be
    running now; whoever swaps the rules keeps it up to date, and a reply of any other rules is counted in ``stale``.
    """

    def __init__(
        self, rules: ModuleType, world: World, allowed: frozenset[int], wildlife: Wildlife | None = None
    ) -> None:
        self.rules = rules
        self.world = world
        self.allowed = allowed
        self.wildlife = wildlife
        self.calls = 0
        self.failed = 0
        self.stale = 0
        self.mixed_ticks = 0
        self.ticks = 0
        self.dropped = 0
        self.clients = 0
        self.phase = "joining"
        self.latencies: dict[str, Histogram] = defaultdict(Histogram)
        self.free_seats = list(range(len(world.players)))
        self._moved = world.new("moved")
        self._hit = world.new("hit")
        self._view = world.new("view")
        self._seen = world.new("sighting", _SEEN)
        self._standing = world.new("standing")
        self._handlers: dict[str, Callable[[int, list[str]], str]] = {
            "move": self._move,
            "attack": self._attack,
            "look": self._look,
            "score": self._score,
        }

    async def start(self) -> int:
        """Start to listen, and to tick; return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), "127.0.0.1", 0, backlog=512)
        self._clock = loop.create_task(self._run_clock())
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and ticking."""
        self._clock.cancel()
        self._server.close()
        await self._server.wait_closed()

    def welcome(self, who: int) -> str:
        """Let a client take the part of a player, and return its greeting."""
        self.rules.spawn(self.world.structure, who)
        player = self.world.players[who]
        walls = ";".join(",".join(map(str, wall)) for wall in self.world.walls)
        return f"welcome {who} {player.team} {player.served} {SIZE[0]} {SIZE[1]} {walls}\n"

    def answer(self, who: int, line: str) -> str:
        """Carry out one request of one player."""
        number, _, rest = line.partition(" ")
        try:
            verb, *words = rest.split()
            return f"{number} {verb} {self._handlers[verb](who, words)}\n"
        except (KeyError, ValueError, midflight.MidflightError) as error:
            self.failed += 1
            return f"{number} error {type(error).__name__} {' '.join(str(error).split())}\n"

    def call(self, function: Callable[..., Any], answer: Any, *arguments: Any) -> Any:
        """Make one call into the rules, and look at who answered.  ``answer`` is the struct that they fill in."""
        began = time.perf_counter_ns()
        function(self.world.structure, *arguments)
        self.latencies[self.phase].add(time.perf_counter_ns() - began)
        self.calls += 1
        self.stale += answer.rules not in self.allowed
        return answer

    def _move(self, who: int, words: list[str]) -> str:
        dx, dy = (int(word) for word in words)
        out = self._moved
        self.call(self.rules.move, out, who, dx, dy, out)
        start, end = out.start, out.end
        return f"{out.rules} {out.served} {start.x} {start.y} {end.x} {end.y} {out.health} {out.deaths} {out.gems}"

    def _attack(self, who: int, words: list[str]) -> str:
        target = int(words[0])
        if not 0 <= target < len(self.world.players):
            message = f"there is no player {target}"
            raise ValueError(message)
        out = self._hit
        self.call(self.rules.attack, out, who, target, out)
        return (
            f"{out.rules} {out.served} {out.target} {out.distance} {out.damage}"
            f" {out.covered:d} {out.friendly:d} {out.fatal:d}"
        )

    def _look(self, who: int, _words: list[str]) -> str:
        out, seen = self._view, self._seen
        self.call(self.rules.look, out, who, out, seen, _SEEN)
        at = out.at
        others = " ".join(f"{one.id},{one.at.x},{one.at.y},{one.distance}" for one in seen[: out.count])
        return f"{out.rules} {out.served} {at.x} {at.y} {out.radius} {out.count} {others}"

    def _score(self, who: int, _words: list[str]) -> str:
        out = self._standing
        self.call(self.rules.score, out, who, out)
        return f"{out.rules} {out.served} {out.kills} {out.deaths} {out.gems} {out.points}"

    async def _run_clock(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.tick()

    def tick(self) -> None:
        """Let the world go on: three calls that belong together, so they are made in one version."""
        world = self.world.structure
        with midflight.pin(self.rules) as rules:
            made_by = {rules.begin_tick(world), rules.heal(world), rules.end_tick(world)}
        self.ticks += 1
        self.calls += 3
        self.mixed_ticks += len(made_by) != 1
        if self.wildlife is not None:
            self.wildlife.tick()


class _Client(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: GameServer) -> None:
        self._server = server
        self._rest = b""
        self._left = False
        self._who: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        server = self._server
        if not server.free_seats:
            self._left = True
            self._transport.close()
            return
        server.clients += 1
        self._who = server.free_seats.pop()
        self._transport.write(server.welcome(self._who).encode())

    def data_received(self, data: bytes) -> None:
        if self._who is None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        replies = []
        for line in lines:
            if line == b"bye":
                self._left = True
                break
            replies.append(self._server.answer(self._who, line.decode("ascii", "replace")))
        self._transport.write("".join(replies).encode())
        if self._left:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._who is None:
            return
        self._server.clients -= 1
        self._server.free_seats.append(self._who)
        if not self._left:
            self._server.dropped += 1
