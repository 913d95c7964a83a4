"""Sizes and alignments of the model's types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Typedef, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midflight.artifact.interface import Type, TypeId

POINTER_SIZE = 8


def size_of(types: Sequence[Type], type_id: TypeId) -> int | None:
    """Return a type's size in bytes; None where it has none (void, functions, opaque records, unknown lengths)."""
    factor = 1
    while True:
        found = types[type_id]
        match found:
            case Typedef():
                type_id = found.target
            case Array():
                if found.count is None:
                    return None
                factor *= found.count
                type_id = found.element
            case Pointer():
                return factor * POINTER_SIZE
            case Scalar() | Enum() | Record() | Unsupported():
                return None if found.size is None else factor * found.size
            case _:
                return None


def align_of(types: Sequence[Type], type_id: TypeId) -> int:
    """Return a type's natural alignment by the System V ABI (x86-64 and AArch64)."""
    while True:
        found = types[type_id]
        match found:
            case Typedef():
                type_id = found.target
            case Array():
                type_id = found.element
            case Pointer():
                return POINTER_SIZE
            case Scalar() | Enum():
                return max(found.size, 1)
            case Record():
                return found.align or 1
            case Unsupported():
                return 16 if found.size and found.size % 16 == 0 else 1
            case _:
                return 1
