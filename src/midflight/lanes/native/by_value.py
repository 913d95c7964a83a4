"""Calls with a struct by value: through ctypes, inside the same counting as every call.

Numbers and pointers are converted by the binding, by the same rules as in all other calls; ctypes only places them.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from midflight._errors import ArgumentTypeError
from midflight.artifact.interface import Pointer, Record, Void

if TYPE_CHECKING:
    from midflight._core import Binding, Table
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Function, Interface, TypeId


class ByValueCall:
    """One function at one address.  ``binding`` and ``table`` are set before the first call."""

    binding: Binding
    table: Table

    def __init__(
        self, interface: Interface, types: CTypes, function: Function, address: int, *, hold_gil: bool
    ) -> None:
        self._interface = interface
        self._types = types
        self._function = function
        prototype = ctypes.PYFUNCTYPE if hold_gil else ctypes.CFUNCTYPE
        arguments = [self._passed_as(param.type) for param in function.params]
        self._call = prototype(self._passed_as(function.result), *arguments)(address)

    def __call__(self, *values: object) -> Any:
        """Convert, call, convert back.  Raises as any call does."""
        kept = []
        passed = []
        for index, value in enumerate(values):
            if isinstance(self._interface.strip(self._function.params[index].type), Record):
                passed.append(self._struct(index, value))
                continue
            raw, keep = self.binding.convert(index, value)
            passed.append(raw)
            kept.append(keep)
        result = self._call(*passed)
        match self._interface.strip(self._function.result):
            case Pointer():
                return self.binding.result_from(self.table, result or 0)
            case _:
                return result

    def _passed_as(self, type_id: TypeId) -> Any:
        match self._interface.strip(type_id):
            case Void():
                return None
            case Pointer():
                return ctypes.c_void_p
            case _:
                return self._types.of(type_id)

    def _struct(self, index: int, value: object) -> object:
        param = self._function.params[index]
        wanted: Any = self._types.of(param.type)
        if isinstance(value, wanted):
            return value
        if wanted._midflight_matches(type(value)):  # noqa: SLF001 - our own classes
            return wanted.from_buffer_copy(value)
        spelled = self._interface.spell(param.type)
        what = f"parameter {param.name!r} is {spelled}, and {type(value).__name__} can't be passed to it"
        todo = f"make one with midflight.types(module).{wanted.__name__}(...)"
        raise ArgumentTypeError(what, subject=self._function.qualified, todo=todo)
