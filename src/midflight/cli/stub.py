"""`midflight stub`: prints what a library offers as a `.pyi`, without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from midflight import build
from midflight._errors import MidflightError, SourceError
from midflight.artifact import reader
from midflight.artifact import stub as stubs
from midflight.build.go_host import is_go_host
from midflight.cli import progress

if TYPE_CHECKING:
    from rich.console import Console

    from midflight.cli.loading import Options


def stub(source: str, options: Options, console: Console) -> str:
    """Return the stub."""
    described = build.describe(source, flags=options.split_flags())
    with progress.spinner(console):
        artifact = described.resolve()
    data = artifact.read()
    if is_go_host(data):
        # Imported here because most programs never need it.
        from midflight.lanes.go import model, stub  # noqa: PLC0415

        return stub.render(model.read_api(data), described.name)
    try:
        interface = reader.read_interface(data, sha256=artifact.sha256, declared=options.header())
    except MidflightError as error:
        error.subject = error.subject or described.display
        raise
    return stubs.render(interface, described.name)


def write(path: str, text: str) -> None:
    """Write the stub into a file."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        todo = "name a file in a directory that this user may write to"
        raise SourceError(f"the stub can't be written ({error.strerror})", subject=path, todo=todo) from error
