"""Would catch: a demo that fails, or one that wouldn't notice a lost, doubled, stale or mixed-up call."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import midflight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_EXAMPLE = Path(__file__).parents[2] / "examples" / "gameserver"
_RULES = {1: "1-open-field.cpp", 2: "2-distance.cpp", 3: "3-cover.cpp"}
_OWN_MODULES = [path.stem for path in _EXAMPLE.glob("*.py")]
_PLAYERS = 12
_VARIABLES = {"ticks", "count", "creatures", "favourite", "country", "behaviour"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the tests import the example's modules, and leave none of them behind."""
    monkeypatch.syspath_prepend(str(_EXAMPLE))
    yield
    for name in _OWN_MODULES:
        sys.modules.pop(name, None)


class _Game(NamedTuple):
    """A server and a bot with no network between them."""

    rules: ModuleType
    server: Any
    bot: Any
    crowd: Any

    def play(self, requests: int, tamper: Any = lambda reply: reply) -> None:
        """Let the bot make requests; ``tamper`` may change a reply on its way."""
        for number in range(1, requests + 1):
            verb, words = self.bot._choose()
            line = " ".join([str(number), verb, *map(str, words)])
            self.bot.open.append((number, verb, words, 0, "test"))
            self.bot._take(tamper(self.server.answer(self.bot.who, line)).rstrip("\n"), 1000)


def _game(number: int, allowed: frozenset[int] | None = None) -> _Game:
    bots, servers, worlds = (importlib.import_module(name) for name in ("bots", "server", "world"))
    rules = midflight.load(_EXAMPLE / "rules" / _RULES[number])
    server = servers.GameServer(rules, worlds.World(rules, _PLAYERS), allowed or frozenset({number}))
    crowd = bots.Crowd(rate=1)
    bot = bots.Bot(crowd, number=7)
    for who in range(_PLAYERS):
        server.welcome(who)
    bot._join(server.welcome(3).rstrip("\n"))
    return _Game(rules, server, bot, crowd)


@pytest.mark.parametrize("number", _RULES)
def test_every_reply_follows_the_rulebook_of_its_version(number: int) -> None:
    game = _game(number)
    game.play(2000)
    assert game.crowd.complaints == []
    assert game.crowd.by_rules == {number: 2000}
    assert (game.server.calls, game.server.failed, game.server.stale) == (2000, 0, 0)
    assert game.server.world.players[game.bot.who].served == 2000


def test_a_swap_in_the_middle_of_a_game_is_no_complaint() -> None:
    game = _game(1, frozenset(_RULES))
    game.play(300)
    for number in (2, 3, 2, 1):
        midflight.swap(game.rules, _EXAMPLE / "rules" / _RULES[number])
        game.play(300)
        game.server.tick()
    assert game.crowd.complaints == []
    assert game.crowd.by_rules == {1: 600, 2: 600, 3: 300}
    assert (game.server.stale, game.server.mixed_ticks) == (0, 0)


def _from_other_rules(reply: str) -> str:
    number, verb, _rules, *rest = reply.split(" ")
    return " ".join([number, verb, "2", *rest])


def _not_carried_out(reply: str) -> str:
    number, verb, rules, served, *rest = reply.split(" ")
    return " ".join([number, verb, rules, str(int(served) - 1), *rest])


def _of_another_request(reply: str) -> str:
    number, rest = reply.split(" ", 1)
    return f"{int(number) + 1} {rest}"


@pytest.mark.parametrize("tamper", [_from_other_rules, _not_carried_out, _of_another_request])
def test_a_wrong_reply_is_noticed(tamper: Any) -> None:
    game = _game(1)
    game.play(20, tamper)
    assert game.crowd.wrong > 0


def test_rules_that_should_no_longer_run_are_noticed() -> None:
    game = _game(1, frozenset({2}))
    game.play(20)
    assert game.server.stale == 20


def test_a_request_that_makes_no_sense_is_answered_with_an_error() -> None:
    game = _game(1)
    for line in ("1 fly", "2 move", "3 move a b", "4 attack 999", "5 attack -1", "6 move 99999999999 0", ""):
        assert " error " in game.server.answer(0, line)
    assert game.server.failed == 7


def test_a_bad_version_that_is_not_refused_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_name = importlib.import_module
    workshop = from_name("workshop").Workshop(tmp_path)
    workshop.save(1)
    game = _game(1)
    deployment = from_name("deployment").Deployment(midflight.load(workshop.source), game.server, workshop, number=1)
    assert asyncio.run(deployment.save_with_a_typo(2)).as_planned
    assert asyncio.run(deployment.save(2)).as_planned
    assert asyncio.run(deployment.bring_half_a_library()).as_planned
    monkeypatch.setattr(workshop, "save_with_a_typo", workshop.save)
    assert not asyncio.run(deployment.save_with_a_typo(3)).as_planned
    assert not asyncio.run(deployment.save(3)).as_planned  # nothing has changed, so nothing was swapped
    assert [outcome.as_planned for outcome in deployment.history.outcomes] == [True, True, True, False, False]


def _wildlife(directory: Path) -> Any:
    return importlib.import_module("wildlife").Wildlife(directory, creatures=1000)


