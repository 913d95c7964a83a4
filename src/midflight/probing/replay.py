"""Whether a candidate answers recorded calls as the current version did: judged in the program, from what both said.

A user's function runs here, in the program, so it may be any function.
"""

from __future__ import annotations

import ctypes
import math
import reprlib
from typing import TYPE_CHECKING, Any

from midflight._samples import Record
from midflight.probing.replaying import UnlikeError, native

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midflight._samples import Sample, Value
    from midflight._trial import Compare
    from midflight.probing.protocol import Reply

MOST_SHOWN = 24
"""Differences that are told one by one."""


def differences(
    samples: Sequence[Sample], replies: Sequence[Reply], compare: Compare, classes: Mapping[str, Any]
) -> list[str]:
    """Return what is answered differently, a line each.  ``classes``: of the current version's structs, by name.

    Raises `ValueError` if there aren't as many replies as samples.
    """
    found = []
    for sample, reply in zip(samples, replies, strict=True):
        difference = _difference(sample, reply, compare, classes)
        if difference:
            found.append(f"{sample.function}({', '.join(map(_shown, sample.arguments))}) {difference}")
    return found


def _difference(sample: Sample, reply: Reply, compare: Compare, classes: Mapping[str, Any]) -> str:
    if reply.unlike:
        return f"can't be compared: {reply.unlike}"
    if sample.error or reply.error:
        return "" if sample.error == reply.error else f"{_said(reply)}, where the current version {_said(sample)}"
    if callable(compare):
        return _judged(sample, reply, compare, classes)
    tolerance = 0.0 if compare == "exact" else float(compare)
    if not _same(sample.result, reply.result, tolerance, classes):
        return f"{_said(reply)}, where the current version {_said(sample)}"
    for (index, before), (_, now) in _pairs(sample, reply):
        if not _same_written(sample.arguments[index], before, now, tolerance, classes):
            return f"leaves other bytes in its argument {index + 1} than the current version does"
    return ""


def _pairs(sample: Sample, reply: Reply) -> Iterator[tuple[tuple[int, bytes], tuple[int, bytes]]]:
    """Return what was written; the process's own list is believed only as far as it fits."""
    now = dict(reply.written)
    for index, before in sample.written:
        yield (index, before), (index, now.get(index, b""))


def _judged(sample: Sample, reply: Reply, compare: Any, classes: Mapping[str, Any]) -> str:
    """Ask the user's function.  What it raises is a difference too."""
    try:
        arguments = tuple(native(value, classes) for value in sample.arguments)
        old, new = native(sample.result, classes), native(reply.result, classes)
        if compare(sample.function, arguments, old, new):
            return ""
    except Exception as error:  # noqa: BLE001 - it is the user's
        return f"can't be judged: compare= raised {type(error).__name__}: {error}"
    return f"{_said(reply)}, where the current version {_said(sample)}"


# ---- sameness -------------------------------------------------------------------------------------------------------


def _same(old: Any, new: Any, tolerance: float, classes: Mapping[str, Any]) -> bool:
    if isinstance(old, Record) and isinstance(new, Record):
        return old.name == new.name and _same_bytes(old, new, tolerance, classes)
    if isinstance(old, float) and isinstance(new, float):
        return (
            old == new
            or math.isclose(old, new, rel_tol=tolerance, abs_tol=0.0)
            or (math.isnan(old) and math.isnan(new))
        )
    if type(old) is not type(new):
        return False
    if isinstance(old, int) and tolerance and not isinstance(old, bool):
        return math.isclose(old, new, rel_tol=tolerance)
    return bool(old == new)


def _same_bytes(old: Record, new: Record, tolerance: float, classes: Mapping[str, Any]) -> bool:
    """Compare structs by their fields: what lies between these means nothing."""
    try:
        return _same_objects(native(old, classes), native(new, classes), tolerance)
    except UnlikeError:
        return old.data == new.data


def _same_objects(old: Any, new: Any, tolerance: float) -> bool:
    if isinstance(old, ctypes.Structure):
        return type(old) is type(new) and all(
            _same_objects(getattr(old, name), getattr(new, name), tolerance) for name in _names(old)
        )
    if isinstance(old, ctypes.Array):
        return len(old) == len(new) and all(_same_objects(*pair, tolerance) for pair in zip(old, new, strict=True))
    if isinstance(old, (ctypes.Union, ctypes._SimpleCData)):  # noqa: SLF001 - it has no other name
        return bytes(old) == bytes(new)
    return _same(old, new, tolerance, {})


def _names(value: ctypes.Structure) -> list[str]:
    return [name for name, *_ in getattr(value, "_fields_", ())]


def _same_written(value: Value, before: bytes, now: bytes, tolerance: float, classes: Mapping[str, Any]) -> bool:
    if isinstance(value, Record):
        return _same_bytes(Record(value.name, before), Record(value.name, now), tolerance, classes)
    letter: Any = getattr(value, "format", "B")
    if before == now or len(before) != len(now) or letter not in "fd" or not tolerance:
        return before == now
    pairs = zip(memoryview(before).cast(letter), memoryview(now).cast(letter), strict=True)
    return all(_same(old, new, tolerance, classes) for old, new in pairs)


# ---- words ----------------------------------------------------------------------------------------------------------


def _said(answer: Sample | Reply) -> str:
    return f"raises {answer.error}" if answer.error else f"answers {_shown(answer.result)}"


def _shown(value: Value) -> str:
    if isinstance(value, Record):
        return value.name
    return reprlib.repr(getattr(value, "data", value))
