"""Would catch: the Go examples' READMEs telling what doesn't happen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(name: str) -> str:
    command = [sys.executable, str(EXAMPLES / name / "main.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_greeter_is_replaced_and_old_objects_are_served_by_the_old_version() -> None:
    assert _run("go-greeter").splitlines() == [
        "version 1: Hello, world! Hello, universe!",
        "version 2: Good evening, world! Good evening, universe!",
        "the old object: Hello, world!",
        "versions: [Version(1, draining, held by 1 object), Version(2, current)]",
        "after it is gone: [Version(1, unloaded), Version(2, current)]",
    ]


def test_the_promotion_is_changed_while_orders_come_in_and_the_book_agrees() -> None:
    swapped, book = _run("go-activity").splitlines()
    assert "1 → 2" in swapped
    assert "receipts" in book
