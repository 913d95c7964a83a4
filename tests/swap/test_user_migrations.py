"""Structs that the user's own functions migrate, in Python and in C.

Would catch: a migration that isn't called for each element, for a variable or in a block; one that is called where the
type hasn't changed; an exception or a crash of it that lets a half-migrated version serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from pathlib import Path

OLD = """
#include "midflight.h"
struct player { int id; short hp; };
static struct player *players;
static struct player best = {1, 2};
static struct { int pad; struct player two[2]; } pair;
void init(int n) {
    players = MF_NEW(struct player, n);
    for (int i = 0; i < n; i++) { players[i].id = i; players[i].hp = 100 + i; }
    best.hp = 50; pair.two[1].hp = 70; pair.pad = 4;
}
int hp(int i) { return players[i].hp; }
int best_hp(void) { return best.hp; }
int pair_hp(void) { return pair.two[1].hp + pair.pad * 1000; }
"""

NEW = """
#include "midflight.h"
struct player { int pad; int id; double hearts; };
static struct player *players;
static struct player best;
static struct { struct player two[2]; int pad; } pair;
void init(int n) { (void)n; }
int hp(int i) { return players[i].hearts * 10 + players[i].id * 1000; }
int best_hp(void) { return best.hearts * 10; }
int pair_hp(void) { return pair.two[1].hearts * 10 + pair.pad * 1000; }
"""

MIGRATION = """
void midflight_migrate_player(const void *old, void *new)
{
    const struct { int id; short hp; } *from = old;
    struct player *to = new;
    %s
    to->id = from->id;
    to->hearts = from->hp / 10.0;
}
"""


def _save(directory: Path, text: str) -> Path:
    path = directory / "game.c"
    path.write_text(text)
    return path


@pytest.fixture
def game(tmp_path, load):
    """A module in its old version, with data."""
    module = load(_save(tmp_path, OLD), name="game")
    module.init(3)
    return module


def _is_migrated(module) -> None:
    assert [module.hp(i) for i in range(3)] == [100, 1101, 2102]
    assert module.best_hp() == 50
    assert module.pair_hp() == 4070


def _is_as_before(module) -> None:
    assert [module.hp(i) for i in range(3)] == [100, 101, 102]
    assert (module.best_hp(), module.pair_hp()) == (50, 4070)
    assert midflight.versions(module)[0].status == "current"


def _migrate(old, new) -> None:
    new.id, new.hearts = old.id, old.hp / 10


def test_a_function_in_python(game, tmp_path) -> None:
    assert midflight.migrate(game, "struct player")(_migrate) is _migrate
    report = midflight.swap(game, _save(tmp_path, NEW))
    _is_migrated(game)
    assert "by the program's migration of player" in str(report.state)


def test_a_function_in_the_library(game, tmp_path) -> None:
    midflight.swap(game, _save(tmp_path, NEW + MIGRATION % ""))
    _is_migrated(game)
    assert not hasattr(game, "midflight_migrate_player")


def test_python_comes_before_the_library(game, tmp_path) -> None:
    midflight.migrate(game, "player")(_migrate)
    midflight.swap(game, _save(tmp_path, NEW + MIGRATION % "from = 0;"))
    _is_migrated(game)


def test_it_isnt_called_where_the_type_is_the_same(game, tmp_path) -> None:
    calls = []
    midflight.migrate(game, "player")(lambda old, new: calls.append((old, new)))
    midflight.swap(game, _save(tmp_path, OLD + "int more;"))
    assert [game.hp(i) for i in range(3)] == [100, 101, 102]
    assert calls == []


def test_an_exception_refuses(game, tmp_path) -> None:
    @midflight.migrate(game, "player")
    def migrate(old, _new) -> None:
        if old.id == 2:
            raise ValueError("two")

    with pytest.raises(midflight.HookError, match=r"player raised ValueError at players\[2\]: two") as refused:
        midflight.swap(game, _save(tmp_path, NEW))
    assert refused.value.stage == "move"
    _is_as_before(game)


def test_a_crash_refuses(game, tmp_path) -> None:
    crash = MIGRATION % "if (from->id == 2) *(volatile int *)8 = 1;"
    with pytest.raises(midflight.HookError, match=r"midflight_migrate_player .*SIGSEGV"):
        midflight.swap(game, _save(tmp_path, NEW + crash))
    _is_as_before(game)


def test_a_migration_of_another_shape_is_an_error(game, tmp_path) -> None:
    with pytest.raises(midflight.InterfaceError, match=r"make it void midflight_migrate_player\(const void"):
        midflight.swap(game, _save(tmp_path, NEW + "void midflight_migrate_player(int old) { (void)old; }"))
    _is_as_before(game)
