"""Handles: numbers by which native code can keep Python objects.

Guarantee: a number that no living handle has, forged or stale, gives no object and does no harm: 39 of its bits are
random, made anew each time.  Any function here may be called from any thread.
"""

from __future__ import annotations

import ctypes
import secrets
from typing import TYPE_CHECKING, Any, Self

from midflight._errors import HandleError
from midflight._fork import Lock

if TYPE_CHECKING:
    from types import TracebackType

_PLACE_BITS = 24
_RANDOM_BITS = 39  # 63 in all: it fits every integer type of 64 bits, signed or not


class Handle(int):
    """A number that stands for an object, to be passed as ``void *`` or as an integer of 64 bits; never 0.

    It lives until `release`, or to the end of a ``with`` block.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it, unless that is done."""
        _table.forget(int(self))

    def __repr__(self) -> str:
        return f"Handle({int(self):#x})"


class _Table:
    def __init__(self) -> None:
        self._mutex = Lock()
        self._held: list[tuple[int, object]] = []  # by place: the handle that is alive there (0: none), and its object
        self._free: list[int] = []

    def add(self, held: object) -> Handle:
        with self._mutex:
            place = self._free.pop() if self._free else len(self._held)
            if place >> _PLACE_BITS:
                what = f"{place} handles are alive"
                raise HandleError(what, todo="release those that native code has given back")
            number = 0
            while not number >> _PLACE_BITS:  # 0 is C's null pointer
                number = secrets.randbits(_RANDOM_BITS) << _PLACE_BITS | place
            if place == len(self._held):
                self._held.append((number, held))
            else:
                self._held[place] = number, held
        return Handle(number)

    def _look(self, number: int) -> tuple[int, object]:
        place = number & ((1 << _PLACE_BITS) - 1)
        with self._mutex:
            return self._held[place] if place < len(self._held) else (0, None)

    def knows(self, number: int) -> bool:
        return number != 0 and self._look(number)[0] == number

    def find(self, number: int) -> object:
        known, held = self._look(number)
        if not number or known != number:
            what = f"{number:#x} is no handle, or one that has been released"
            raise HandleError(what, todo="let native code give back what midflight.handle returned, before its release")
        return held

    def forget(self, number: int) -> bool:
        place = number & ((1 << _PLACE_BITS) - 1)
        with self._mutex:
            alive = bool(number) and place < len(self._held) and self._held[place][0] == number
            before = self._held[place] if alive else None  # let go of outside of the lock: it may run anything
            if alive:
                self._held[place] = 0, None
                self._free.append(place)
        del before
        return alive


_table = _Table()


def handle(held: object) -> Handle:
    """Return a number that native code can keep for an object, which stays alive until it is released."""
    return _table.add(held)


def is_handle(number: int) -> bool:
    """Whether a number is a handle that is alive."""
    return _table.knows(number)


def object_of(number: Any) -> Any:
    """Return the object that a handle stands for.

    ``number``: as native code gives it back: an integer, a `Pointer`, a ``c_void_p``, or None for a null pointer.

    Raises:
        HandleError: there is no such handle, or none any more.
    """
    return _table.find(_plain(number))


def release(number: Any) -> None:
    """End a handle.

    Raises:
        HandleError: there is no such handle, or none any more.
    """
    number = _plain(number)
    if not _table.forget(number):
        _table.find(number)


def _plain(number: Any) -> int:
    if isinstance(number, ctypes.c_void_p):
        number = number.value
    number = getattr(number, "address", number)
    if number is None:
        return 0
    if not hasattr(number, "__index__"):
        what = f"a handle is a number, not {type(number).__name__}"
        raise HandleError(what, todo="pass what native code gave back")
    return int(number.__index__())
