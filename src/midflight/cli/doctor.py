"""`midflight doctor`: what a swap would make of a library, as a report for people or as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import midflight
from midflight.cli import progress
from midflight.cli.console import one_line
from midflight.cli.type_names import plain_types
from midflight.inspection.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from midflight.cli.loading import Options
    from midflight.inspection.model import Finding, Inspection, Needed

_SHOWN, _FEW = 8, 4
_WIDEST = 100
_STYLES = {
    "note": "dim",
    "warning": "yellow",
    "condition": "cyan",
    "resident": "yellow",
    "worker": "magenta",
    "refused": "red",
}
_VERDICT_STYLES = {
    "swappable": "green",
    "swappable, stays resident": "yellow",
    "needs a worker": "magenta",
    "refused": "red",
}
_LONGEST_TYPE = 60
_COMPILERS = frozenset({"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__", "__cxa_finalize"})
"""What every library asks for by itself."""

_FATES = {"refused": "red", "left": "yellow"}


def doctor(library: str, options: Options, console: Console) -> Inspection:
    """Inspect a library, or what is built of a source; a spinner turns while a long build goes on."""
    with progress.spinner(console):
        return midflight.inspect(library, interface=options.header(), flags=options.split_flags())


def as_json(found: Inspection) -> str:
    """Return an inspection as one JSON object; docs/doctor.md describes it."""
    return msgspec.json.format(msgspec.json.encode(found)).decode()


def schema_text() -> str:
    """Return the JSON Schema of what `as_json` returns."""
    return msgspec.json.format(msgspec.json.encode(schema())).decode()


def console() -> Console:
    """Return a console that wraps at the width of the terminal, or at 80 columns."""
    made = Console(highlight=False, emoji=False, markup=False)
    made.width = min(made.width, _WIDEST)
    return made


def show(found: Inspection, console: Console, *, everything: bool = False) -> None:
    """Print the report: the verdict and what it rests on first, then what is in the library."""
    with console.capture() as held:
        _show(found, console, everything=everything)
    # The tables' cells are filled up with spaces, which nobody wants in a file; and names may have any characters.
    text = re.sub(" +$", "", held.get(), flags=re.MULTILINE)
    console.file.write(text.encode(console.encoding, "replace").decode(console.encoding))


def _show(found: Inspection, console: Console, *, everything: bool) -> None:
    most = len(found.undefined) + len(found.data.variables) + 1_000_000 if everything else _SHOWN
    console.print(_head(found))
    for finding in found.findings:
        if finding.severity != "note":
            console.print(_finding(finding, most))
    notes = [finding for finding in found.findings if finding.severity == "note"]
    if notes:
        console.print(_titled("seen to by midflight", Group(*(_note(finding) for finding in notes))))
    for title, body in _sections(found, most):
        console.print(_titled(title, body))


# ---- the verdict -------------------------------------------------------------------------------------------------


def _head(found: Inspection) -> RenderableType:
    verdict = Text.assemble(
        (one_line(found.path), "bold"), ": ", (found.verdict, f"bold {_VERDICT_STYLES[found.verdict]}")
    )
    if found.verdict != "refused" and (given := _given(found)):
        verdict.append(f", given {given}", "cyan")
    facts = [found.kind, f"{found.machine} ({found.bits}-bit)" if found.machine else "", f"{found.size:,} bytes"]
    if found.soname:
        facts.insert(1, f"soname {found.soname}")
    if found.debug is not None:
        facts.append(_debug(found))
    return Group(
        verdict,
        Padding(Text(one_line(", ".join(fact for fact in facts if fact)), style="dim"), (0, 0, 0, 2), expand=False),
    )


def _given(found: Inspection) -> str:
    given = ["interface="] if found.needs.interface else []
    if found.needs.provides:
        given.append(f"provides= for {_listed(found.needs.provides, 3)}")
    return " and ".join(given)


def _debug(found: Inspection) -> str:
    debug = found.debug
    if debug is None or debug.state == "none":
        return "no debug information" + ("" if debug is None or debug.symbols else ", stripped")
    language = f", {debug.language}" if debug.language else ""
    state = "in another file" if debug.state == "separate" else debug.state
    return f"debug information: {state}{language}" + (f", {debug.compressed}" if debug.compressed else "")


def _finding(finding: Finding, most: int) -> RenderableType:
    head = Text.assemble(
        (f"{finding.severity:>9}  ", f"bold {_STYLES[finding.severity]}"), one_line(_sentence(finding.what))
    )
    body = Table.grid(padding=(0, 1))
    body.add_row(Text(one_line(finding.means)))
    if finding.mend:
        body.add_row(Text.assemble(("To mend it: ", "bold"), one_line(_ended(finding.mend))))
    if finding.symbols and not all(symbol in finding.what for symbol in finding.symbols):
        body.add_row(Text(one_line(_listed(_short(finding.symbols, most), most)), style="dim"))
    head_table = Table.grid(padding=0)
    head_table.add_column(width=11, no_wrap=True)
    head_table.add_column()
    head_table.add_row(head[:11], Group(Text.assemble(head[11:], (f"  [{finding.name}]", "dim")), body))
    return Padding(head_table, (1, 0, 0, 0), expand=False)


def _note(finding: Finding) -> RenderableType:
    return _hanging(Text(one_line(f"{_sentence(finding.what)}. {finding.means}")))


def _sentence(text: str) -> str:
    """Begin with a capital, unless it begins with a file's name."""
    return text if "." in text.partition(" ")[0] else text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    return text if text.endswith("=") else f"{text}."