async def _change_twice(wildlife: Any) -> list[Any]:
    outcomes = []
    for change in (wildlife.bring_stamina, wildlife.narrow_weights, wildlife.roll_back):
        outcomes.append(await change())
        for _ in range(23):
            wildlife.tick()
    return outcomes


def test_creatures_and_what_the_library_knows_of_them_outlive_its_code(tmp_path: Path) -> None:
    wildlife = _wildlife(tmp_path)
    wildlife.tick()
    stamina, narrow, back = asyncio.run(_change_twice(wildlife))
    wildlife.check("at the end")
    assert (wildlife.faults, wildlife.ticks) == ([], {1: 24, 2: 46})
    assert narrow.as_planned
    assert narrow.error.refusals == ("creatures[17].weight: 300 does not fit int8_t",)
    for report in (stamina.report, back.report):
        *variables, block = report.state
        assert {row.name for row in variables if row.what == "carried"} == _VARIABLES
        assert (block.name, block.what) == ("1 block of creature", "migrated")
        assert report.pause > 0


def test_a_tick_that_is_lost_is_noticed(tmp_path: Path) -> None:
    wildlife = _wildlife(tmp_path)
    wildlife.tick()
    wildlife.ticks[1] += 1
    wildlife.check("now")
    assert wildlife.faults == ["now: ticks 1, not 2", "now: misplaced 1000, not 0"]


def test_creatures_that_are_mixed_up_are_noticed(tmp_path: Path) -> None:
    wildlife = _wildlife(tmp_path)
    (block,) = midflight.blocks(wildlife.module)
    block.array["x"][3] += 1
    wildlife.check("now")
    assert wildlife.faults == ["now: misplaced 1, not 0"]


def test_a_client_that_is_dropped_is_noticed() -> None:
    game = _game(1)
    game.server.free_seats.append(0)

    async def lose_one() -> None:
        port = await game.server.start()
        for farewell in (b"bye\n", b"1 score\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.readline()).startswith(b"welcome 0 ")
            writer.write(farewell)
            await reader.readline()
            writer.transport.abort()
            while game.server.clients:  # noqa: ASYNC110 - one turn of the loop each, until it has noticed
                await asyncio.sleep(0)
        await game.server.stop()

    asyncio.run(lose_one())
    assert game.server.dropped == 1


def test_whatever_went_wrong_is_told() -> None:
    scoreboard = importlib.import_module("scoreboard")
    game = _game(1)
    bots = {"sent": 10, "answered": 10, "dropped": 0, "wrong": 0, "complaints": []}
    versions = [midflight.Version(1, "", "", "unloaded"), midflight.Version(2, "", "")]
    rules = types.SimpleNamespace(outcomes=[], versions=versions)
    wildlife = types.SimpleNamespace(faults=[], history=types.SimpleNamespace(outcomes=[], versions=[]))

    def failures(mapped: int = 2, **other: int) -> list[str]:
        result = scoreboard.Result(game.server, rules, wildlife, bots | other, mapped, 0, 0, 1.0)
        return list(result.failures())

    assert failures() == []
    assert failures(answered=9) == ["calls lost: 1"]
    assert failures(dropped=2) == ["clients dropped: 2"]
    assert failures(wrong=3) == ["answers mixed up: 3, 0 of them of rules that weren't current"]
    assert failures(mapped=3) == ["versions still mapped: 3 instead of 2"]
    versions[0].status = "resident"
    wildlife.faults.append("at the end: ticks 3, not 4")
    assert failures() == ["at the end: ticks 3, not 4", "Version(1, resident) should be unloaded"]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_those_of_the_sorted_list(values: list[int], share: float) -> None:
    found = importlib.import_module("histogram").Histogram()
    for value in values:
        found.add(value)
    exact = sorted(values)[max(0, -(-len(values) * int(share * 100) // 100) - 1)]
    assert len(found) == len(values)
    assert exact <= round(found.percentile(share) * 1e9) <= exact * 1.04 + 1


def test_the_demo_with_a_few_players(plain: dict[str, str], tmp_path: Path) -> None:
    options = ("--clients", "20", "--rate", "20", "--seconds", "1")
    done = subprocess.run(
        [sys.executable, "-m", "midflight", "demo", *options],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    nothing = ("calls lost", "answers mixed up", "clients dropped", "creatures wrong")
    for line in (*(rf"{row}\s+│ 0 " for row in nothing), r"pause\s+│ none in the rules", r"their pause\s+│ [\d.]+ ms "):
        assert re.search(line, done.stdout), done.stdout
    assert re.search(r"one that doesn't compile: refused, rules\.cpp:\d+: expected ", done.stdout)
    assert "refused, look: is gone" in done.stdout
    assert "one whose library is truncated: refused" in done.stdout
    assert "back to rules 2: version 3 → 4" in done.stdout
    migrated = r" in \d+ ms, a pause of [\d.]+ ms: 6 variables carried; 1 block of creature: migrated "
    assert re.search(r"wildlife 2, creatures get tired: version 1 → 2" + migrated, done.stdout)
    assert re.search(r"back to wildlife 1: version 2 → \d" + migrated, done.stdout)
    assert "creatures[17].weight: 300 does not fit int8_t" in done.stdout
    assert re.search(r"(\d+) loaded, \d+ unloaded, 2 still mapped", done.stdout)
    assert done.stdout.rstrip().endswith("none lost, none mixed up, nobody dropped.")
