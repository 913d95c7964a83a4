"""Would catch: a program under `midflight run` whose modules aren't swapped, or a swap that isn't one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.talking import Talk

_APP = """
import sys
import midflight

speed = midflight.load("speed.c")
engine = midflight.load("engine.c")
print("ready", sys.argv, flush=True)
for line in sys.stdin:
    print("speed", speed.speed(), "power", engine.power(), flush=True)
sys.exit(speed.speed())
"""


def _prepare(directory: Path) -> None:
    (directory / "app.py").write_text(_APP, encoding="utf-8")
    _speed(directory, "3")
    (directory / "engine.c").write_text('#include "power.h"\nint power(void) { return POWER; }\n', encoding="utf-8")
    (directory / "power.h").write_text("#define POWER 10\n", encoding="utf-8")


def _speed(directory: Path, value: str) -> None:
    (directory / "speed.c").write_text(f"int speed(void) {{ return {value}; }}\n", encoding="utf-8")


def test_each_swap_and_each_refusal_is_one_line(tmp_path: Path, talk: Talk) -> None:
    _prepare(tmp_path)
    app = talk("run", "app.py", "--fast", "x")
    app.expect(r"ready \['app.py', '--fast', 'x'\]\n")
    app.say("")
    app.expect("speed 3 power 10\n")

    _speed(tmp_path, "4")
    app.expect(r"(?m)^. speed: version 1 → 2  in \d+ ms, version 1 unloaded\n")
    app.say("")
    app.expect("speed 4 power 10\n")

    (tmp_path / "power.h").write_text("#define POWER 20\n", encoding="utf-8")
    app.expect(r"(?m)^. engine: version 1 → 2 .*\n")
    app.say("")
    app.expect("speed 4 power 20\n")

    _speed(tmp_path, "nonsense")
    app.expect(r"(?m)^. speed: swap refused, \S*speed\.c:1:\d+: .*nonsense.*\n")
    (tmp_path / "speed.c").write_text("int fast(void) { return 1; }\n", encoding="utf-8")
    app.expect(r"(?m)^. speed: swap refused, .*speed.*\n")
    app.say("")
    app.expect("speed 4 power 20\n")

    _speed(tmp_path, "7")
    app.expect(r"(?m)^. speed: version 2 → 3 .*\n")
    app.close()
    assert app.end() == 7
    assert len(app.heard.splitlines()) == 10
    assert "Traceback" not in app.heard


def test_a_module_that_a_thread_loads_is_watched_too(tmp_path: Path, talk: Talk) -> None:
    _prepare(tmp_path)
    (tmp_path / "threaded.py").write_text(
        "import sys, threading, midflight\n"
        "def work():\n"
        "    speed = midflight.load('speed.c')\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print('speed', speed.speed(), flush=True)\n"
        "threading.Thread(target=work).start()\n",
        encoding="utf-8",
    )
    app = talk("run", "-m", "threaded")
    app.expect("ready\n")
    _speed(tmp_path, "5")
    app.expect("speed: version 1 → 2")
    app.say("")
    app.expect("speed 5\n")
    assert app.end() == 0
