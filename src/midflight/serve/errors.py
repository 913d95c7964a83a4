"""What can go wrong with serving, one class per kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight._errors import MidflightError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ServeError(MidflightError):
    """Serving can't be done as asked."""


class BindError(ServeError, ValueError):
    """An address that can't be listened on, or is none."""


class TargetError(ServeError, ValueError):
    """What should be served isn't there, or is nothing that can be served."""


class ControlError(ServeError):
    """The supervisor can't be reached, or doesn't answer as it should."""


class RestartRefusedError(ServeError):
    """New processes didn't become ready; those before them go on.  ``words`` are the last lines that one wrote."""

    def __init__(
        self,
        what: str,
        *,
        words: Sequence[str] = (),
        subject: str = "",
        unchanged: str = "",
        todo: str = "",
        stage: str = "",
    ) -> None:
        super().__init__(what, subject=subject, unchanged=unchanged, todo=todo, stage=stage)
        self.words = tuple(words)
