"""`swap`, `aswap`, `rollback`, `transaction`: making another version current.

Guarantees: see `midflight._transaction`.  Every function may be called from any thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

from midflight import _transaction, build
from midflight._carry import TIMEOUT, check_compat
from midflight._control import control_of
from midflight._errors import SwapError
from midflight._stages import Request
from midflight._trial import MAX_ERROR_RATE, MAX_SLOWDOWN, SwapOptions, check_trial

if TYPE_CHECKING:
    import os
    from types import ModuleType, TracebackType

    from midflight._carry import Carry, OnDangling
    from midflight._integrity import Expected
    from midflight._load import Compat
    from midflight._trial import Judge, Probe
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
    probe: Probe | bool | None = None,
    soak: float = 0.0,
    max_error_rate: float = MAX_ERROR_RATE,
    max_slowdown: float = MAX_SLOWDOWN,
    judge: Judge | None = None,
    canary: float = 0.0,
    expect: Expected | None = None,
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
        probe: whether and how to try the new version in a process of its own first: see `load`, which says it for swaps
            that don't.
        soak: seconds for which the new version is watched after the switch (``Report.soak``); if its calls fail or slow
            down too much, it goes back by itself.  The old version stays loaded until then.
        max_error_rate: by how much the share of calls that fail may grow.
        max_slowdown: how many times as long as the old version's its calls may take.
        judge: a function of the old version's figures and the new one's (`SoakStats`) that returns why the new one must
            go, or None.
        canary: the share of calls that go to the new version for ``soak`` seconds *before* it becomes current.  The
            swap waits for that, and is refused if the new version does worse.
        expect: the SHA-256 that the library must have, in hex, or `Signed`; else it is refused before anything reads
            it.  A key that `load` was given holds besides.

    Returns:
        What was done.  Bytes that are current already are no reason to do anything: ``changed`` is False then.

    Raises:
        MidflightError: one of its kinds, with ``stage``; the old version goes on running, with its data as they were.
            `GateTimeoutError` says which calls didn't end, `StateError` which data can't come along, `ProbeError` and
        `SoakError` what the new version did wrong, `IntegrityError` that these aren't the expected bytes.
    """
    options = SwapOptions(
        compat=compat,
        drain=drain,
        carry=carry,
        on_dangling=on_dangling,
        timeout=timeout,
        probe=probe,
        soak=soak,
        max_error_rate=max_error_rate,
        max_slowdown=max_slowdown,
        judge=judge,
        canary=canary,
        expect=expect,
    )
    return _transaction.run([_request(module, source, **options)])[0]


async def aswap(
    module: ModuleType, source: str | os.PathLike[str] | None = None, **options: Unpack[SwapOptions]
) -> Report:
    """Do as `swap` does, with the same options, without holding up the event loop.

    A cancelled task doesn't cancel the swap: it ends as if nobody had waited for it.
    """
    return await asyncio.to_thread(swap, module, source, **options)


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


def _request(module: ModuleType, source: str | os.PathLike[str] | None, **options: Unpack[SwapOptions]) -> Request:
    control = control_of(module)
    return Request(
        control,
        control.source if source is None else build.describe(source, flags=control.options.flags),
        check_compat(options.get("compat") or control.options.compat),
        options.get("drain", 0.0),
        carrying=control.options.carrying.but(
            options.get("carry"), options.get("on_dangling"), options.get("timeout", TIMEOUT)
        ),
        trial=check_trial(options),
    )


class Transaction:
    """Several swaps, all or nothing.  ``reports`` has one report for each, once the block has ended."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._requests: list[Request] | None = None

    def swap(
        self, module: ModuleType, source: str | os.PathLike[str] | None = None, **options: Unpack[SwapOptions]
    ) -> None:
        """Add a swap, with the options of `swap`; it is done at the end of the block, with the others."""
        if self._requests is None:
            what = "a transaction takes swaps inside its with block only"
            todo = "begin one for it: with midflight.transaction() as both: both.swap(module)"
            raise SwapError(what, unchanged="nothing was changed", todo=todo)
        self._requests.append(_request(module, source, **options))

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
