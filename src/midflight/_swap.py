"""`swap`, `aswap`, `rollback`, `transaction`: making another version current.

Guarantees: see `midflight._transaction`.  Every function may be called from any thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from midflight import _transaction, build
from midflight._carry import TIMEOUT
from midflight._control import control_of
from midflight._errors import SwapError
from midflight._stages import Request

if TYPE_CHECKING:
    import os
    from types import ModuleType, TracebackType

    from midflight._carry import Carry, Carrying, OnDangling
    from midflight._control import Control
    from midflight._load import Compat
    from midflight._version import Report


def swap(
    module: ModuleType,
    source: str | os.PathLike[str] | None = None,
    *,
    compat: Compat | None = None,
    drain: float = 0.0,
    carry: Carry | None = None,
    on_dangling: OnDangling | None = None,
    timeout: float = TIMEOUT,
) -> Report:
    """Build, verify and load a new version, and make it current; or refuse, and change nothing.

    Args:
        module: what `load` returned.
        source: another source or a ready library, which is the module's source from then on; by default the one that it
            was loaded from.
        compat: "strict" or "any"; by default what `load` was told.
        drain: seconds to wait for calls under way in the old version.  By default they are not waited for: they end in
            their version, which is unloaded then.
        carry: which data come along: see `load`, which says it for swaps that don't.
        on_dangling: what to do about pointers in them that have nothing to point to: see `load`.
        timeout: seconds for which callers may have to wait until calls under way have ended, if there are data to move;
            without data nobody waits.

    Returns:
        What was done.  Bytes that are current already are no reason to do anything: ``changed`` is False then.

    Raises:
        MidflightError: one of its kinds, with ``stage``; the old version goes on running, with its data as they were.
            `GateTimeoutError` says which calls didn't end, `StateError` which data can't come along.
    """
    control = control_of(module)
    carrying = control.options.carrying.but(carry, on_dangling, timeout)
    return _transaction.run([_request(control, source, compat, drain, carrying)])[0]


async def aswap(
    module: ModuleType,
    source: str | os.PathLike[str] | None = None,
    *,
    compat: Compat | None = None,
    drain: float = 0.0,
    carry: Carry | None = None,
    on_dangling: OnDangling | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - it isn't how long the coroutine may take
) -> Report:
    """Do as `swap` does, without holding up the event loop.

    A cancelled task doesn't cancel the swap: it ends as if nobody had waited for it.
    """
    return await asyncio.to_thread(
        swap, module, source, compat=compat, drain=drain, carry=carry, on_dangling=on_dangling, timeout=timeout
    )


def rollback(
    module: ModuleType,
    *,
    drain: float = 0.0,
    carry: Carry | None = None,
    on_dangling: OnDangling | None = None,
    timeout: float = TIMEOUT,
) -> Report:
    """Go back to the version before, under a new number; again, to the one before that.

    Whatever the versions offer: ``compat`` plays no part, because going back must always be possible.  Data come along
    by the same rules as in `swap`; ``carry="fresh"`` leaves them behind.

    Raises:
        SwapError: there is no version before.
    """
    control = control_of(module)
    carrying = control.options.carrying.but(carry, on_dangling, timeout)
    return _transaction.run([Request(control, control.source, "any", drain, back=True, carrying=carrying)])[0]


def _request(
    control: Control,
    source: str | os.PathLike[str] | None,
    compat: Compat | None,
    drain: float,
    carrying: Carrying,
) -> Request:
    described = control.source if source is None else build.describe(source, flags=control.options.flags)
    return Request(control, described, compat or control.options.compat, drain, carrying=carrying)


class Transaction:
    """Several swaps, all or nothing.  ``reports`` has one report for each, once the block has ended."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._requests: list[Request] | None = None

    def swap(
        self,
        module: ModuleType,
        source: str | os.PathLike[str] | None = None,
        *,
        compat: Compat | None = None,
        drain: float = 0.0,
        carry: Carry | None = None,
        on_dangling: OnDangling | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Add a swap; it is done at the end of the block, with the others."""
        if self._requests is None:
            raise SwapError("a transaction takes swaps inside its with block only", unchanged="nothing was changed")
        control = control_of(module)
        carrying = control.options.carrying.but(carry, on_dangling, timeout)
        self._requests.append(_request(control, source, compat, drain, carrying))

    def __enter__(self) -> Self:
        self._requests = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        requests, self._requests = self._requests, None
        if kind is None and requests:
            self.reports = _transaction.run(requests)


def transaction() -> Transaction:
    """Swap several modules together or not at all.

    ``with midflight.transaction() as t: t.swap(a); t.swap(b, "b-2.so")``.  An exception inside the block drops all of
    it.  At the end of the block every new version is built, verified and loaded; then all become current in one step.
    """
    return Transaction()
