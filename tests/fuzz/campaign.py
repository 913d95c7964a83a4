"""Sends numbered inputs through host processes and counts what becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SLOW_SECONDS = {"inspect": 10.0, "load": 30.0}
"""A library that hangs takes the probe's ten seconds."""

GREAT_GROWTH = 512 << 20
ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Outcome:
    """``refused`` and ``accepted``: counts for each stage; ``problems``: what must not happen, a text each."""

    inputs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    died: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)

    def take(self, answer: dict[str, Any], stages: str, again: str) -> None:
        """Count one answer of the host."""
        self.inputs += 1
        for stage in stages.split(","):
            kinds = answer.get(stage, [])
            self.refused[stage] += any(kinds)
            self.accepted[stage] += bool(kinds) and not any(kinds)
            self.kinds.update(f"{stage}: {kind}" for kind in kinds if kind)
            seconds = answer[f"{stage} seconds"]
            self.slowest = max(self.slowest, seconds)
            if seconds > SLOW_SECONDS[stage]:
                self.problems.append(f"{stage} took {seconds:.1f} s ({answer['how']})\n{again}")
        if answer["grown"] > GREAT_GROWTH:
            self.problems.append(f"it took {answer['grown'] >> 20} MiB of memory ({answer['how']})\n{again}")
        if "escaped" in answer:
            self.problems.append(f"{answer['escaped']}({answer['how']})\n{again}")

    def __str__(self) -> str:
        """Return the counts, a line each."""
        lines = [f"{self.inputs} inputs, died {self.died}, slowest {self.slowest:.2f} s"]
        for stage, refused in self.refused.items():
            lines.append(f"  {stage}: refused {refused}, accepted {self.accepted[stage]}")
        lines += [f"    {count:6} {kind}" for kind, count in sorted(self.kinds.items())]
        return "\n".join(lines)


def run(
    seed: int,
    indices: Iterable[int],
    stages: str = "inspect,load",
    tell: Callable[[Outcome], object] = lambda _: None,
    *,
    jobs: int = 1,
) -> Outcome:
    """Send all inputs through ``jobs`` hosts; one that died is counted, and another goes on after what it died of."""
    outcome, left, mutex = Outcome(), deque(indices), threading.Lock()

    def feed() -> None:
        with tempfile.TemporaryDirectory(prefix="midflight-fuzz-") as directory:
            while left:
                with _Host(Path(directory), seed, stages) as host, contextlib.suppress(IndexError):
                    while _feed_one(host, left.popleft()):
                        pass

    def _feed_one(host: _Host, index: int) -> bool:
        again = f"again: python -m tests.fuzz --seed {seed} --index {index} --stages {stages}"
        answer = host.ask(index)
        death = host.how_it_died() if answer is None else ""
        with mutex:
            if answer is not None:
                outcome.take(answer, stages, again)
            else:
                outcome.inputs += 1
                outcome.died += 1
                outcome.problems.append(f"the host died: {death}\n{again}")
            tell(outcome)
        return answer is not None

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(feed) for _ in range(jobs)]:
            future.result()
    return outcome


class _Host:
    program = ("-m", "tests.fuzz.host")

    def __init__(self, directory: Path, seed: int, stages: str) -> None:
        self._words = (directory / "words").open("w+b")
        command = [sys.executable, *self.program, str(directory), str(seed), stages]
        cache = {"MIDFLIGHT_CACHE_DIR": str(directory / "cache"), "MIDFLIGHT_CACHE_SIZE": "256M"}
        cache["XDG_STATE_HOME"] = str(directory / "state")  # one run's crashes must not change what the next one loads
        usual = {name: value for name, value in os.environ.items() if name != "MIDFLIGHT_PROBE"}  # as a user's program
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**usual, **cache},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._words.close()

    def ask(self, index: int) -> dict[str, Any] | None:
        """Return the host's answer, None if it died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{index}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        for line in self._process.stdout:
            if line.startswith('{"index"'):  # a damaged library may write, too
                found: dict[str, Any] = json.loads(line)
                return found
        return None

    def how_it_died(self) -> str:
        """Return its status and last words."""
        self._process.communicate()
        self._words.seek(0)
        return f"status {self._process.returncode}\n{self._words.read()[-4000:].decode('utf-8', 'replace')}"
