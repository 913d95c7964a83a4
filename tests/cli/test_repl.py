"""Would catch: an interactive host that ends at a mistake, misses a change of its file or calls old code after it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.talking import Conversation, Run, Talk

_CALC = """
enum mode {{ plain, loud }};
int add(int a, int b) {{ return a + b + {extra}; }}
enum mode other(enum mode which) {{ return which == plain ? loud : plain; }}
const char *name(void) {{ return "calc {extra}"; }}
void twice(int *values, int count) {{ while (count--) *values++ *= 2; }}
"""


def _write(path: Path, extra: int) -> None:
    path.write_text(_CALC.format(extra=extra), encoding="utf-8")


@pytest.fixture
def calc(tmp_path: Path) -> Path:
    path = tmp_path / "calc.c"
    _write(path, 0)
    return path


def test_a_whole_conversation_through_a_pipe(calc: Path, command: Run) -> None:
    lines = ["add", "2", "3", "add 20 0x16", "name", "other plain", "twice 1,2 2", "", "quit", "add 1 1"]
    done = command("repl", calc.name, stdin="\n".join(lines))
    assert done.returncode == 0
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[0].endswith("calc.c: 4 functions; changes are followed; :help helps")
    assert said[1:] == [
        "function > add",
        "int add(int a, int b)",
        "a (int) > 2",
        "b (int) > 3",
        "5",
        "function > add 20 0x16",
        "42",
        "function > name",
        "const char *name(void)",
        '"calc 0"',
        "function > other plain",
        "loud (1)",
        "function > twice 1,2 2",
        "values = [2, 4]",
        "function > ",
        "function > quit",
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("zzz", "zzz: there is no such function"),
        ("ad", "did you mean add?"),
        ("add 1", "takes 2 arguments, not 1"),
        ("add 1 x", "b: 'x' is no whole number"),
        ("add 1 99999999999", "99999999999"),
        ("add\none", "a: 'one' is no whole number"),
        ("other maybe", "give one of plain, loud"),
        (":zap", "there is no such command"),
        (":rollback", "calc"),
        (":swap nowhere.so", "nowhere.so"),
        ("add 'open", "the line can't be read"),
    ],
)
def test_a_mistake_is_a_line_and_not_the_end(calc: Path, command: Run, wrong: str, told: str) -> None:
    done = command("repl", calc.name, stdin=f"{wrong}\nadd 40 2\n")
    assert told in done.stdout
    assert done.stdout.endswith("42\nfunction > \n")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 0


def test_the_commands(calc: Path, tmp_path: Path, command: Run) -> None:
    _write(tmp_path / "other.c", 100)
    lines = [":swap other.c", "add 1 1", ":rollback", "add 1 1", ":versions", ":help", ":swap"]
    done = command("repl", calc.name, stdin="\n".join(lines))
    said = done.stdout
    assert "version 1 → 2" in said
    assert said.index("version 1 → 2") < said.index("102") < said.index("version 2 → 3") < said.index("\n2\n")
    assert [line.split()[:3] for line in said.splitlines() if line.startswith("version ")] == [
        ["version", "1", "unloaded"],
        ["version", "2", "unloaded"],
        ["version", "3", "current"],
    ]
    assert "goes back to the version before" in said
    assert "void twice(int *values, int count)" in said


def _by_rename(new: Path, target: Path) -> None:
    new.replace(target)


def _in_place(new: Path, target: Path) -> None:
    with target.open("r+b") as file:
        file.write(new.read_bytes())
        file.truncate()


_WAYS = pytest.mark.parametrize("replace", [_by_rename, _in_place])


@_WAYS
def test_a_saved_source_is_followed(
    calc: Path, tmp_path: Path, talk: Talk, replace: Callable[[Path, Path], None]
) -> None:
    host = talk("repl", calc.name)
    _ask(host, "add 1 1", "2")
    for version, extra in ((1, 10), (2, 2000)):
        _write(tmp_path / "new", extra)
        replace(tmp_path / "new", calc)
        host.expect(rf"version {version} → {version + 1}")
        _ask(host, "add 1 1", str(2 + extra))
    host.say("quit")
    assert host.end() == 0


@_WAYS
def test_a_replaced_library_is_followed(tmp_path: Path, talk: Talk, replace: Callable[[Path, Path], None]) -> None:
    def build(extra: int) -> Path:
        _write(tmp_path / "lib.c", extra)
        subprocess.run(["cc", "-g", "-shared", "-fPIC", "lib.c", "-o", "new.so"], cwd=tmp_path, check=True)
        return tmp_path / "new.so"

    library = tmp_path / "libcalc.so"
    shutil.copy(build(0), library)
    host = talk("repl", library)
    _ask(host, "add 1 1", "2")
    for version, extra in ((1, 10), (2, 20)):
        replace(build(extra), library)
        host.expect(rf"version {version} → {version + 1}")
        _ask(host, "add 1 1", str(2 + extra))
    host.say("quit")
    assert host.end() == 0


def test_a_broken_save_is_one_line_and_the_old_version_goes_on(calc: Path, talk: Talk) -> None:
    host = talk("repl", calc.name)
    _ask(host, "add 1 1", "2")
    calc.write_text("int add(int a, int b) { return a + b }\n", encoding="utf-8")
    host.expect(r"calc: swap refused, \S*calc\.c:1:\d+: \w.*\n")
    _ask(host, "add 1 1", "2")
    calc.write_text("int add(int a, int b) { return a + b; }\n", encoding="utf-8")
    host.expect(r"calc: swap refused, .*twice.*\n")
    _write(calc, 5)
    host.expect("version 1 → 2")
    _ask(host, "add 1 1", "7")
    host.say("quit")
    assert host.end() == 0


def test_on_a_terminal_names_are_completed_and_mistakes_put_right(calc: Path, talk: Talk) -> None:
    host = talk("repl", calc.name, terminal=True)
    host.expect("function >")
    host.say("tw\t", end="")
    host.expect("twice")
    host.say("\x15add", end="\r")
    host.expect(r"int add\(int a, int b\)")
    host.expect(r"a \(int\) >")
    host.say("x", end="\r")
    host.expect("'x' is no whole number")
    host.say("\x7f4000", end="\r")
    host.expect(r"b \(int\) >")
    host.say("321", end="\r")
    host.expect("4321")
    host.expect("function >")
    _write(calc, 10000)
    host.expect("version 1 → 2")
    host.say("add 4000 321", end="\r")
    host.expect("14321")
    host.expect("function >")
    host.say("\x03", end="")
    host.expect("quit ends")
    host.expect("function >")  # between two questions the terminal itself would take the character, and drop it
    host.say("\x04", end="")
    assert host.end() == 0


def _ask(host: Conversation, line: str, answer: str) -> None:
    host.expect("function >")
    host.say(line)
    host.expect(rf"\n{answer}\n")
