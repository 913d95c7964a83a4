"""The very same programs with midflight and without: they end alike, and say the same.

Would catch: a signal, an exit status, a word of faulthandler's, a mask, a siginfo or a stack that is another one
because midflight is there; a handler that isn't asked, or twice; a thread or a child that ends otherwise than it would.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Workshop

PROGRAM = Path(__file__).with_name("outside.py")
HELPER = Path(__file__).with_name("helper.c")
EVERY_PLACE = (
    *("read", "divide", "trap", "stop", "raise", "fall", "send", "queue", "thread", "thread falls", "thread stops"),
    *("C thread", "child", "child's thread", "child falls", "child stops"),
)
HANDLED = ("read", "stop", "send", "fall", "thread", "thread falls", "child")
JUMPING = ("survive", "survive in a thread")
PLACES = {
    "": (*EVERY_PLACE, "nothing"),
    "faulthandler": EVERY_PLACE,
    "exit": HANDLED,
    "nodefer": HANDLED,
    "on_stack": HANDLED,
    "on_no_stack": HANDLED,
    "once": HANDLED,
    "abort": HANDLED,
    "jump": JUMPING,
    "python": ("send", "stop", "queue"),
    "ignored": ("read", "send", "stop", "queue"),
    "blocked": ("read", "stop", "thread"),
}
CASES = [(setup, place) for setup, places in PLACES.items() for place in places]
# A handler that wants an alternate stack, and comes later, finds the guard's: a stack that is used up is left out.
LATER_PLACES = {"read", "stop", "send", "thread", "child", "survive", "survive in a thread"}
LATER = [(f"{setup} later", place) for setup, place in CASES if setup and place in LATER_PLACES]


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native code of the program itself."""
    return Workshop(tmp_path_factory.mktemp("helper")).library("helper", HELPER.read_text(), "-O1", "-lpthread")


def _start(how: str, helper: Path, library: Path, case: tuple[str, str], state: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, XDG_STATE_HOME=str(state), PYTHONFAULTHANDLER="")
    command = [sys.executable, PROGRAM, helper, library, how, *case]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=state)


def _told(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    words = err.decode()
    for differs in (r"0x[0-9a-f]+", r"Extension modules:.*\n", r"(?s)\nThread .*?(?=\n\n|\Z)"):
        words = re.sub(differs, "", words)
    return process.returncode, out.decode(), words.rstrip()


@pytest.mark.parametrize(("setup", "place"), CASES + LATER)
def test_ends_and_speaks_alike(crashing, helper, tmp_path, setup, place) -> None:
    """Whatever the program has installed, before or after, and wherever it crashes; guarded, and only recorded."""
    modes = ("without", "raise", "end") if setup in {"", "faulthandler"} else ("without", "raise")
    processes = [_start(how, helper, crashing.make(), (setup, place), tmp_path) for how in modes]
    without, *others = map(_told, processes)
    assert "crashing" in without[1]
    for told in others:
        assert told == without
