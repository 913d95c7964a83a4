"""`midflight diff`: what a swap from one source or library to another would mean, without running either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from midflight import build
from midflight._errors import MidflightError
from midflight.artifact import compare, reader
from midflight.build.go_host import is_go_host
from midflight.cli import progress
from midflight.cli.console import one_line, say
from midflight.state.forecast import Forecast, forecast

if TYPE_CHECKING:
    from rich.console import Console

    from midflight._version import Carried
    from midflight.artifact.compare import Change
    from midflight.artifact.interface import Interface
    from midflight.cli.loading import Options

_STYLES = {"refused": "red", "migrated": "cyan", "dropped": "yellow", "left": "yellow"}


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs: for those who call the functions, and for the data."""

    changes: tuple[Change, ...]
    data: Forecast

    @property
    def compatible(self) -> bool:
        """Whether a swap would go through: each call means the same, and no variable is in the way."""
        return all(change.compatible for change in self.changes) and not self.data.refused


def diff(old: str, new: str, options: Options, console: Console) -> Diff:
    """Build and read both; nothing of them is run."""
    before, _ = _read(old, options, console)
    after, data = _read(new, options, console)
    changes = tuple(compare.compare(before, after))
    # The Go lane carries its data by Go's own types.
    plan = Forecast((), ()) if is_go_host(data) else forecast(before, after, data)
    return Diff(changes, plan)


def _read(source: str, options: Options, console: Console) -> tuple[Interface, bytes]:
    described = build.describe(source, flags=options.split_flags())
    with progress.spinner(console):
        artifact = described.resolve()
    data = artifact.read()
    if is_go_host(data):
        # Imported here because most programs never need it.
        from midflight.lanes.go import interface, model  # noqa: PLC0415

        return interface.interface_of(model.read_api(data)), data
    try:
        return reader.read_interface(data, sha256=artifact.sha256, declared=options.header()), data
    except MidflightError as error:
        error.subject = error.subject or described.display
        raise


def as_json(found: Diff) -> str:
    """Return the differences as one JSON object."""
    told = {
        "compatible": found.compatible,
        "changes": found.changes,
        "variables": found.data.variables,
        "types": found.data.types,
        "warnings": found.data.warnings,
    }
    return msgspec.json.format(msgspec.json.encode(told)).decode()


def show(found: Diff, console: Console) -> None:
    """Print the differences: the functions' first, then what would become of the data."""
    for change in found.changes:
        say(console, "done" if change.compatible else "refused", Text(one_line(str(change))))
    if not found.changes:
        say(console, "done", "the same functions, types and exported variables")
    _show_rows("variables, where the program has changed them", found.data.variables, console)
    _show_rows("structs", found.data.types, console)
    for warning in found.data.warnings:
        say(console, "news", Text(one_line(warning), style="yellow"))


def _show_rows(title: str, rows: tuple[Carried, ...], console: Console) -> None:
    if not rows:
        return
    console.print()
    console.print(Text(title, style="bold"))
    names, words = max(len(row.name) for row in rows), max(len(row.what) for row in rows)
    for row in rows:
        what = (row.what.ljust(words if row.how else 0), _STYLES.get(row.what, ""))
        console.print(
            Text.assemble("  ", row.name.ljust(names), "  ", what, "  " if row.how else "", one_line(row.how))
        )
