"""Loads a module for a command, by its options, and finds its functions and their types."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import midflight
from midflight._control import generation_of
from midflight._errors import ArgumentTypeError, MissingFunction
from midflight.cli import progress
from midflight.cli.arguments import Classes, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from rich.console import Console

    from midflight.artifact.interface import Function, Interface


@dataclass(frozen=True, slots=True)
class Options:
    """How a source is to be built and read."""

    flags: str = ""
    interface: str | None = None

    def split_flags(self) -> tuple[str, ...]:
        """Return the compiler's flags one by one."""
        try:
            return tuple(shlex.split(self.flags))
        except ValueError as error:
            raise ArgumentTypeError(
                f"the flags can't be read ({error})", subject=self.flags, todo="quote them as in a shell"
            ) from None

    def header(self) -> Path | None:
        """Return the file that declares what a library without debug information offers."""
        return Path(self.interface) if self.interface is not None else None


def load(source: str, options: Options, console: Console) -> ModuleType:
    """Load a module; a spinner turns while a long build goes on."""
    with progress.spinner(console):
        return midflight.load(source, flags=options.split_flags(), interface=options.header())


@dataclass(frozen=True, slots=True)
class Callee:
    """A function of the version that is current now: how it is declared, and how to call it."""

    declaration: str
    function: Function
    reader: Reader
    target: Callable[..., Any]

    def read(self, texts: Sequence[str]) -> list[Any]:
        """Return the arguments that the texts say."""
        params = self.function.params
        if len(texts) != len(params):
            wanted = f"{len(params)} argument{'' if len(params) == 1 else 's'}"
            message = f"{self.function.name or self.function.qualified} takes {wanted}, not {len(texts)}"
            raise ArgumentTypeError(message, todo=f"it is {self.declaration}")
        return [self.reader.read(param, text) for param, text in zip(params, texts, strict=True)]


def functions(module: ModuleType) -> dict[str, str]:
    """Return name and declaration of everything that can be called, in alphabetical order."""
    interface, _ = _current(module)
    found = {function.name or function.qualified: interface.describe(function) for function in interface.functions}
    return dict(sorted(found.items()))


def find(module: ModuleType, name: str) -> Callee:
    """Return a function by its name, or by its full name.  Raises `MissingFunction`."""
    interface, classes = _current(module)
    for function in interface.functions:
        if name in (function.name, function.qualified):
            target = getattr(module, name) if name == function.name else midflight.function(module, name)
            return Callee(interface.describe(function), function, Reader(interface, classes), target)
    raise MissingFunction("there is no such function", subject=name, todo=_suggestion(name, list(functions(module))))


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(known)}" if known else "the module has none at all"


def _current(module: ModuleType) -> tuple[Interface, Classes]:
    """Return what the current version offers, and the ctypes classes of its types."""
    control, generation = generation_of(module)
    if generation.code is None:
        raise control.unloaded()
    return generation.interface, generation.code.ctypes
