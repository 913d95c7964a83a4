"""Signals, for people."""

from __future__ import annotations

import signal

ADDRESSED = frozenset({signal.SIGSEGV, signal.SIGBUS})
"""Those that say which address couldn't be reached."""


def signal_name(number: int) -> str:
    """Return a signal's name, as C has it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def said(number: int, address: int | None) -> str:
    """Say which signal it was, and where, if that is known."""
    return f"{signal_name(number)} at address {address:#x}" if address is not None else signal_name(number)


def fault_address(number: int, code: int, address: int) -> int | None:
    """Return the address that couldn't be reached; None for what isn't such a fault, or was sent."""
    return address if number in ADDRESSED and code > 0 else None
