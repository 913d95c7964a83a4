"""`midflight call`: one call from the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Void
from midflight.cli import loading
from midflight.cli.arguments import written_by
from midflight.cli.console import err
from midflight.cli.values import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midflight.cli.loading import Callee, Options


def call(source: str, name: str, texts: Sequence[str], options: Options) -> str:
    """Load, call, and return what is to be printed: the result, and what the function wrote into its arguments."""
    module = loading.load(source, options, err())
    callee = loading.find(module, name)
    return "\n".join(make(callee, texts, quote=False))


def make(callee: Callee, texts: Sequence[str], *, quote: bool) -> Iterator[str]:
    """Make the call; yield its result, if it has one, and each argument that it changed, one line each."""
    interface, function = callee.reader.interface, callee.function
    arguments = callee.read(texts)
    pointed = written_by(interface, function, arguments)
    before = [bytes(value) for _, value in pointed]
    result = callee.target(*arguments)
    if not isinstance(interface.strip(function.result), Void):
        yield show(result, quote=quote)
    for (name, value), old in zip(pointed, before, strict=True):
        if bytes(value) != old:
            yield f"{name} = {show(value)}"
