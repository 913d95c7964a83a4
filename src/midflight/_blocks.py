"""Typed blocks as Python sees them: those that a library has made, and those that Python makes for it.

Guarantees:
- A view of a block never dangles: its memory isn't used for anything else until the last view of it is gone, also when
  the library has freed the block, or a swap has moved it to another layout.
- A `Block` that Python has made keeps its block alive, and follows it through swaps.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from midflight import _core
from midflight._control import generation_of
from midflight._errors import ArgumentTypeError, MidflightError, UnloadedError, UnsupportedFunctionError
from midflight._lane import heap_of
from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.dtypes import dtype_of
from midflight.artifact.interface import Array, Record
from midflight.artifact.layout import align_of, size_of
from midflight.artifact.type_names import canonical, find_type

if TYPE_CHECKING:
    from types import ModuleType

    from midflight._control import Control, Generation
    from midflight._heaps import Heaps
    from midflight.artifact.interface import Interface, TypeId
    from midflight.artifact.type_names import Named

_PYTHON = 0
"""The owner of blocks that no version has made."""


class Kind(NamedTuple):
    """What a block consists of: the core's description of it."""

    name: str
    size: int
    align: int
    tail: str | None = None
    tail_offset: int = 0
    tail_size: int = 0


class Layout:
    """The types of one version, for looking at blocks.  Keeps nothing of the version's code."""

    def __init__(self, generation: Generation) -> None:
        code = generation.code
        if code is None:
            raise UnloadedError(
                "this version has been unloaded", subject=generation.version.source, todo="load it again"
            )
        self.interface = generation.interface
        self._ctypes = code.ctypes
        self._known: dict[Kind, Named | None] = {}

    def named(self, kind: Kind) -> Named | None:
        """Return the type of a block's elements; None where the version has none of that name and size."""
        if kind not in self._known:
            found = find_type(self.interface, kind.name)
            if found is not None and size_of(found.interface.types, found.type_id) != kind.size:
                found = None
            self._known[kind] = found
        return self._known[kind]

    def ctype(self, found: Named) -> Any:
        """Return the ctypes class of a type."""
        types = self._ctypes if found.interface is self.interface else CTypes(found.interface)
        return types.of(found.type_id)


class Block(_core.Block):
    """A typed block: ``count`` elements of a ``type``.

    It can be passed where a pointer to that type is expected; a worker process gets it without a copy.  What Python has
    made is freed with its object; what a library has made, by the library.
    """

    def __init__(self, heaps: Heaps, heap: _core.Heap, layout: Layout, kind: Kind, facts: _core.BlockFacts) -> None:
        """Call `midflight.new` or `midflight.blocks` instead."""
        self._heaps = heaps
        self.moved(heap, facts, layout, kind)
        if facts[3] == _PYTHON:
            heaps.owned[self.address] = self

    def moved(self, heap: _core.Heap, facts: _core.BlockFacts, layout: Layout, kind: Kind) -> None:
        """Take note that it is elsewhere, or of another type.

        The caller sees to the block that was there before, and says this when the new version is current, before any
        call enters it.
        """
        before = self.address
        found = layout.named(kind)
        target = canonical(found.interface, found.type_id) if found is not None else kind.name
        record = found is not None and isinstance(found.interface.strip(found.type_id), Record)
        ctype = layout.ctype(found) if record and found is not None else None
        self._view = layout, kind
        self._place(heap, facts[0], facts[4], kind.name, target, ctype)
        if self._heaps.owned.pop(before, None) is self:
            self._heaps.owned[self.address] = self

    @property
    def kind(self) -> Kind:
        """What it consists of."""
        return self._view[1]

    @property
    def count(self) -> int:
        """The number of elements; 1 for a struct with a flexible array."""
        return 1 if self.kind.tail else self._facts()[2]

    @property
    def version(self) -> int | None:
        """The number of the version that has made it; None: Python has."""
        return self._facts()[3] or None

    @property
    def freed(self) -> bool:
        """Whether the library has freed it."""
        return self._found() is None

    @property
    def memory(self) -> memoryview:
        """Its bytes, to read and to write."""
        return self._hold()

    @property
    def array(self) -> Any:
        """Its elements as a numpy array (a structured one for a struct) that is the memory itself.

        Where numpy isn't installed, a ctypes array.
        """
        layout, kind = self._view
        memory = self._hold()
        found = layout.named(kind)
        count = 1 if kind.tail else memory.nbytes // kind.size if kind.size else 0
        return _array(layout, found, kind.size, memory, count, 0)

    @property
    def tail(self) -> Any:
        """The elements of a flexible array at its end, as ``array``."""
        layout, kind = self._view
        if kind.tail is None:
            raise ArgumentTypeError("it has no flexible array", subject=kind.name, todo="make it with tail=")
        memory = self._hold()
        count = (memory.nbytes - kind.tail_offset) // kind.tail_size
        count = min(count, self._facts()[2])
        return _array(layout, _tail_type(layout, kind), kind.tail_size, memory, count, kind.tail_offset)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        facts = self._found()
        if facts is None:
            return f"<block of {self.type}, freed>"
        tail = f" with {facts[2]} {self.kind.tail}" if self.kind.tail else ""
        return f"<block of {self.count} {self.type}{tail} at {self.address:#x}>"

    def __del__(self) -> None:
        """Nothing refers to it any more: if it is Python's, free it."""
        heaps = getattr(self, "_heaps", None)
        if heaps is None or self.heap is None or sys.is_finalizing():
            return
        facts = self._found()
        if facts is not None and facts[3] == _PYTHON:
            heaps.drop(self.heap, self.address)

    def _found(self) -> _core.BlockFacts | None:
        facts = self.heap.find(self.address) if self.heap is not None else None
        return facts if facts is not None and (facts[0], facts[4]) == (self.address, self.serial) else None

    def _facts(self) -> _core.BlockFacts:
        facts = self._found()
        if facts is None:
            raise self._gone()
        return facts

    def _hold(self) -> memoryview:
        """Keep its memory for a view."""
        if self.heap is None:
            raise self._gone()
        try:
            return memoryview(cast("Any", self.heap.view(self.address, self.serial)))
        except LookupError:
            raise self._gone() from None

    def _gone(self) -> MidflightError:
        return MidflightError(f"the block of {self.type} has been freed", todo="ask midflight.blocks which there are")


