"""Where the command line writes, and how: one event or error is one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from midflight._errors import BuildError, IncompatibleError, MidflightError

if TYPE_CHECKING:
    from midflight._version import Report

_MARKS = {"done": ("✔", "+", "bold green"), "refused": ("✘", "x", "bold red"), "news": ("●", "*", "cyan")}


def out() -> Console:
    """Return the console for results."""
    return Console(highlight=False, emoji=False, markup=False, soft_wrap=True)


def err() -> Console:
    """Return the console for what happened and what went wrong."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def say(console: Console, kind: str, text: str | Text) -> None:
    """Print one line with the mark of its kind: ``done``, ``refused`` or ``news``."""
    sign, plain, style = _MARKS[kind]
    console.print(Text.assemble((plain if console.options.ascii_only else sign, style), " ", text))


def say_error(console: Console, error: BaseException) -> None:
    """Print an error as one red line."""
    console.print(Text(explain(error), style="red"))


def say_swapped(console: Console, report: Report) -> None:
    """Print what a swap did as one line."""
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
    for warning in report.warnings:
        say(console, "news", Text(f"{report.module}: {one_line(warning)}", style="yellow"))


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
