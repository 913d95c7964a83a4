"""Would catch: a command line that can't be started, hides its help, or answers misuse with another code than 2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from midflight.cli import demo
from midflight.cli.commands import midflight_command

_COMMANDS = ("run", "repl", "call", "stub", "demo")


def test_version_is_printed() -> None:
    result = CliRunner().invoke(midflight_command, ["--version"])
    assert re.fullmatch(r"midflight \d+\.\d+\.\d+\S*\n", result.stdout)


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(midflight_command, ["--help"])
    assert result.exit_code == 0
    for command in _COMMANDS:
        assert re.search(rf"^  {command} +\w", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["run", "repl", "call", "stub"])
def test_each_command_has_help(command: str) -> None:
    result = CliRunner().invoke(midflight_command, [command, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: midflight {command} [OPTIONS]") or result.stdout.startswith("Usage: ")


@pytest.mark.parametrize(
    "arguments", [["fly"], ["--fast"], ["call"], ["call", "x.c"], ["stub", "--what", "x"], ["repl"]]
)
def test_misuse_is_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(midflight_command, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("missing", ["click", "rich", "prompt_toolkit"])
def test_a_missing_extra_is_one_helpful_line(missing: str, plain: dict[str, str]) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['midflight', 'repl', 'x.c']\n"
    code += "from midflight.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"midflight: the command line needs {missing}; install it with: pip install 'midflight[cli]'\n"
    )


def test_the_demo_is_found_and_asked_for_help(plain: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "midflight", "demo", "--help"],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "--clients" in done.stdout


def test_an_installation_without_the_demo_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_GAME", Path("nowhere", "demo.py"))
    result = CliRunner().invoke(midflight_command, ["demo"])
    assert result.exit_code == 1
    assert "the demo isn't part of this installation" in result.stderr