def _array(layout: Layout, found: Named | None, size: int, memory: memoryview, count: int, offset: int) -> Any:
    try:
        import numpy as np  # noqa: PLC0415 - not needed by those who don't look at arrays
    except ImportError:
        ctype = layout.ctype(found) if found is not None else ctypes.c_uint8 * size
        return (ctype * count).from_buffer(memory, offset)
    dtype = dtype_of(found.interface, found.type_id) if found is not None else np.dtype(f"V{size}")
    if count * dtype.itemsize == 0:
        return np.zeros(count, dtype)
    return np.ndarray((count,), dtype, buffer=memory, offset=offset)


def _tail_type(layout: Layout, kind: Kind) -> Named | None:
    """Return the type of a flexible array's elements."""
    found = layout.named(kind)
    record = found.interface.strip(found.type_id) if found is not None else None
    if found is None or not isinstance(record, Record):
        return None
    for field in record.fields:
        array = found.interface.strip(field.type)
        if field.name == kind.tail and isinstance(array, Array):
            return found._replace(type_id=array.element)
    return None


# ---- all of a module's -----------------------------------------------------------------------------------------------


def blocks(module: ModuleType) -> list[Block]:
    """Return the typed blocks of a module: those that its versions have made (by MF_NEW), and Python's own.

    A block that the library frees afterwards can't be looked at any more; arrays that were taken from it stay as they
    are.
    """
    control, generation = generation_of(module)
    control.heaps.tidy()
    layout = Layout(generation)
    return [block for heap in control.heaps.existing() for block in _blocks(control, heap, layout)]


def _blocks(control: Control, heap: _core.Heap, layout: Layout) -> list[Block]:
    found = heap.blocks()
    kinds = [Kind(*kind) if kind is not None else None for kind in heap.types()]
    result = []
    for facts in found:
        kind = kinds[facts[1]]
        own = control.heaps.owned.get(facts[0]) if facts[3] == _PYTHON else None
        if own is not None and own.serial == facts[4]:
            result.append(own)
        elif kind is not None and facts[3] != _PYTHON:
            result.append(Block(control.heaps, heap, layout, kind, facts))
    return result


def new(module: ModuleType, type: str, count: int = 1, *, tail: int | None = None) -> Block:  # noqa: A002 - what C calls it
    """Make a typed block of zeroes for a module's functions to use.

    It lives as long as the object that is returned, and survives swaps: where a new version has another layout for its
    type, it is migrated, and the object follows.

    Args:
        module: what `load` returned.
        type: as C writes it, one that the current version has: ``"struct player"``, ``"double"``.
        count: how many elements.
        tail: for a struct that ends in a flexible array: how many elements that has; ``count`` is 1 then.

    Raises:
        ArgumentTypeError: there is no such type, or it has no size.
        UnsupportedFunctionError: the module isn't native code of this machine's.
        MemoryError: the system has no room.
    """
    control, generation = generation_of(module)
    layout = Layout(generation)
    heap = heap_of(generation.code) if generation.code is not None else None
    if heap is None:
        what = f"typed blocks are for native libraries, and this module runs in the lane {generation.version.lane!r}"
        raise UnsupportedFunctionError(what, subject=control.name, todo="use Python's own objects")
    control.heaps.tidy()
    kind = _kind(control, layout.interface, type, flexible=tail is not None)
    if count < 0 or (tail is not None and (count != 1 or tail < 0)):
        what = f"there can't be {count} elements, {tail} in its flexible array"
        raise ArgumentTypeError(what, subject=type, todo="give count=, or tail= for one that ends in a flexible array")
    facts = heap.make(kind, count if tail is None else tail, _PYTHON)
    return Block(control.heaps, heap, layout, kind, facts)


def _kind(control: Control, interface: Interface, name: str, *, flexible: bool) -> Kind:
    found = find_type(interface, name)
    size = size_of(found.interface.types, found.type_id) if found is not None else None
    if found is None or not size:
        why = "has no size" if found is not None else "isn't a type of the current version"
        todo = "write it as in C, and build the library with -g; midflight.types(module) lists structs"
        raise ArgumentTypeError(f"{name!r} {why}", subject=control.name, todo=todo)
    kind = Kind(" ".join(name.split()), size, align_of(found.interface.types, found.type_id))
    return _flexible(found.interface, found.type_id, kind) if flexible else kind


def _flexible(interface: Interface, type_id: TypeId, kind: Kind) -> Kind:
    record = interface.strip(type_id)
    last = record.fields[-1] if isinstance(record, Record) and record.fields else None
    array = interface.strip(last.type) if last is not None else None
    size = size_of(interface.types, array.element) if isinstance(array, Array) and not array.count else None
    if last is None or not size:
        raise ArgumentTypeError("it doesn't end in a flexible array", subject=kind.name, todo="leave tail= out")
    return kind._replace(tail=last.name, tail_offset=last.offset, tail_size=size)
