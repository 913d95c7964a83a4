"""The commands and their options, in click's terms.

Guarantees: an error of midflight's is one red line and exit code 1, a wrong usage exit code 2; neither is a traceback.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

from midflight._errors import MidflightError
from midflight.cli.console import err, say_error
from midflight.cli.exit_codes import EXIT_CODES, NO_VERDICT
from midflight.cli.serve import serve

if TYPE_CHECKING:
    from collections.abc import Callable

# The commands' own modules are imported when they run, so that `midflight --help` is there at once.
# ruff: noqa: PLC0415

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""For commands that pass on what looks like an option: a negative number, or a program's own options."""


class _Failure(click.ClickException):
    """One of midflight's errors, on its way to the terminal."""

    def __init__(self, error: MidflightError) -> None:
        super().__init__(str(error))
        self._error = error

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        say_error(err(), self._error)


class _NoAnswer(_Failure):
    """The same, where the exit code 1 is an answer."""

    exit_code = 2


class _Group(click.Group):
    """A group whose commands may raise midflight's errors."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MidflightError as error:
            raise _Failure(error) from error


def main() -> None:
    """Run the command line."""
    # The commands tell of each event in their own way; without this the log would tell it a second time.
    logging.getLogger("midflight").addHandler(logging.NullHandler())
    midflight_command.main(prog_name="midflight")


def _source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for how a source is built and read."""
    interface = click.option(
        "--interface", metavar="HEADER", help="A header that declares what a stripped library offers."
    )
    flags = click.option("--flags", default="", metavar="FLAGS", help="Flags for the compiler, such as '-O2 -lm'.")
    return flags(interface(command))


@click.group(cls=_Group, name="midflight", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="midflight", message="%(prog)s %(version)s")
def midflight_command() -> None:
    """Replace the code of running Python programs."""


@midflight_command.command(context_settings=_PASS_ON)
@click.option("-m", "as_module", is_flag=True, help="PROGRAM is a module's name, as for python -m.")
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(program: str, arguments: tuple[str, ...], *, as_module: bool) -> None:
    """Run a program; swap each module that it loads when its files change.

    PROGRAM is run as python would run it, with ARGUMENTS.  Each swap and each refusal is one line on standard error.
    """
    from midflight.cli.run import run as run_program

    run_program(program, arguments, as_module=as_module)


@midflight_command.command()
@_source_options
@click.argument("source")
def repl(source: str, flags: str, interface: str | None) -> None:
    """Call functions of SOURCE by hand, and follow its changes.

    SOURCE is a source file or a library.  Asks for a function and for its arguments, calls, prints; a file that is
    saved meanwhile is taken over by itself.
    """
    from midflight.cli.loading import Options
    from midflight.cli.repl import repl as start

    start(source, Options(flags, interface))


@midflight_command.command(context_settings=_PASS_ON)
@_source_options
@click.argument("source")
@click.argument("function")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def call(source: str, function: str, arguments: tuple[str, ...], flags: str, interface: str | None) -> None:
    """Call one FUNCTION of SOURCE and print the result.

    ARGUMENTS are read by the types of its parameters: 3, 0x1f, 2.5, true, a text, an enum's name, 1,2,3 for an array,
    '{x: 1, y: 2}' for a struct, null.
    """
    from midflight.cli.call import call as make_call
    from midflight.cli.loading import Options

    if text := make_call(source, function, arguments, Options(flags, interface)):
        click.echo(text)


@midflight_command.command()
@_source_options
@click.argument("library", metavar="LIB")
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of standard output.")
def stub(library: str, output: str | None, flags: str, interface: str | None) -> None:
    """Print what LIB, a library or source file, offers as a .pyi stub."""
    from midflight.cli import stub as stubs
    from midflight.cli.loading import Options

    text = stubs.stub(library, Options(flags, interface), err())
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        stubs.write(output, text)


