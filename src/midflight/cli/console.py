"""Where the command line writes, and how: one event or error is one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from midflight._errors import BuildError, GateTimeoutError, IncompatibleError, MidflightError, StateError

if TYPE_CHECKING:
    from midflight._version import Report

_SHOWN = 8

_MARKS = {"done": ("✔", "+", "bold green"), "refused": ("✘", "x", "bold red"), "news": ("●", "*", "cyan")}


def out() -> Console:
    """Return the console for results."""
    return Console(highlight=False, emoji=False, markup=False, soft_wrap=True)


def err() -> Console:
    """Return the console for what happened and what went wrong."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def say(console: Console, kind: str, text: str | Text) -> None:
    """Print one line with the mark of its kind: ``done``, ``refused`` or ``news``."""
    console.print(Text.assemble(mark(console, kind), " ", text))


def mark(console: Console, kind: str) -> tuple[str, str]:
    """Return the mark of a kind, and its style."""
    sign, plain, style = _MARKS[kind]
    return plain if console.options.ascii_only else sign, style


def say_error(console: Console, error: BaseException) -> None:
    """Print an error as one red line."""
    console.print(Text(explain(error), style="red"))


def say_swapped(console: Console, report: Report) -> None:
    """Print what a swap did as one line, and one for what became of the data, if there were any."""
    arrow = "->" if console.options.ascii_only else "→"
    old, new = report.old, report.new
    fate = f"version {old.number} {old.status}"
    if old.held_by:
        fate += f", held by {', '.join(old.held_by)}"
    line = Text.assemble(
        (report.module, "bold"),
        f": version {old.number} {arrow} {new.number}",
        (f"  in {report.seconds * 1e3:.0f} ms, {fate}", "dim"),
    )
    say(console, "done", line)
    if report.state:
        say(console, "news", Text(f"{report.module}: {what_became(report)}", style="dim"))
    for warning in report.warnings:
        say(console, "news", Text(f"{report.module}: {one_line(warning)}", style="yellow"))


def what_became(report: Report) -> str:
    """Return what became of a module's data: how many are as they were, and each that isn't."""
    counts = Counter(row.what for row in report.state)
    plain = [f"{counts[what]} {what}" for what in ("carried", "initialised") if counts[what]]
    others = [one_line(str(row)) for row in report.state if row.what not in {"carried", "initialised"}]
    more = [f"and {len(others) - _SHOWN} more"] if len(others) > _SHOWN else []
    return "; ".join([", ".join(plain) or "no variable carried", *others[:_SHOWN], *more])


def say_refused(console: Console, name: str, error: MidflightError) -> None:
    """Print why a swap was refused as one line."""
    line = Text.assemble((name, "bold"), ": swap refused, ", (explain(error).removeprefix(f"{name}: "), "red"))
    if error.unchanged and error.unchanged not in line.plain:
        line.append(f"; {error.unchanged}", "dim")
    say(console, "refused", line)


def explain(error: BaseException) -> str:
    """Return an error's text as one line: of a failed build the compiler's first error, of a refusal each change."""
    match error:
        case BuildError():
            return _first_diagnostic(error) or one_line(MidflightError.__str__(error))
        case IncompatibleError(changes=changes) if changes and not all(change in str(error) for change in changes):
            return one_line(f"{error.what} ({'; '.join(changes)})")
        case StateError(refusals=reasons) | GateTimeoutError(inside=reasons) if not all(
            reason in str(error) for reason in reasons
        ):
            return one_line(f"{error.what} ({'; '.join(reasons[:_SHOWN])})")
        case MidflightError():
            return one_line(str(error))
        case _:
            return one_line(f"{type(error).__name__}: {error}")


def _first_diagnostic(error: BuildError) -> str:
    errors = [found for found in error.diagnostics if found.severity == "error"]
    if not errors:
        return ""
    first = errors[0]
    place = ":".join([_near(first.file), *(str(part) for part in (first.line, first.column) if part)])
    more = len(errors) - 1
    rest = f" (and {more} more error{'s' if more > 1 else ''})" if more else ""
    return one_line(f"{place}: {first.message}{rest}" if first.file else f"{first.message}{rest}")


def _near(path: str) -> str:
    """Return a path as a person in this directory writes it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return path


def one_line(text: str) -> str:
    """Return the text with its line breaks, and any other control characters, made spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
