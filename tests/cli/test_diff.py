"""Would catch a change that isn't shown, and an exit code that a script can't go by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.talking import Run

_OLD = """
struct player {short hp; int x;};
static struct player players[4]; static int ticks, rest; __thread int own; static const int limit = 3;
int tick(void) { own++; rest++; return players[ticks++ & 3].hp++ + limit; }
"""
_NEW = """
struct player {int x; int hp; int mana;};
static struct player players[4]; static int ticks, fresh; __thread int own; static const int limit = 3;
int tick(void) { own++; fresh++; return players[ticks++ & 3].hp++ + limit; }
int more(void) { return 1; }
"""
_BROKEN = _NEW.replace("int tick(void)", "long tick(int x)")
_REFUSED = """
struct player {int x; int hp; int mana;};
static long players; static int ticks; int tick(void) { return players++ + ticks++; }
"""


@pytest.fixture
def sources(tmp_path: Path) -> None:
    texts = {"old": _OLD, "new": _NEW, "broken": _BROKEN, "refused": _REFUSED}
    for name, text in texts.items():
        (tmp_path / f"{name}.c").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("sources")
def test_the_plan_is_shown(command: Run) -> None:
    done = command("diff", "old.c", "new.c")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "✔ more: is new" in lines
    assert "players migrated [].hp: short is int now; [].mana is new; []: hp, x moved" in lines
    assert "ticks carried" in lines
    assert "rest dropped the new version has no such variable" in lines
    assert "fresh initialised it is new" in lines
    assert "own left every thread has its own (thread_local)" in lines
    assert "struct player migrated hp: short is int now; mana is new; hp, x moved" in lines
    assert not any("limit" in line for line in lines)


@pytest.mark.usefixtures("sources")
def test_a_swap_that_would_be_refused_is_exit_code_1(command: Run) -> None:
    for new, said in (("broken.c", "tick: takes 1 parameter"), ("refused.c", "players: struct player[4] is long now")):
        done = command("diff", "old.c", new)
        assert (done.returncode, done.stderr) == (1, "")
        assert said in done.stdout
    assert command("diff", "old.c", "nowhere.c").returncode == 1


@pytest.mark.usefixtures("sources")
def test_json(command: Run) -> None:
    done = command("diff", "--json", "old.c", "refused.c")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["compatible"] is False
    assert {row["name"]: row["what"] for row in told["variables"]}["players"] == "refused"
    assert json.loads(command("diff", "--json", "old.c", "old.c").stdout)["changes"] == []


def test_migrations_in_the_source_count(tmp_path: Path, command: Run) -> None:
    (tmp_path / "old.c").write_text(_OLD, encoding="utf-8")
    function = "void midflight_migrate_player(const void *old, void *new) { *(int *)new = *(const short *)old; }"
    (tmp_path / "new.c").write_text(_NEW + function, encoding="utf-8")
    done = command("diff", "old.c", "new.c")
    assert "[]: by the program's migration of player" in done.stdout


def test_renames_in_the_source_count(tmp_path: Path, command: Run) -> None:
    (tmp_path / "old.c").write_text(_OLD, encoding="utf-8")
    renamed = _NEW.replace("hp", "health").replace("fresh", "others")
    head = "#include <midflight.h>\nMF_RENAMED(player.hp, player.health);\nMF_RENAMED(rest, others);\n"
    (tmp_path / "new.c").write_text(head + renamed, encoding="utf-8")
    done = command("diff", "--json", "old.c", "new.c")
    told = {row["name"]: row for row in json.loads(done.stdout)["variables"]}
    assert told["rest"]["what"] == "carried"
    assert "[].hp is called health now" in told["players"]["how"]
