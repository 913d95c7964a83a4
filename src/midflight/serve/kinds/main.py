"""A server of the application's own: ``main(listeners, lifecycle)``, a function or a coroutine function."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from socket import socket

    from midflight.serve.lifecycle import Lifecycle


def run(application: Callable[..., Any], listeners: Sequence[socket], lifecycle: Lifecycle) -> None:
    """Call it; an awaitable that it returns is run to its end."""
    if inspect.iscoroutinefunction(application):
        asyncio.run(application(listeners, lifecycle))
        return
    result = application(listeners, lifecycle)
    if inspect.isawaitable(result):
        asyncio.run(_finish(result))


async def _finish(result: Awaitable[object]) -> None:
    await result
