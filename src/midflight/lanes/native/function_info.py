"""What is known of a function besides how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from midflight.artifact import stub

if TYPE_CHECKING:
    import inspect

    from midflight.artifact.interface import Function, Interface


@dataclass(eq=False)
class FunctionInfo:
    """What help() and completion show of a function; made when it is first asked for."""

    interface: Interface
    function: Function

    @cached_property
    def doc(self) -> str:
        """The docstring."""
        return stub.docstring(self.interface, self.function)

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature."""
        return stub.signature(self.interface, self.function)
