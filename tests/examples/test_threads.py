"""Would catch: the threads example losing a call, or leaving a version loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).parents[2] / "examples" / "threads" / "main.py"


def test_a_hundred_reloads_under_a_thread_that_calls(plain: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, str(_SCRIPT)], env=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("100 reloads, the median one in ")
    assert "100 of the 100 versions that were replaced are unloaded\n" in done.stdout
    assert done.stdout.endswith("every call was begun and ended by the same version, and none was lost\n")
    calls = re.search(r"(\d+) calls: (\d+) said tick, (\d+) said tock", done.stdout)
    assert calls is not None
    everything, tick, tock = map(int, calls.groups())
    assert tick + tock == everything >= 100
    assert tick
    assert tock
