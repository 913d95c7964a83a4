"""`midflight diff`: what a swap from one source or library to another would mean, without running either."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from midflight import build
from midflight._errors import MidflightError
from midflight._version import Carried
from midflight.artifact import compare, compare_layouts, reader
from midflight.build.go_host import is_go_host
from midflight.cli import progress
from midflight.inspection.hosting import reason_for_worker
from midflight.state.forecast import Forecast, forecast

if TYPE_CHECKING:
    from rich.console import Console

    from midflight.artifact.compare import Change
    from midflight.artifact.compare_layouts import Layout
    from midflight.artifact.interface import Interface
    from midflight.cli.loading import Options
    from midflight.lanes.go.model import API

FORMAT = 1
"""Of the JSON; docs/diff.schema.json describes it."""


class Side(NamedTuple):
    """One of the two: what it is called, what it offers, and its bytes.  ``go``: what a Go package says of itself."""

    source: str
    interface: Interface
    data: bytes
    go: API | None


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs: for those who call the functions, in the layout of structs, and for the data."""

    old: str
    new: str
    changes: tuple[Change, ...]
    layouts: tuple[Layout, ...]
    data: Forecast

    @property
    def compatible(self) -> bool:
        """Whether a swap would go through: each call means the same, and no data are in the way."""
        return all(change.compatible for change in self.changes) and not self.data.refused


def diff(old: str, new: str, options: Options, console: Console) -> Diff:
    """Build and read both; nothing of them is run."""
    before, after = read(old, options, console), read(new, options, console)
    return compared(before, after)


def compared(old: Side, new: Side) -> Diff:
    """Compare what has been read.  What callers would see is found by what a swap asks before it loads anything."""
    changes = tuple(compare.compare(old.interface, new.interface))
    broken = {change.subject for change in changes if change.category == "type" and not change.compatible}
    layouts = compare_layouts.layouts(old.interface, new.interface, broken)
    return Diff(old.source, new.source, changes, layouts, _data(old, new))


def _data(old: Side, new: Side) -> Forecast:
    if old.go is not None and new.go is not None:
        from midflight.lanes.go import forecast as go  # noqa: PLC0415 - most programs never need it

        return go.forecast(old.go, new.go)
    if old.go is None and new.go is None:
        return forecast(old.interface, new.interface, old.data, new.data)
    how = "one version is Go and the other isn't"
    lost = [one.name for one in old.interface.variables if not one.const]
    return Forecast(tuple(Carried(name, "dropped", how) for name in lost), ())


def read(source: str, options: Options, console: Console) -> Side:
    """Build one of the two and read what it offers."""
    described = build.describe(source, flags=options.split_flags())
    with progress.spinner(console):
        artifact = described.resolve()
    data = artifact.read()
    try:
        if is_go_host(data):
            # Imported here because most programs never need it.
            from midflight.lanes.go import interface, model  # noqa: PLC0415

            api = model.read_api(data)
            return Side(source, interface.interface_of(api), data, api)
        reason_for_worker(data)  # raises for what no swap would get past: a program, an extension module
        found = reader.read_interface(data, sha256=artifact.sha256, declared=options.header())
        return Side(source, found, data, None)
    except MidflightError as error:
        error.subject = error.subject or described.display
        raise


def as_json(found: Diff) -> str:
    """Return the differences as one JSON object."""
    data = found.data
    told = {
        "format": FORMAT,
        "old": found.old,
        "new": found.new,
        "compatible": found.compatible,
        "changes": found.changes,
        "layouts": found.layouts,
        "variables": [_row(row, data) for row in data.variables],
        "types": [_row(row, data) for row in data.types],
        "warnings": data.warnings,
    }
    return msgspec.json.format(msgspec.json.encode(told)).decode()


def _row(row: Carried, data: Forecast) -> dict[str, Any]:
    return {**asdict(row), "compatible": not data.refuses(row)}
