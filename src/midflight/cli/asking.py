"""How the interactive host asks: with completion on a terminal, plainly from a pipe."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.styles import Style
from prompt_toolkit.validation import ValidationError, Validator

from midflight._errors import MidflightError
from midflight.cli.console import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prompt_toolkit.document import Document


class Asker(Protocol):
    """Where the answers come from."""

    def ask(
        self,
        question: str,
        hint: str = "",
        choices: Mapping[str, str] | None = None,
        check: Callable[[str], object] | None = None,
    ) -> str:
        """Return one line.  ``choices``: what can be completed, each with a few words on it.

        ``check`` raises a `MidflightError` for a line that won't do, so that a person can put it right at once.
        Raises EOFError when nothing more comes, and KeyboardInterrupt when the person wants out of the question.
        """

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Let something be printed while a question is open, by any thread."""


class Terminal:
    """A person at a terminal."""

    _STYLE = Style.from_dict(
        {"question": "bold ansicyan", "hint": "ansibrightblack", "bottom-toolbar": "noreverse ansibrightblack"}
    )

    def __init__(self, toolbar: Callable[[], str]) -> None:
        self._toolbar = toolbar
        self._sessions: dict[str, PromptSession[str]] = {}

    def ask(
        self,
        question: str,
        hint: str = "",
        choices: Mapping[str, str] | None = None,
        check: Callable[[str], object] | None = None,
    ) -> str:
        """Ask with completion; each question has a history of its own."""
        session = self._sessions.setdefault(question, PromptSession(history=InMemoryHistory(), style=self._STYLE))
        message = [("class:question", question), ("class:hint", f" {hint}" if hint else ""), ("", " > ")]
        completer = WordCompleter(list(choices), meta_dict=choices, sentence=True) if choices else None
        return session.prompt(
            FormattedText(message),
            completer=completer,
            complete_while_typing=True,
            validator=_Check(check) if check is not None else None,
            validate_while_typing=False,
            bottom_toolbar=self._toolbar,
            reserve_space_for_menu=4,
        )

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Print above the question, which stays as it is."""
        yield
        for session in self._sessions.values():
            session.app.invalidate()


class _Check(Validator):
    """Shows what is wrong with a line under it, and leaves it there to be put right."""

    def __init__(self, check: Callable[[str], object]) -> None:
        self._check = check

    def validate(self, document: Document) -> None:
        """Refuse the line if the check does."""
        try:
            self._check(document.text)
        except MidflightError as error:
            raise ValidationError(len(document.text), explain(error)) from None


class Pipe:
    """Lines from a pipe or a file.  They are repeated, so that the output reads as on a terminal."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._question = ""

    def ask(
        self,
        question: str,
        hint: str = "",
        choices: Mapping[str, str] | None = None,  # noqa: ARG002 - nothing to complete here
        check: Callable[[str], object] | None = None,  # noqa: ARG002 - the caller finds out
    ) -> str:
        """Ask, and repeat the answer."""
        self._put(f"{question} {hint} > " if hint else f"{question} > ")
        line = sys.stdin.readline()
        self._put("", answer=line if line.endswith("\n") else f"{line}\n")
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def _put(self, question: str, answer: str = "") -> None:
        with self._mutex:
            self._question = question
            sys.stdout.write(answer or question)
            sys.stdout.flush()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Print on lines of their own, and ask again."""
        with self._mutex:
            sys.stdout.write("\n" if self._question else "")
            yield
            sys.stdout.write(self._question)
            sys.stdout.flush()
