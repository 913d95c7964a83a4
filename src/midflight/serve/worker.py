"""The worker process: `python -m midflight.serve.worker CHANNEL TARGET`, started by the supervisor only.

A fresh interpreter each time, so that whatever has changed on disk (the application, midflight, Python itself) is what
runs.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from midflight._errors import MidflightError
from midflight.serve import fresh, target
from midflight.serve.kinds import runner
from midflight.serve.lifecycle import Lifecycle
from midflight.serve.link import Link

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from midflight.serve.messages import Job

_NOT_THE_APPLICATION = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen importlib")
_TERMINATED = 128 + signal.SIGTERM


class _Stages:
    """How far the worker has come, for the report of a failure."""

    def __init__(self) -> None:
        self.current = "directory"


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; return the exit code."""
    channel = socket.socket(fileno=int(arguments[0]))
    channel.set_inheritable(False)
    faulthandler.enable()
    link = Link(channel)
    job = link.job
    lifecycle = Lifecycle(
        link.ready,
        worker=job.worker,
        generation=job.generation,
        backlog=job.backlog,
        keep_alive=job.keep_alive,
        drain_timeout=job.drain_timeout,
    )
    _take_signals(link, lifecycle)
    link.start(lifecycle)
    stages = _Stages()
    try:
        _serve(job, lifecycle, stages)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and lifecycle.stopping.is_set():
            raise
        if not lifecycle.is_ready:
            link.failed(stages.current, _explain(error), error)
        _print(error)
        return 1
    if not lifecycle.is_ready:
        link.failed(stages.current, "it returned before it was ready", RuntimeError())
        return 1
    return 0


def _serve(job: Job, lifecycle: Lifecycle, stages: _Stages) -> None:
    os.chdir(job.directory)
    os.environ["PWD"] = job.directory
    sys.path.insert(0, job.directory)
    fresh.install()
    listeners = [socket.socket(fileno=descriptor) for descriptor in job.listeners]
    for listener in listeners:
        listener.set_inheritable(False)
        listener.setblocking(False)
    stages.current = "import"
    application = target.find(job.target)
    kind = next((kind for kind in target.KINDS if kind == job.kind), None) or target.kind_of(application, job.target)
    stages.current = "start"
    runner(kind)(application, listeners, lifecycle)


def _take_signals(link: Link, lifecycle: Lifecycle) -> None:
    """Stop on SIGTERM, end on a second one; leave what is meant for the supervisor to the supervisor."""

    def terminate(_signal: int, _frame: object) -> None:
        if lifecycle.stopping.is_set() or not lifecycle.is_ready:
            raise SystemExit(_TERMINATED)
        link.wake()

    signal.signal(signal.SIGTERM, terminate)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        # A handler, not SIG_IGN, which the application's own child processes would inherit.
        signal.signal(number, lambda _signal, _frame: None)


def _explain(error: BaseException) -> str:
    if isinstance(error, MidflightError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it ended with {error.code!r}"
    return traceback.format_exception_only(error)[-1].strip()


def _print(error: BaseException) -> None:
    """Leave the error among the last words; a mistake in how it was called needs no traceback."""
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    elif isinstance(error, MidflightError):
        sys.stderr.write(f"{error}\n")
    else:
        traceback.print_exception(error.with_traceback(_applications(error.__traceback__)))
    sys.stderr.flush()


def _applications(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the worker's own frames and the import system's, which say nothing about the application."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_NOT_THE_APPLICATION):
        trace = trace.tb_next
    return trace


def _run() -> NoReturn:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    _run()
