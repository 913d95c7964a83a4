"""Structs by value: in which registers they travel, which can't, and calls of those that only ctypes can place.

Numbers and pointers are converted by the binding, by the same rules as in all other calls; ctypes only places them.  It
places structs by rules of its own, though, so those that the compiler passes in another way are refused by name.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from midflight import _core
from midflight._errors import ArgumentTypeError
from midflight.artifact.interface import Array, Record, Scalar, Unsupported
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._core import Binding, ParamSpec, ResultSpec, Table
    from midflight.artifact.interface import Interface, TypeId

_CLASSES: dict[str, Any] = {
    "void": None,
    "bool": ctypes.c_bool,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
    **dict.fromkeys(("pointer", "callback", "string"), ctypes.c_void_p),
    **{f"{sign}int{size}": getattr(ctypes, f"c_{sign}int{size}") for sign in ("", "u") for size in (8, 16, 32, 64)},
}


class ByValueCall:
    """One function.  ``binding`` and ``table`` are set before the first call."""

    binding: Binding
    table: Table

    def __init__(
        self, name: str, params: list[ParamSpec], result: ResultSpec, *, hold_gil: bool, guarded: bool
    ) -> None:
        self._name = name
        self._params = params
        self._result = result[0]
        prototype = ctypes.PYFUNCTYPE if hold_gil else ctypes.CFUNCTYPE
        result_class = result[2] if self._result == "struct" else _CLASSES[self._result]
        arguments = [param[6] if param[1] == "struct" else _CLASSES[param[1]] for param in params]
        self._call = prototype(result_class, *arguments)(_core.guarded_through if guarded else _core.through)

    def __call__(self, *values: object) -> Any:
        """Convert, call, convert back.  Raises as any call does."""
        kept = []
        passed = []
        for index, (param, value) in enumerate(zip(self._params, values, strict=True)):
            if param[1] == "struct":
                passed.append(self._struct(param, value))
                continue
            raw, keep = self.binding.convert(index, value)
            passed.append(raw)
            kept.append(keep)
        result = self._call(*passed)
        if self._result in {"struct", "float32", "float64", "void"}:
            return result
        return self.binding.result_from(self.table, int(result or 0))

    def _struct(self, param: ParamSpec, value: object) -> object:
        name, _, _, _, _, spelled, wanted, _, misfit = param
        if type(value) is wanted:
            return value
        detail = ""
        if isinstance(value, (ctypes.Structure, ctypes.Union)) and misfit is not None:
            why = misfit(type(value))
            if why is None:
                return wanted.from_buffer_copy(value)
            detail = f": {why}"
        what = f"parameter {name!r} is {spelled}, and {type(value).__name__} can't be passed to it{detail}"
        todo = f"make one with midflight.types(module).{wanted.__name__}(...)"
        raise ArgumentTypeError(what, subject=self._name, todo=todo)


# ---- where the compiler passes them ---------------------------------------------------------------------------------

_LARGEST_IN_REGISTERS = 16


def classify(interface: Interface, type_id: TypeId) -> str:
    """Say in which registers each eightbyte of a struct travels: I(nteger) or D(ouble); "M": the struct is in memory.

    System V ABI, AMD64 supplement, 3.2.3, for structs without bit-fields, unions and misplaced members.
    """
    size = size_of(interface.types, type_id) or 0
    if size > _LARGEST_IN_REGISTERS:
        return "M"
    classes = ["D"] * ((size + 7) // 8)
    for offset, scalar in _scalars(interface, type_id, 0):
        if not (isinstance(scalar, Scalar) and scalar.kind == "float"):
            classes[offset // 8] = "I"
    return "".join(classes)


def _scalars(interface: Interface, type_id: TypeId, offset: int) -> Iterator[tuple[int, object]]:
    match interface.strip(type_id):
        case Record() as record:
            for field in record.fields:
                yield from _scalars(interface, field.type, offset + field.offset)
        case Array(element, count):
            size = size_of(interface.types, element) or 0
            for index in range(count or 0):
                yield from _scalars(interface, element, offset + index * size)
        case other:
            yield offset, other


# ---- what ctypes can't pass -----------------------------------------------------------------------------------------


def by_value_obstacle(interface: Interface, type_id: TypeId) -> str | None:
    """Say why ctypes would pass a struct in another way than the compiler does; None if it doesn't."""
    record = interface.strip(type_id)
    if not isinstance(record, Record) or record.size is None:
        return "it is only declared"
    if record.size == 0:
        return "it is empty"
    if not record.trivial:
        return "it is a C++ object with a constructor, a destructor or virtual functions of its own"
    if record.kind == "union":
        return "unions aren't supported by ctypes"
    return _member_obstacle(interface, record)


def _member_obstacle(interface: Interface, record: Record) -> str | None:
    end = 0
    strictest = 1
    for field in record.fields:
        inner = interface.strip(field.type)
        size, align = _measure(interface, field.type)
        if field.bit_size is not None:
            return "it has bit-fields"
        if isinstance(inner, Array):
            while isinstance(inner, Array):
                inner = interface.strip(inner.element)
        if isinstance(inner, Unsupported):
            return f"its member {field.name!r} has a type that Python can't hold: {inner.reason}"
        if isinstance(inner, Record):
            reason = "it has a union in it" if inner.kind == "union" else _member_obstacle(interface, inner)
            if reason is not None:
                return reason
        if size == 0 or field.offset != _aligned(end, align):
            return "its members aren't placed as C places them by default (packed, over-aligned, or of no size)"
        end = field.offset + size
        strictest = max(strictest, align)
    if record.size != _aligned(end, strictest):
        return "its size isn't what its members need (packed, over-aligned, or with a base class)"
    return None


def _aligned(offset: int, align: int) -> int:
    return (offset + align - 1) // align * align


def _measure(interface: Interface, type_id: TypeId) -> tuple[int, int]:
    """Return the size and the natural alignment of a type."""
    match interface.strip(type_id):
        case Array(element, count):
            size, align = _measure(interface, element)
            return size * (count or 0), align
        case Record(_, _, size, fields):
            return size or 0, max((_measure(interface, field.type)[1] for field in fields), default=1)
        case Scalar(_, _, size):
            return size, size
        case Unsupported(_, size, _):
            return size or 0, 1
        case found:
            size = getattr(found, "size", 8)  # an enum has its own, a pointer that of an address
            return size, size