@midflight_command.command()
@_source_options
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def diff(old: str, new: str, flags: str, interface: str | None, *, as_json: bool) -> None:
    """Show what a swap from OLD to NEW would change.

    OLD and NEW are source files or libraries.  First what callers of the functions would see, then what would become of
    the data: what is carried, migrated (how), dropped or refused (why).  Nothing of either is run.

    Exit code 0: a swap would go through; 1: it would be refused; 2: that can't be said (a file isn't there, can't be
    built or read, or the command is wrong).
    """
    from midflight.cli import diff as differences
    from midflight.cli import diff_view
    from midflight.cli.console import out
    from midflight.cli.loading import Options

    try:
        found = differences.diff(old, new, Options(flags, interface), err())
    except MidflightError as error:
        raise _NoAnswer(error) from error
    if as_json:
        click.echo(differences.as_json(found))
    else:
        diff_view.show(found, out())
    if not found.compatible:
        raise click.exceptions.Exit(1)


class _NoVerdict(_Failure):
    """Nothing could be judged."""

    exit_code = NO_VERDICT


class _Misuse(click.UsageError):
    """A wrong usage of a command whose exit codes are verdicts."""

    exit_code = NO_VERDICT


class _Judging(click.Command):
    """A command whose exit codes are verdicts, so that what isn't one needs a code of its own."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            raise _Misuse(error.message, error.ctx) from error


def _print_schema(context: click.Context, _option: click.Parameter, wanted: Any) -> None:
    from midflight.cli.doctor import schema_text

    if wanted:
        click.echo(schema_text())
        context.exit()


@midflight_command.command(cls=_Judging)
@_source_options
@click.argument("library", metavar="LIB")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option(
    "--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
    help="Print the JSON Schema of --json.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Leave nothing out of long lists.")
def doctor(library: str, flags: str, interface: str | None, *, as_json: bool, everything: bool) -> None:
    """Say whether LIB can be swapped and unloaded, without loading it.

    LIB is a library, or a source file that is built first.  Tells what stands in the way and how to mend it.  Exit
    codes: 0 swappable, 1 swappable but stays resident, 2 needs a worker, 3 refused, 4 there is no verdict (no such
    file, a failed build, a wrong usage).
    """
    from midflight.cli import doctor as examination
    from midflight.cli.loading import Options

    try:
        found = examination.doctor(library, Options(flags, interface), err())
    except MidflightError as error:
        raise _NoVerdict(error) from error
    if as_json:
        click.echo(examination.as_json(found))
    else:
        examination.show(found, examination.console(), everything=everything)
    if code := EXIT_CODES[found.verdict]:
        raise click.exceptions.Exit(code)


@midflight_command.command()
@click.option("--clear", is_flag=True, help="Forget them, so that each version may be loaded again.")
def crashes(*, clear: bool) -> None:
    """Show which versions have crashed which programs.

    A version that has crashed a program twice in a row isn't loaded again on its own; the one before it is.
    """
    from midflight.cli.console import out
    from midflight.cli.crashes import show

    show(out(), clear=clear)


@midflight_command.command()
@_source_options
@click.argument("source")
@click.option("--at", required=True, metavar="ADDRESS", help="unix:/path/to/socket or tcp:host:port.")
@click.option("--allow-swap", is_flag=True, help="Let clients swap the module.")
@click.option("--watch", is_flag=True, help="Swap when the source's files change.")
@click.option("--token-file", metavar="FILE", help="A file with a secret that clients must know.")
def offer(
    source: str,
    flags: str,
    interface: str | None,
    at: str,
    token_file: str | None,
    *,
    allow_swap: bool,
    watch: bool,
) -> None:
    """Offer SOURCE to other programs, over a socket.

    They load it with midflight.load(lane=ADDRESS).  The secret can be in MIDFLIGHT_TOKEN too; it isn't encryption.
    """
    from midflight.cli.loading import Options
    from midflight.cli.offer import offer as start

    start(source, Options(flags, interface), at, allow_swap=allow_swap, watch=watch, token_file=token_file)


@midflight_command.command(context_settings=_PASS_ON | {"help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Play the demo: a game server, 200 clients, and rules that are swapped under them."""
    from midflight.cli.demo import demo as play

    play(arguments)


midflight_command.add_command(serve)
