"""What the supervisor tells of itself: to people, to commands, and to the service manager."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

from midflight._errors import RestartRefusedError
from midflight.serve.messages import Outcome, Refusal, WorkerStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midflight.serve.process import Process
    from midflight.serve.slots import Slot


def workers(slots: Iterable[Slot], starting: Iterable[Process]) -> list[WorkerStatus]:
    """Return the state of every worker, and of every place that has none."""
    told: list[WorkerStatus] = []
    starting = tuple(starting)
    for slot in slots:
        found = [one for one in (slot.process, slot.draining) if one is not None]
        found += [one for one in starting if one.worker == slot.number]
        for one in found:
            state = "draining" if one.draining else "serving" if one is slot.process else "starting"
            told.append(_worker(slot, state, one))
        if not found:
            told.append(_worker(slot, "waiting", None))
    return told


def _worker(slot: Slot, state: str, one: Process | None) -> WorkerStatus:
    return WorkerStatus(
        worker=slot.number,
        pid=one.pid if one else 0,
        generation=one.generation if one else 0,
        state=state,
        seconds=round(one.seconds, 3) if one else 0.0,
        deaths=slot.deaths,
        crash_loop=slot.crash_loop,
    )


def why(one: Process, ready_timeout: float) -> RestartRefusedError:
    """Return the refusal for a worker that isn't ready."""
    todo = "mend it, then restart again"
    if one.failed is not None:
        stage, what = one.failed.stage, one.failed.what
    elif one.exited.done():
        stage, what = "start", f"{one.exited.result()} before it was ready"
    else:
        stage, what = "ready", f"it wasn't ready within {ready_timeout:g} s"
        todo = "let it call lifecycle.ready() sooner, or give it a longer --ready-timeout"
    return RestartRefusedError(what, words=one.words.lines(), subject=f"worker {one.worker}", stage=stage, todo=todo)


def what_serves(slots: Sequence[Slot]) -> str:
    """Say which workers serve, of which generation."""
    by_generation: dict[int, list[str]] = {}
    for slot in slots:
        if slot.process is not None:
            by_generation.setdefault(slot.process.generation, []).append(str(slot.number))
    if not by_generation:
        return "no worker serves"
    parts = [
        f"worker{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} of generation {generation}"
        for generation, numbers in sorted(by_generation.items())
    ]
    only_one = sum(map(len, by_generation.values())) == 1
    return f"{' and '.join(parts)} {'goes' if only_one else 'go'} on"


def outcome(generation: int, began: float, error: RestartRefusedError | None = None) -> Outcome:
    """Return how a restart ended that began at a `time.monotonic`."""
    refusal = None
    if error is not None:
        refusal = Refusal(error.what, error.subject, error.unchanged, error.todo, error.stage, [*error.words])
    return Outcome(generation, round(time.monotonic() - began, 3), refusal)


def notify(*lines: str) -> None:
    """Tell the service manager, where it asked to be told (systemd's Type=notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto("\n".join(lines).encode(), "\0" + address[1:] if address[0] == "@" else address)
