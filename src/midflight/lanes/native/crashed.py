"""What a crash of a library's own code outside of any call becomes: in its constructors, in its destructors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from midflight import _signal_names
from midflight._errors import ConstructorError
from midflight.artifact.backtrace import backtrace

if TYPE_CHECKING:
    from midflight._core import Crash

_log = logging.getLogger("midflight")


def said(crash: Crash) -> str:
    """Say which signal it was, and where."""
    return _signal_names.said(crash[0], _signal_names.fault_address(*crash[:3]))


def in_constructor(error: ConstructorError, data: bytes, source: str) -> ConstructorError:
    """Return the error for a constructor that has crashed; any other as it is."""
    crash, image = getattr(error, "crash", (None, None))
    if crash is None or image is None:
        return error
    return ConstructorError(
        f"a constructor crashed: {said(crash)}",
        subject=source,
        todo="mend it; what it has left half done stays in memory",
        signal=crash[0],
        address=_signal_names.fault_address(*crash[:3]),
        backtrace=backtrace(data, image, crash[3]),
    )


def in_destructor(crash: Crash, source: str) -> None:
    """Say that a destructor has crashed."""
    _log.error("%s: a destructor crashed when it was unloaded: %s", Path(source).name, said(crash))
