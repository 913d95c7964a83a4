"""How `midflight diff` looks in a terminal; in a pipe each row is one line, whatever its length."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from midflight.cli.console import mark, one_line, say
from midflight.cli.type_names import plain_types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from midflight._version import Carried
    from midflight.artifact.compare import Change
    from midflight.artifact.compare_layouts import Layout, Place
    from midflight.cli.diff import Diff

_TABLED = {"size", "field", "place"}
"""The parts of a change that a struct's table shows."""

_STYLES = {"refused": "red", "migrated": "cyan", "dropped": "yellow", "left": "yellow"}
_WIDEST = 32
_NARROWEST = 24
_TITLES = {
    "function": "functions, for their callers",
    "type": "types, for callers",
    "variable": "exported variables",
}


def show(found: Diff, console: Console) -> None:
    """Print the differences: the callers' first, then the structs' layouts, then what would become of the data."""
    if not found.changes:
        say(console, "done", "for callers nothing has changed")
        console.print()
    tables = {layout.name for layout in found.layouts}
    for category, title in _TITLES.items():
        changes = [change for change in found.changes if change.category == category]
        _changes(console, title, [change for change in changes if not _is_in_a_table(change, tables)])
    for layout in found.layouts:
        _layout(console, layout)
    _data(console, "variables, where the program has changed them", found.data.variables, found)
    _data(console, "structs, where there are typed blocks of them", found.data.types, found)
    for warning in found.data.warnings:
        say(console, "news", Text(_plain(warning), style="yellow"))
    verdict = "a swap would go through" if found.compatible else "a swap would be refused"
    say(console, "done" if found.compatible else "refused", Text(verdict, style="bold"))


def _is_in_a_table(change: Change, tables: set[str]) -> bool:
    return change.subject in tables and all(part.kind in _TABLED for part in change.parts) and bool(change.parts)


def _title(console: Console, title: str) -> None:
    console.print(Text(title, style="bold"))


def _changes(console: Console, title: str, changes: Sequence[Change]) -> None:
    if changes:
        _title(console, title)
        for change in changes:
            _line(console, _kind(change.compatible), f"{_plain(change.subject)}: ", _plain(change.detail))
            _parts(console, change)
        console.print()


def _data(console: Console, title: str, rows: Sequence[Carried], found: Diff) -> None:
    if rows:
        _title(console, title)
        cells = [(row.name, row.what, row.how.removeprefix(f"{row.name}: ")) for row in rows]
        _rows(console, cells, [_kind(not found.data.refuses(row), row.what == "refused") for row in rows])
        console.print()


def _kind(good: bool, doubtful: bool = False) -> str:  # noqa: FBT001, FBT002 - two answers
    return "refused" if not good else "news" if doubtful else "done"


def _parts(console: Console, change: Change) -> None:
    """Show each parameter of a function that takes more or fewer of them."""
    if not any(part.kind == "parameter" and None in (part.old, part.new) for part in change.parts):
        return
    arrow = _arrow(console)
    for part in change.parts:
        label = f"{part.position}. {part.name}".strip()
        how = part.new if part.old == part.new else f"{part.old or 'none'} {arrow} {part.new or 'none'}"
        console.print(Text.assemble("      ", label.ljust(16), "  ", (_plain(str(how)), "dim")))


def _layout(console: Console, layout: Layout) -> None:
    arrow = _arrow(console)
    note = ", callers have nothing to do with it" if layout.compatible else ""
    size = f"{layout.old_size} {arrow} {layout.new_size}" if layout.old_size != layout.new_size else layout.new_size
    _title(console, f"{_plain(layout.name)}: {size} bytes{note}")
    cells = [(row.name, _plain(_place(row.old)), f"{arrow} {_place(row.new)}") for row in layout.fields]
    _rows(console, cells, [_kind(row.compatible) for row in layout.fields], same=[row.same for row in layout.fields])
    console.print()


def _place(place: Place | None) -> str:
    if place is None:
        return "none"
    if place.bits is not None:
        byte, bit = divmod(place.bit_offset or 0, 8)
        return f"{place.type} at {byte}, bit {bit}, {place.bits} bit{'' if place.bits == 1 else 's'}"
    size = "" if place.size is None else f", {place.size} byte{'' if place.size == 1 else 's'}"
    return f"{place.type} at {place.offset}{size}"


def _rows(
    console: Console, cells: Sequence[tuple[str, str, str]], kinds: Sequence[str], same: Sequence[bool] = ()
) -> None:
    """Print a table of three columns; ``same``: of which rows the last one is left out."""
    names = min(_WIDEST, max((len(_plain(name)) for name, _, _ in cells), default=0))
    words = min(_WIDEST, max((len(word) for _, word, _ in cells), default=0))
    for number, (name, word, rest) in enumerate(cells):
        shown = "" if same and same[number] else _plain(rest)
        head = f"{_plain(name).ljust(names)}  {word.ljust(words) if shown else word}"
        _line(console, kinds[number], f"{head}  ", shown, style=_STYLES.get(word, ""))


def _line(console: Console, kind: str, head: str, rest: str, style: str = "") -> None:
    """Print a row with its mark; what doesn't fit the terminal's width goes on below, indented."""
    first, *more = _wrapped(head, rest, console.width - 4 if console.is_terminal else 0)
    console.print(Text.assemble("  ", mark(console, kind), " ", (first, style)))
    for line in more:
        console.print(Text.assemble("        ", (line, style)))


def _wrapped(head: str, rest: str, width: int) -> list[str]:
    """Break a row; ``rest`` begins on the next line where ``head`` fills more than half of this one."""
    whole = f"{head}{rest}".rstrip()
    if not width or len(whole) <= width:
        return [whole]
    inner = max(width - 4, _NARROWEST)
    if len(head) > width // 2:
        return [head.rstrip(), *_broken(rest, inner)]
    first, *more = _broken(rest, max(width - len(head), _NARROWEST)) or [""]
    return [f"{head}{first}", *_broken(" ".join(more), inner)]


def _broken(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _arrow(console: Console) -> str:
    return "->" if console.options.ascii_only else "→"


def _plain(text: str) -> str:
    return plain_types(one_line(text))