# ---- what is in it -----------------------------------------------------------------------------------------------


def _sections(found: Inspection, most: int) -> Iterator[tuple[str, RenderableType]]:
    if found.exports.functions or found.exports.undescribed:
        yield f"it offers ({_count(found.exports.symbols, 'exported symbol')})", _offers(found, most)
    if found.data.variables or found.data.writable:
        yield f"data ({found.data.writable:,} writable bytes)", _data(found, most)
    if found.needed:
        yield "it needs", _needed(found, most)
    if found.undefined:
        yield "symbols from others", _undefined(found, most)
    if found.hardening is not None:
        yield "built", _built(found)


def _offers(found: Inspection, most: int) -> RenderableType:
    lines = [one.declaration for one in found.exports.functions]
    shown = [_hanging(Text(plain_types(one_line(line)))) for line in _first(lines, most)]
    if found.exports.undescribed:
        shown.append(
            _hanging(Text(f"undescribed: {_listed(_short(found.exports.undescribed, most), most)}", style="dim"))
        )
    if found.exports.hooks:
        shown.append(_hanging(Text(f"hooks: {_listed(found.exports.hooks, most)}")))
    return Group(*shown)


def _data(found: Inspection, most: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", ratio=3)
    table.add_column(overflow="fold", ratio=3)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", ratio=2)
    rows = sorted(found.data.variables, key=lambda one: (one.fate == "carried", not one.type))
    for one in rows[:most]:
        table.add_row(
            _type(one.name, most),
            _type(one.type, most),
            f"{one.size:,}",
            Text(one.fate, style=_FATES.get(one.fate, "")),
        )
    body: list[RenderableType] = [table]
    if len(rows) > most:
        body.append(Text(f"and {len(rows) - most:,} more (--all)", style="dim"))
    if found.data.undescribed:
        body.append(Text(f"{found.data.undescribed:,} bytes that no debug information describes", style="dim"))
    return Group(*body)


def _needed(found: Inspection, most: int) -> RenderableType:
    wanted: dict[str, list[str]] = {}
    for row in found.versions:
        wanted.setdefault(row.library, []).append(f"{row.wanted} (here {row.here})" if row.here else row.wanted)
    own = [one for one in found.needed if not one.by]
    rest = [one for one in found.needed if one.by]
    return Group(*(_hanging(_place(one, wanted)) for one in [*own, *rest][: max(most, len(own))]))


def _place(one: Needed, wanted: dict[str, list[str]]) -> Text:
    """Say where a needed library was found; only the directory, where its file has the name that was looked for."""
    text = Text(one_line(one.name), style="dim" if one.by else "")
    if one.path is None:
        text.append(", not found", style="red")
    elif one.path.endswith(f"/{one.name}"):
        text.append(f" in {one_line(one.path[: -len(one.name) - 1] or '/')}")
    else:
        text.append(f" is {one_line(one.path)}")
    if not one.by and wanted.get(one.name):
        text.append(f"; wants {', '.join(wanted[one.name])}", style="dim")
    return text


def _undefined(found: Inspection, most: int) -> RenderableType:
    by: dict[str, list[str]] = {}
    for one in found.undefined:
        if one.found_in is not None:
            by.setdefault(one.found_in, []).append(one.name)
    nobody = [one.declaration or one.name for one in found.undefined if one.found_in is None and not one.weak]
    few = min(most, _FEW) if most == _SHOWN else most
    lines = [
        _hanging(Text.assemble((name, "bold"), f" ({len(names):,}): ", _listed(_short(sorted(names), most), few)))
        for name, names in by.items()
    ]
    if nobody:
        lines.insert(0, _hanging(Text.assemble(("nobody: ", "bold red"), _listed(_short(nobody, most), most))))
    weak = [one.name for one in found.undefined if one.found_in is None and one.weak]
    weak = [name for name in weak if name not in _COMPILERS or most > _SHOWN]
    if weak:
        text = _listed(_short(weak, most), most)
        lines.append(_hanging(Text.assemble(("nobody, and it can do without: ", "dim"), (text, "dim"))))
    return Group(*lines)


def _built(found: Inspection) -> RenderableType:
    hard = found.hardening
    assert hard is not None  # noqa: S101 - the caller has asked
    lines = [
        f"hardening: RELRO {hard.relro}, {'immediate' if hard.bind_now else 'lazy'} binding, "
        f"{'' if hard.stack_protector else 'no '}stack protector, "
        + (f"fortified ({_count(len(hard.fortify), 'checked function')})" if hard.fortify else "not fortified")
        + (f", {' and '.join(hard.cet)}" if hard.cet else "")
    ]
    for title, names in (("constructors", found.constructors), ("destructors", found.destructors)):
        if names:
            lines.append(f"{title}: {_listed(names, _SHOWN)}")
    for title, paths in (("RPATH", found.rpath), ("RUNPATH", found.runpath)):
        if paths:
            lines.append(f"{title}: {':'.join(paths)}")
    if found.debug is not None and found.debug.build_id:
        lines.append(f"build ID {found.debug.build_id}")
    lines += found.unread
    return Group(*(_hanging(Text(one_line(line))) for line in lines))


# ---- texts -------------------------------------------------------------------------------------------------------


def _titled(title: str, body: RenderableType) -> RenderableType:
    return Padding(
        Group(Text(title, style="bold"), Padding(body, (0, 0, 0, 2), expand=False)), (1, 0, 0, 0), expand=False
    )


def _hanging(text: Text) -> RenderableType:
    """Return a paragraph whose second line and those after it are moved in."""
    table = Table.grid(padding=0)
    table.add_column(width=2)
    table.add_column(overflow="fold")
    table.add_row("- ", text)
    return table


def _type(text: str, most: int) -> str:
    plain = plain_types(one_line(text))
    return plain if len(plain) <= _LONGEST_TYPE or most > _SHOWN else f"{plain[:_LONGEST_TYPE]}…"


def _short(names: Sequence[str], most: int) -> list[str]:
    """Cut names that are longer than a line: C++'s may have hundreds of characters."""
    return [name if len(name) <= _LONGEST_TYPE or most > _SHOWN else f"{name[:_LONGEST_TYPE]}…" for name in names]


def _first(lines: Sequence[str], most: int) -> list[str]:
    more = [f"and {len(lines) - most:,} more (--all)"] if len(lines) > most else []
    return [*lines[:most], *more]


def _listed(names: Sequence[str], most: int) -> str:
    return one_line(", ".join(_first(names, most)))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
