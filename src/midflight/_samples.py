"""A bounded sample of a module's real calls: what ``record=`` keeps, and the probe tries a new version on.

Only plain values are kept, so that a call can be made again in another process: numbers, text, bytes, buffers by their
bytes, ctypes structs by their type's name and their bytes.  A call with any other argument isn't sampled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from midflight._control import Control


class Buffer(msgspec.Struct, frozen=True, tag="buffer", array_like=True):
    """The bytes of a bytearray or of another writable buffer, as they were before the call."""

    data: bytes


class Record(msgspec.Struct, frozen=True, tag="record", array_like=True):
    """A struct or union, by value or pointed to: the name of its class in `midflight.types`, and its bytes."""

    type: str
    data: bytes


Value: TypeAlias = None | bool | int | float | str | bytes | Buffer | Record


class Sample(msgspec.Struct, frozen=True):
    """One call: the function's attribute name, what it was given, what it answered.

    ``error``: the class of the exception that it raised, "" if it returned ``result``.
    """

    function: str
    arguments: tuple[Value, ...]
    result: Value = None
    error: str = ""


def samples_of(control: Control) -> tuple[Sample, ...]:
    """Return the calls of a module that have been kept, oldest first."""
    samples: tuple[Sample, ...] = getattr(control, "samples", ())
    return samples
