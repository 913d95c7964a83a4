"""A bounded sample of a module's real calls: what ``record=`` keeps, and the probe tries a new version on.

Only plain values are kept, so that a call can be made again in another process: numbers, text, bytes, buffers by their
bytes, ctypes structs by their type's name and their bytes.  A call with any other argument isn't sampled, nor is one of
a function whose arguments or result are addresses: they mean nothing elsewhere.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from midflight._lane import function_keys
from midflight.artifact import interface as model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._control import Control, Generation
    from midflight.artifact.interface import Function, Interface, TypeId


class Buffer(msgspec.Struct, frozen=True, tag="buffer", array_like=True):
    """The bytes of a bytearray, an array or another buffer, as they were before the call.

    ``format``: of its items, one letter that `memoryview.cast` takes; "B" also where it has no such format; "" for an
    object of Python's type bytes.
    """

    data: bytes
    format: str = "B"


class Record(msgspec.Struct, frozen=True, tag="record", array_like=True):
    """A struct or union, by value or pointed to: the name of its class in `midflight.types`, and its bytes.

    Of an array, those of all its elements.
    """

    name: str
    data: bytes


Value: TypeAlias = bool | int | float | str | Buffer | Record | None


class Sample(msgspec.Struct, frozen=True):
    """One call: the function's name, what it was given, what it answered.

    ``function``: its attribute's name, or its full one where it has none; ``error``: the class of the exception that it
    raised, "" if it returned ``result``; ``written``: what it left in the buffers that it could write to: the
    argument's index, and the bytes.
    """

    function: str
    arguments: tuple[Value, ...]
    result: Value = None
    error: str = ""
    written: tuple[tuple[int, bytes], ...] = ()


def samples_of(control: Control) -> tuple[Sample, ...]:
    """Return the calls of a module's current version that have been kept, by function."""
    current = control.current
    if current is None or current.observer is None:
        return ()
    kept = current.observer.samples()
    return tuple(
        Sample(name, tuple(map(_value, arguments)), _value(result), error or "", _written(written))
        for name, slots in slots_of(control, current).items()
        for slot in slots
        for arguments, result, error, written in kept.get(slot, ())
    )


def _written(kept: tuple[bytes | None, ...]) -> tuple[tuple[int, bytes], ...]:
    return tuple((index, data) for index, data in enumerate(kept) if data is not None)


def slots_of(control: Control, generation: Generation) -> dict[str, list[int]]:
    """Return the slots of a version's functions, by the name that people know them by."""
    found: dict[str, list[int]] = {}
    for function in generation.interface.functions:
        found[function.name or function.qualified] = [control.slots[key] for key in function_keys(function)]
    for key, explicit in control.explicit.items():
        named = next((one for one in generation.interface.functions if one.qualified == explicit.symbol_of), None)
        if named is not None:
            found[named.name or named.qualified].append(control.slots[key])
    return found


# ---- values ---------------------------------------------------------------------------------------------------------


def _value(kept: Any) -> Value:
    """Return what the core has kept: an immutable value, or (class, bytes, format)."""
    if isinstance(kept, tuple):
        return _bytes_of(*kept)
    if isinstance(kept, bool) or kept is None:
        return kept
    if isinstance(kept, bytes):
        return Buffer(bytes(kept), "")
    # Members of enumerations and the like become what they stand for.
    plain: Any = next(kind for kind in (int, float, str) if isinstance(kept, kind))
    value: Value = plain(kept)
    return value


def _bytes_of(kind: type[Any], data: bytes, layout: str | None) -> Buffer | Record:
    element = kind._type_ if issubclass(kind, ctypes.Array) else kind
    if isinstance(element, type) and issubclass(element, (ctypes.Structure, ctypes.Union)):
        return Record(element.__name__, data)
    letter = (layout or "B").lstrip("@=<")
    return Buffer(data, letter if letter in set("cbBhHiIlLqQfd?") else "B")


# ---- what can be kept -----------------------------------------------------------------------------------------------


def kept_slots(control: Control, interface: Interface) -> Iterator[int]:
    """Return the slots of the functions whose arguments and results mean the same in another process."""
    for function in interface.functions:
        if _travels(interface, function):
            for key in function_keys(function):
                yield control.slots[key]


def _travels(interface: Interface, function: Function) -> bool:
    result = interface.strip(function.result)
    if isinstance(result, model.Pointer):
        text = interface.strip(result.target)
        if not (result.const and isinstance(text, model.Scalar) and text.kind == "char"):
            return False
    elif _has_addresses(interface, function.result):
        return False
    return not any(_has_addresses(interface, _pointed(interface, param.type)) for param in function.params)


def _pointed(interface: Interface, type_id: TypeId) -> TypeId:
    found = interface.strip(type_id)
    return found.target if isinstance(found, model.Pointer) else type_id


def _has_addresses(interface: Interface, type_id: TypeId) -> bool:
    """Whether there are addresses in a value of a type."""
    match interface.strip(type_id):
        case model.Pointer() | model.Signature():
            return True
        case model.Array(element):
            return _has_addresses(interface, element)
        case model.Record(size=size, fields=fields):
            return size is None or any(_has_addresses(interface, field.type) for field in fields)
    return False
