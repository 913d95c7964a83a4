"""How each kind of application is run; each module here has one function ``run(application, listeners, lifecycle)``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from socket import socket

    from midflight.serve.lifecycle import Lifecycle
    from midflight.serve.target import Kind


class Run(Protocol):
    """Serves an application until it shall stop, and returns when all that was under way is finished."""

    def __call__(self, application: Callable[..., Any], listeners: Sequence[socket], lifecycle: Lifecycle, /) -> None:
        """Serve."""


def runner(kind: Kind) -> Run:
    """Return what runs this kind; only that one is imported."""
    return cast("Run", importlib.import_module(f"{__name__}.{kind}").run)
