"""Where an address of the old image is in the new one: the same function, variable, vtable or text.

All addresses are link-time ones.  What isn't found, or not without doubt, has no translation:

- A function, by its symbol: only its start.  One that is private to a file by file and name, or by name alone where
  that is the only one.
- A variable, by its key, also at an offset, as far as the bytes there stay together.  One past its end is its new end,
  unless something else begins there.
- Any other object (vtables, typeinfo, tables without debug information) by its symbol; at an offset only where its
  size is the same, or it is a vtable, which grows at its end.
- A text in read-only data, by what it says.  Linkers make one text the end of another; so an address in the middle of
  one is first looked for within the same whole text, and then as a text of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from midflight.artifact.elf import Elf
from midflight.artifact.layout import size_of
from midflight.artifact.symbol_table import Name, read_names
from midflight.state.match import key_of
from midflight.state.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.interface import Interface, Variable
    from midflight.state.layout import Layouts
    from midflight.state.match import Matches

_SHOWN = 40
_VTABLE = ("_ZTV", "_ZTT")


class Symbols:
    """What lies where in one library."""

    def __init__(self, data: bytes, interface: Interface) -> None:
        elf = Elf(data)
        self.texts = Texts(elf)
        self._names = read_names(elf)
        self._functions: dict[int, list[Name]] = {}
        self._addresses: dict[tuple[bool, str, str], set[int]] = {}
        self._alone: dict[tuple[bool, str], set[int]] = {}
        objects = []
        for name in self._names:
            if name.is_function:
                self._functions.setdefault(name.address, []).append(name)
            elif name.size:
                objects.append(name)
            self._addresses.setdefault((name.is_function, name.name, name.file), set()).add(name.address)
            self._alone.setdefault((name.is_function, name.name), set()).add(name.address)
        self._objects = sorted(objects, key=lambda one: one.address)
        self._starts = [one.address for one in self._objects]
        self._sizes = {(one.name, one.address): one.size for one in self._names}
        placed = [one for one in interface.variables if one.address is not None]
        self._variables = sorted(placed, key=lambda one: one.address or 0)
        self._variable_starts = [one.address or 0 for one in self._variables]
        self._types = interface.types
        self._qualified = {one.symbol: one.qualified for one in interface.functions}

    def functions(self, address: int) -> list[Name]:
        """Return the functions that begin at an address: one may have several names."""
        return self._functions.get(address, [])

    def variable(self, address: int) -> tuple[Variable, int] | None:
        """Return the variable that an address lies in, and how far into it."""
        index = bisect_right(self._variable_starts, address) - 1
        if index < 0:
            return None
        found, offset = self._variables[index], address - self._variable_starts[index]
        return (found, offset) if offset < self._size(found) or not offset else None

    def ends_at(self, address: int) -> Variable | None:
        """Return the variable that ends at an address where nothing else begins."""
        if self.variable(address) is not None or any(True for _ in self.objects(address)):
            return None
        index = bisect_right(self._variable_starts, address) - 1
        if index < 0 or address - self._variable_starts[index] != self._size(self._variables[index]):
            return None
        return self._variables[index]

    def _size(self, variable: Variable) -> int:
        return size_of(self._types, variable.type) or 0

    def objects(self, address: int) -> Iterator[tuple[Name, int]]:
        """Return the objects that an address lies in, and how far into them."""
        index = bisect_right(self._starts, address)
        nearest = self._starts[index - 1] if index else 0
        while index and self._starts[index - 1] == nearest:
            index -= 1
            found = self._objects[index]
            if address - found.address < found.size:
                yield found, address - found.address

    def find(self, name: Name) -> int | None:
        """Return where a symbol of another version is in this one."""
        places = self._addresses.get((name.is_function, name.name, name.file))
        if places is None:
            places = self._alone.get((name.is_function, name.name), set())
        return next(iter(places)) if len(places) == 1 else None

    def guard(self, address: int) -> int | None:
        """Return where C++ notes whether a static variable has been initialised; None for one that has no such note.

        By the names of the Itanium C++ ABI, 5.1.4.4.
        """
        for name, offset in self.objects(address):
            if not offset and name.name.startswith("_Z"):
                return self.find(Name(f"_ZGV{name.name[2:]}", name.file, 0, 0, is_function=False))
        return None

    def size(self, name: str, address: int) -> int:
        """Return how long a symbol's object is."""
        return self._sizes.get((name, address), 0)

    def name(self, address: int) -> str:
        """Return what lies at an address, for a message: ``the function tick``, ``the variable speed + 8``."""
        for function in self.functions(address):
            return f"the function {self._qualified.get(function.name, function.name)}"
        found = self.variable(address)
        if found is not None:
            return _offset(f"the variable {found[0].name}", found[1])
        for one, offset in self.objects(address):
            kind = "the vtable" if one.name.startswith(_VTABLE) else "the object"
            return _offset(f"{kind} {one.name}", offset)
        text = self.texts.at(address)
        if text:
            shown = text.decode()
            return f'the text "{shown[:_SHOWN]}{"…" if len(shown) > _SHOWN else ""}"'
        return f"address {address:#x} of the library"


class Translation:
    """From addresses of an old version to those of a new one."""

    def __init__(self, old: Symbols, new: Symbols, layouts: Layouts, matches: Matches) -> None:
        self._old = old
        self._new = new
        self._layouts = layouts
        self._pairs = {key_of(before): after for before, after in matches.pairs}

    def translate(self, address: int) -> int | None:
        """Return where what lies at an old address is in the new version; None where that can't be said."""
        functions = self._old.functions(address)
        if functions:
            return _agreed({self._new.find(name) for name in functions})
        variable = self._old.variable(address)
        if variable is not None:
            return self._variable(*variable)
        objects = list(self._old.objects(address))
        if objects:
            return _agreed({self._object(name, offset) for name, offset in objects})
        text = self._old.texts.at(address)
        if text is not None:
            return self._text(text, address)
        ended = self._old.ends_at(address)
        return None if ended is None else self._variable(ended, address - (ended.address or 0))

    def _variable(self, old: Variable, offset: int) -> int | None:
        new = self._pairs.get(key_of(old))
        if new is None or new.address is None:
            return None
        if not offset:
            return new.address
        migration = self._layouts.migration(old.type, new.type)
        place = None if migration.refusals else migration.place(offset)
        return None if place is None else new.address + place

    def _object(self, name: Name, offset: int) -> int | None:
        address = self._new.find(name)
        if address is None or not offset:
            return address
        size = self._new.size(name.name, address)
        grows = name.name.startswith(_VTABLE)
        return address + offset if offset < size and (grows or size == name.size) else None

    def _text(self, text: bytes, address: int) -> int | None:
        around = self._old.texts.around(address)
        if around is not None and around[1]:
            whole = self._new.texts.find(around[0])
            if whole is not None:
                return whole + around[1]
        return self._new.texts.find(text)


def _agreed(places: set[int | None]) -> int | None:
    """Return the one place that several names lead to; names that are gone don't count."""
    known = places - {None}
    return known.pop() if len(known) == 1 else None


def _offset(what: str, offset: int) -> str:
    return f"{what} + {offset}" if offset else what
