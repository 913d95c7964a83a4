"""`midflight repl`: the interactive host.

Asks for a function and its arguments, calls, prints.  The file's changes are followed meanwhile: each swap and each
refusal is one line, and the next call runs the new code.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import sys
from typing import TYPE_CHECKING

from prompt_toolkit.patch_stdout import patch_stdout

import midflight
from midflight import _events
from midflight._errors import ArgumentTypeError, MidflightError
from midflight.cli import loading, progress
from midflight.cli.asking import Pipe, Terminal
from midflight.cli.call import make
from midflight.cli.console import out, say, say_error, say_refused, say_swapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from rich.console import Console

    from midflight.cli.loading import Callee, Options

_HELP = """\
NAME                  asks for the arguments of a function, calls it and prints the result
NAME ARGUMENT ...     calls it at once
:swap [FILE]          swaps to what the source is now, or to another file
:rollback             goes back to the version before
:versions             lists the versions
:help                 this, and the functions
quit                  ends (so does the end of the input)
Arguments: 3  0x1f  2.5  true  a text  an enum's name  null  1,2,3 (an array)  8*0 (eight zeros)  {x: 1, y: 2}"""

_COMMANDS = {
    ":swap": "swap to what the source is now, or to another file",
    ":rollback": "go back to the version before",
    ":versions": "list the versions",
    ":help": "how this works",
    "quit": "end",
}


def repl(source: str, options: Options) -> None:
    """Load ``source`` and talk until the end of the input."""
    console = out()
    module = loading.load(source, options, console)
    host = Host(module, console)
    with contextlib.ExitStack() as stack:
        if isinstance(host.asker, Terminal):
            stack.enter_context(patch_stdout(raw=True))
        stack.callback(_events.subscribe(host.notice))
        stack.enter_context(midflight.watch(module))
        say(console, "news", f"{source}: {len(loading.functions(module))} functions; changes are followed; :help helps")
        host.talk()


class Host:
    """One conversation about one module."""

    def __init__(self, module: ModuleType, console: Console) -> None:
        self._module = module
        self._console = console
        self._told: MidflightError | None = None
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self.asker = Terminal(self._toolbar) if terminal else Pipe()

    def talk(self) -> None:
        """Answer one line after another."""
        while True:
            try:
                line = self.asker.ask("function", choices=loading.functions(self._module) | _COMMANDS).strip()
                if line in ("quit", "exit", ":quit"):
                    return
                self._obey(line)
            except EOFError:
                return
            except KeyboardInterrupt:
                say(self._console, "news", "quit ends")
            except MidflightError as error:
                if error is not self._told:
                    say_error(self._console, error)

    def notice(self, event: _events.Event) -> None:
        """Print one line for a swap or a refusal, whoever started it."""
        if event.module is not self._module:
            return
        match event:
            case _events.Swapped(report=report) if report.changed:
                with self.asker.aside():
                    say_swapped(self._console, report)
            case _events.Refused(name=name, error=error):
                self._told = error
                with self.asker.aside():
                    say_refused(self._console, name, error)

    # ---- what can be said ----

    def _obey(self, line: str) -> None:
        try:
            name, *words = shlex.split(line) or [""]
        except ValueError as error:
            message = f"the line can't be read ({error})"
            raise ArgumentTypeError(message, subject=line) from None
        match name, words:
            case "", _:
                pass
            case ":help", _:
                self._help()
            case ":versions", _:
                self._versions()
            case ":rollback", []:
                midflight.rollback(self._module)
            case ":swap", ([] | [_]):
                self._swap(words)
            case str(), _ if name.startswith(":"):
                raise ArgumentTypeError("there is no such command", subject=line, todo=":help tells what there is")
            case _:
                self._call(line, name, words)

    def _call(self, line: str, name: str, words: list[str]) -> None:
        known = loading.functions(self._module)
        callee = loading.find(self._module, line if line in known else name)
        if line in known or not words:
            self._console.print(callee.declaration, style="dim")
            words = self._ask_arguments(callee)
        elif len(callee.function.params) == 1:
            words = [line.removeprefix(name).strip()]
        for text in make(callee, words, quote=True):
            self._console.print(text, style="bold")

    def _ask_arguments(self, callee: Callee) -> list[str]:
        """Ask for each argument by its name.  Raises what is wrong with one, where the asker lets it through."""
        texts: list[str] = []
        for place, param in enumerate(callee.function.params):
            hint = callee.reader.interface.spell(param.type)
            choices = dict.fromkeys(callee.reader.choices(param), "")
            check = functools.partial(callee.reader.read, param)
            texts.append(self.asker.ask(param.name or f"argument {place + 1}", f"({hint})", choices, check))
            check(texts[-1])
        return texts

    def _swap(self, words: Sequence[str]) -> None:
        with progress.spinner(self._console):
            report = midflight.swap(self._module, *words)
        if not report.changed:
            say(self._console, "news", str(report))

    def _versions(self) -> None:
        for version in midflight.versions(self._module):
            held = f", held by {', '.join(version.held_by)}" if version.held_by else ""
            style = "bold green" if version.status == "current" else ""
            text = f"version {version.number}  {version.status}{held}  {version.source}  {version.artifact[:12]}"
            self._console.print(text, style=style)

    def _help(self) -> None:
        self._console.print(_HELP)
        for declaration in loading.functions(self._module).values():
            self._console.print(declaration, style="dim")

    def _toolbar(self) -> str:
        current = next(one for one in midflight.versions(self._module) if one.status == "current")
        return f" {self._module.__name__}, version {current.number}; changes of {current.source} are followed"
