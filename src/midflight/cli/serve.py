"""`midflight serve`: keeps worker processes behind listening sockets, and restarts them without a lost connection."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from midflight._errors import ControlError, RestartRefusedError
from midflight.cli.console import err, out, say, say_error
from midflight.serve import client, target
from midflight.serve.options import Options, working_directory

if TYPE_CHECKING:
    from midflight.serve.messages import Handover, Outcome, Status

_ASKS = ("restart", "upgrade", "status", "stop")
_STATUS_PATIENCE = 10.0


@click.command()
@click.argument("application", metavar="APP:NAME", required=False)
@click.option("--bind", "binds", multiple=True, metavar="ADDRESS", help=":8000, [::1]:8000, unix:/path, fd:3; several.")
@click.option("--workers", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many processes.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="How many are replaced at once.")
@click.option("--kind", type=click.Choice(["auto", *target.KINDS]), default="auto", help="What the application is.")
@click.option("--watch", is_flag=True, help="Restart when a source file changes.")
@click.option("--env-file", metavar="FILE", help="NAME=VALUE lines, read anew for every worker.")
@click.option("--ready-timeout", type=click.FloatRange(0.01), default=30.0, show_default=True, metavar="SECONDS")
@click.option("--drain-timeout", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS")
@click.option("--kill-timeout", type=click.FloatRange(0), default=5.0, show_default=True, metavar="SECONDS")
@click.option("--keep-alive", type=click.FloatRange(0), default=5.0, show_default=True, metavar="SECONDS")
@click.option("--backlog", type=click.IntRange(1), default=2048, show_default=True, help="Connections that may wait.")
@click.option("--control", metavar="PATH", help="The control socket; by default one for each directory.")
@click.option("--restart", is_flag=True, help="Ask what is being served here to restart; exit code 1 if refused.")
@click.option("--upgrade", is_flag=True, help="The same, with a new interpreter and midflight for the supervisor too.")
@click.option("--status", is_flag=True, help="Show what is being served here.")
@click.option("--stop", is_flag=True, help="Ask it to end.")
@click.option("--json", "as_json", is_flag=True, help="Print the status, or how a restart ended, as JSON.")
def serve(application: str | None, control: str | None, *, as_json: bool, **options: Any) -> None:
    """Serve an application from several processes, and replace them without a lost connection.

    APP:NAME is a function main(listeners, lifecycle), an ASGI or a WSGI application.  SIGHUP restarts, SIGUSR2
    upgrades, SIGTERM ends.
    """
    asked = [name for name in _ASKS if options.pop(name)]
    directory = working_directory()
    place = str(Path(control).absolute()) if control else client.default_control(directory)
    if len(asked) > 1:
        raise click.UsageError(f"--{asked[0]} and --{asked[1]} are two commands")
    if asked:
        _ask(asked[0], place, as_json=as_json)
        return
    if application is None:
        raise click.UsageError("APP:NAME is missing")
    target.check(application)
    if options["env_file"]:
        options["env_file"] = str(Path(directory, options["env_file"]))
    _serve(Options(target=application, control=place, directory=directory, **options))


def _serve(options: Options) -> None:
    import asyncio  # noqa: PLC0415 - the other commands needn't wait for it

    from midflight.serve import handover  # noqa: PLC0415 - the same

    inherited = handover.received()
    if handover.is_probe():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("midflight")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        asyncio.run(_run(options, inherited))
    except RestartRefusedError as error:
        _say_words(error)
        raise


async def _run(options: Options, inherited: Handover | None) -> None:
    from midflight.serve.supervisor import Supervisor  # noqa: PLC0415 - the same

    await Supervisor(options, version("midflight"), inherited).run()


def _ask(what: str, control: str, *, as_json: bool) -> None:
    match what:
        case "status":
            reply = client.ask(control, what, _STATUS_PATIENCE)
            if reply is None or reply.status is None:
                raise ControlError("the supervisor ended meanwhile", subject=control)
            _show_status(reply.status, as_json=as_json)
        case "stop":
            client.ask(control, what, _STATUS_PATIENCE)
        case _:
            _restart(what, control, as_json=as_json)


def _restart(what: str, control: str, *, as_json: bool) -> None:
    try:
        outcome = client.upgrade(control) if what == "upgrade" else client.restart(control)
    except RestartRefusedError as error:
        if as_json:
            _print_json(_refusal(error))
        _say_words(error)
        say_error(err(), error)
        raise click.exceptions.Exit(1) from None
    if as_json:
        _print_json(outcome)
    else:
        say(out(), "done", f"restarted: generation {outcome.generation}, {outcome.seconds:.1f} s")


def _refusal(error: RestartRefusedError) -> dict[str, object]:
    fields = ("stage", "subject", "what", "unchanged", "todo")
    return {"refused": {name: getattr(error, name) for name in fields} | {"words": list(error.words)}}


def _say_words(error: RestartRefusedError) -> None:
    console = err()
    for line in error.words:
        console.print(Text(f"  | {line}", style="dim"))


def _print_json(value: Outcome | Status | dict[str, object]) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def _show_status(status: Status, *, as_json: bool) -> None:
    if as_json:
        _print_json(status)
        return
    console = out()
    console.print(
        Text.assemble(
            (status.target, "bold"),
            f" on {', '.join(status.addresses)}: {status.state}, generation {status.generation}, process {status.pid}",
        )
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("worker", "process", "generation", "state", "since", "deaths"):
        table.add_column(name, justify="left" if name == "state" else "right")
    for one in status.workers:
        state = f"{one.state} (crash loop)" if one.crash_loop else one.state
        pid, generation = (str(one.pid), str(one.generation)) if one.pid else ("", "")
        table.add_row(str(one.worker), pid, generation, state, f"{one.seconds:.0f} s", str(one.deaths))
    console.print(table)
    if status.last is not None and status.last.refusal is not None:
        say(console, "refused", Text(f"the last restart was refused: {status.last.refusal.what}", style="red"))
