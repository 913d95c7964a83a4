"""The process in which the bots play, as the demo sees it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, cast

from histogram import Histogram


class BotProcess:
    """Starts ``bots.py``, gives it orders and takes its report."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, clients: int, rate: float) -> BotProcess:
        """Start the bots; return when all have joined the game."""
        script = Path(__file__).with_name("bots.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            *map(str, (port, clients, rate)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        bots = cls(process)
        await bots._told()
        return bots

    def phase(self, name: str) -> None:
        """Count the latencies from here on under ``name``."""
        self._order(f"phase {name}")

    async def stop(self) -> dict[str, Any]:
        """Let the bots leave; return what they found out, with the latencies as histograms."""
        self._order("stop")
        report = await self._told()
        await self._process.wait()
        report["latencies"] = {phase: Histogram(dict(counts)) for phase, counts in report["latencies"].items()}
        return report

    async def kill(self) -> None:
        """End the process if it is still there."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _order(self, line: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n".encode())

    async def _told(self) -> dict[str, Any]:
        line = await self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            message = "the bots' process has ended before its time"
            raise RuntimeError(message)
        return cast("dict[str, Any]", json.loads(line))
