"""Arrays that worker processes see without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from midflight import _core
from midflight._errors import ArgumentTypeError, MidflightError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike


def shared_array(shape: int | tuple[int, ...], dtype: DTypeLike = float) -> np.ndarray[Any, Any]:
    """Return a zeroed numpy array in memory that worker processes can see at the same address.

    Passed to a function that runs in a worker, it (or a contiguous part of it) isn't copied: the function reads and
    writes the array itself.  In every other way it is an ordinary array; its memory is freed with its last view.

    Args:
        shape: as for numpy.zeros.
        dtype: of the items; no Python objects.

    Raises:
        MidflightError: numpy isn't installed.
        ArgumentTypeError: items of this type can't be shared.
        MemoryError: the system has no room.
    """
    try:
        import numpy  # noqa: ICN001, PLC0415 - not needed by those who don't use arrays
    except ImportError:
        raise MidflightError("shared_array makes numpy arrays", todo="install numpy") from None
    items = numpy.dtype(dtype)
    if items.hasobject:
        what = f"items of type {items} are Python objects, which no other process can use"
        raise ArgumentTypeError(what, todo="use numbers, or structured items of numbers")
    count = int(numpy.prod(shape, dtype=numpy.int64))
    block = _core.Shared(max(1, count * items.itemsize))
    array: np.ndarray[Any, Any] = numpy.frombuffer(memoryview(cast("Any", block)), dtype=items, count=count)
    return array.reshape(shape)
