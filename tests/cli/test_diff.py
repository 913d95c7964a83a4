"""Would catch a change that isn't shown, and an exit code that a script can't go by."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.talking import Run, Talk  # noqa: TC001 - pytest reads the annotations

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
    assert "✔ players migrated [].hp: short is int now; [].mana is new; []: hp, x moved" in lines
    assert "✔ ticks carried" in lines
    assert "✔ rest dropped the new version has no such variable" in lines
    assert "✔ fresh initialised it is new" in lines
    assert "✔ own left every thread has its own (thread_local)" in lines
    assert "✔ struct player migrated hp: short is int now; mana is new; hp, x moved" in lines
    assert "struct player: 8 → 12 bytes, callers have nothing to do with it" in lines
    assert "✔ hp short at 0, 2 bytes → int at 4, 4 bytes" in lines
    assert "✔ mana none → int at 8, 4 bytes" in lines
    assert lines[-1] == "✔ a swap would go through"
    assert not any("limit" in line for line in lines)


@pytest.mark.usefixtures("sources")
def test_a_swap_that_would_be_refused_is_exit_code_1(command: Run) -> None:
    for new, said in (
        ("broken.c", "✘ tick: takes 1 parameter (x), took 0 parameters (none)\n      1. x              none → int\n"),
        ("refused.c", "✘ players  refused  struct player[4] is long now"),
    ):
        done = command("diff", "old.c", new)
        assert (done.returncode, done.stderr) == (1, "")
        assert said in done.stdout
        assert done.stdout.endswith("✘ a swap would be refused\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("old.c", "nowhere.c"), "nowhere.c: "),
        (("old.c", "broken-syntax.c"), "broken-syntax.c:1"),
        (("old.c", "text.so"), "text.so: "),
        (("old.c",), "Missing argument 'NEW'"),
        (("--yaml", "old.c", "new.c"), "No such option"),
    ],
)
@pytest.mark.usefixtures("sources")
def test_what_cannot_be_compared_is_exit_code_2(
    command: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "broken-syntax.c").write_text("int tick(void) {", encoding="utf-8")
    (tmp_path / "text.so").write_text("no library", encoding="utf-8")
    done = command("diff", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(("made", "code"), [("MF_NEW(struct s, 1)", 1), ("0", 0)])
def test_a_type_without_a_plan_counts_where_there_may_be_blocks_of_it(
    tmp_path: Path, command: Run, made: str, code: int
) -> None:
    for name, kind in (("old", "char *"), ("new", "double")):
        text = f"struct s {{int a; {kind} b;}}; int f(void) {{ struct s *p = {made}; return p == 0; }}"
        (tmp_path / f"{name}.c").write_text(f"#include <midflight.h>\n{text}", encoding="utf-8")
    done = command("diff", "old.c", "new.c")
    assert done.returncode == code
    assert f"{'✘' if code else '●'} struct s  refused  struct s.b: char * is double now" in done.stdout


_LONG = "number_of_times_that_the_very_first_player_of_all_players_has_been_seen_by_anybody"


def test_long_rows_are_broken_in_a_terminal_only(tmp_path: Path, command: Run, talk: Talk) -> None:
    (tmp_path / "old.c").write_text(f"int {_LONG}; int f(int a) {{ return a; }}", encoding="utf-8")
    params = "int a, const char *the_name_of_the_host, const char *the_name_of_the_service"
    new = f"char *{_LONG}; int f({params}) {{ return a; }}"
    (tmp_path / "new.c").write_text(new, encoding="utf-8")
    piped = command("diff", "old.c", "new.c").stdout
    assert "\x1b" not in piped
    assert f"  ✘ {_LONG}  refused  int is char * now\n" in piped
    conversation = talk("diff", "old.c", "new.c", terminal=True, columns=80)
    assert conversation.end() == 1
    said = conversation.heard.splitlines()
    row = next(number for number, line in enumerate(said) if line.startswith("  ✘ f:"))
    assert said[row] == "  ✘ f: takes 3 parameters (a, the_name_of_the_host, the_name_of_the_service),"
    assert said[row + 1] == "        took 1 parameter (a)"
    assert said[said.index(f"  ✘ {_LONG}  refused") + 1] == "        int is char * now"


_SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "diff.schema.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("sources")
def test_json_is_as_its_schema_says(command: Run) -> None:
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)
    for new in ("old.c", "new.c", "broken.c", "refused.c"):
        done = command("diff", "--json", "old.c", new)
        told = json.loads(done.stdout)
        jsonschema.validate(told, _SCHEMA)
        assert told["compatible"] == (done.returncode == 0)
        rows = [*told["changes"], *told["variables"]]
        assert told["compatible"] == all(row["compatible"] for row in rows)
        assert (told["old"], told["new"]) == ("old.c", new)


@pytest.mark.usefixtures("sources")
def test_json_says_everything_for_programs(command: Run) -> None:
    told = json.loads(command("diff", "--json", "old.c", "broken.c").stdout)
    count, result = (change for change in told["changes"] if change["subject"] == "tick")
    assert count["parts"] == [{"kind": "parameter", "name": "x", "position": 1, "old": None, "new": "int"}]
    assert result["parts"] == [{"kind": "result", "name": "", "position": None, "old": "int", "new": "long"}]
    (layout,) = told["layouts"]
    assert (layout["name"], layout["old_size"], layout["new_size"]) == ("struct player", 8, 12)
    place = {"type": "int", "offset": 4, "size": 4, "bits": None, "bit_offset": None}
    assert layout["fields"][0] == {
        "name": "hp", "old": {**place, "type": "short", "offset": 0, "size": 2}, "new": place, "compatible": True,
    }  # fmt: skip
    refused = json.loads(command("diff", "--json", "old.c", "refused.c").stdout)
    row = next(row for row in refused["variables"] if row["name"] == "players")
    assert (row["what"], row["compatible"]) == ("refused", False)
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
