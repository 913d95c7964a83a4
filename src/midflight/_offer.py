"""`offer`: other programs may use a module of this one, over a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight._errors import SourceError

if TYPE_CHECKING:
    from types import ModuleType

    from midflight.offering.offer import Offer

LARGEST = 256 << 20
"""The longest message: what one call's arguments may take together."""
_LEAST = 4096


def offer(
    module: ModuleType,
    at: str,
    *,
    token: str | bytes | None = None,
    allow_swap: bool = False,
    threads: int = 8,
    largest: int = LARGEST,
) -> Offer:
    """Let other programs use a module: they load it with ``midflight.load(lane=at)``.

    Args:
        module: what `load` returned.
        at: the address: ``unix:/run/x.sock`` or ``tcp:host:port``; without a host the loopback, port 0 for any.
        token: a secret that clients must know.  It isn't encryption: what is said afterwards can be read on the way.
        allow_swap: whether a client's ``midflight.swap`` swaps the module here.
        threads: how many calls run at the same time; those that wait for a client's callback don't count.
        largest: bytes that one call's arguments may take.

    Raises:
        SourceError: the address can't be listened at.
        SwapError: it is no module of midflight's.

    Whoever may connect may call any function with any argument: native code can be made to crash by that.
    """
    if threads < 1 or largest < _LEAST:
        what = f"threads={threads} or largest={largest} is too small"
        raise SourceError(what, subject=at, todo=f"use threads=1 or more, and largest={_LEAST} or more")
    if largest > LARGEST:
        raise SourceError(f"largest={largest} is too much", subject=at, todo=f"use {LARGEST} at most")
    from midflight.offering.offer import Offer  # noqa: PLC0415 - most programs never need it

    return Offer(module, at, token=token, allow_swap=allow_swap, threads=threads, largest=largest)
