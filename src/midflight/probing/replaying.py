"""Making a recorded call again, in the probing process."""

from __future__ import annotations

import ctypes
import enum
from typing import TYPE_CHECKING, Any, cast

from midflight._errors import WorkerCrashedError
from midflight._samples import Buffer, Record
from midflight.probing.protocol import Reply, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midflight._lane import Code
    from midflight._samples import Sample, Value
    from midflight.probing.candidate import Candidate


class UnlikeError(Exception):
    """The call can't be made, or its answer can't be compared; the text says why."""


def replay(sample: Sample, candidate: Candidate) -> Reply:
    """Let a candidate answer a call.  Raises `WorkerCrashedError`."""
    classes = candidate.classes_by_name
    try:
        arguments = [native(value, classes) for value in sample.arguments]
        result = plain(candidate.call(sample.function, *arguments))
    except WorkerCrashedError:
        raise
    except UnlikeError as error:
        return Reply(unlike=short(str(error)))
    except BaseException as error:  # noqa: BLE001 - it is an answer as any
        return Reply(error=short(type(error).__name__))
    written = tuple((index, memoryview(arguments[index]).tobytes()) for index, _ in sample.written)
    return Reply(result, written=written)


def native(value: Value, classes: Mapping[str, Any]) -> Any:
    """Return a value as it was given to the call.  Raises `UnlikeError` for a struct that is another now."""
    if isinstance(value, Buffer):
        if not value.format:
            return value.data
        data = memoryview(bytearray(value.data))
        return data if value.format == "B" else data.cast(cast("Any", value.format))
    if isinstance(value, Record):
        found: Any = classes.get(value.name)
        size = ctypes.sizeof(found) if found is not None else 0
        if not size or len(value.data) % size:
            raise UnlikeError(f"{value.name} has another layout now")
        return (found if len(value.data) == size else found * (len(value.data) // size)).from_buffer_copy(value.data)
    return value


def classes_by_name(code: Code) -> dict[str, Any]:
    """Return the classes of a version's structs and unions, by the names that a `Record` has."""
    return {found.__name__: found for found in code.ctypes.namespace().values() if isinstance(found, type)}


def plain(value: Any) -> Value:
    """Return a result as it can be compared in another process.  Raises `UnlikeError`."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, bytes):
        return Buffer(value, "")
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return value
    if isinstance(value, (ctypes.Structure, ctypes.Union)):
        return Record(type(value).__name__, bytes(value))
    raise UnlikeError(f"it answers with a {type(value).__name__}, which can't be compared")
