"""Where a library has crashed: from addresses to functions, files and lines.

The line numbers are read by pyelftools, which is slow and thorough: it is imported only when something has crashed.
"""

from __future__ import annotations

import ctypes
import io
import re
from contextlib import suppress
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_FRAMES = 32
_LONG_NAME = 100
_OPERATORS = ("operator", "operator<", "operator(")
# What compilers add to the names of parts and copies that they make.
_ADDED = re.compile(r"\.(?:cold|localalias|(?:constprop|isra|part|llvm|lto_priv)\.\d+)(?=\.|$)")


def backtrace(data: bytes, image: tuple[int, int, int], frames: Sequence[int]) -> tuple[str, ...]:
    """Return the frames of a crash that lie in a library, innermost first: ``function (file:line)``.

    ``data``: its bytes; ``image``: its base, lowest and highest address; ``frames``: as in a `_core.Crash`.
    """
    base, low, high = image
    # All but the first are where a call returns to: the call itself is before that.
    inside = [address - base - (index > 0) for index, address in enumerate(frames) if low <= address < high]
    if not inside:
        return ()
    try:
        return tuple(_shortened(_Reader(data).describe(inside)))
    except Exception:  # noqa: BLE001 - damaged debug information must not hide the crash
        return tuple(f"{address:#x}" for address in inside)


def _shortened(frames: Iterator[str]) -> Iterator[str]:
    """Say once what comes again and again: a function that has used up its stack."""
    for frame, same in groupby(frames):
        count = sum(1 for _ in same)
        yield frame if count == 1 else f"{frame}, {count} times"


class _Reader:
    """Reads a library's symbols and line numbers."""

    def __init__(self, data: bytes) -> None:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - see above

        self._known: dict[int, str] = {}
        self._elf = ELFFile(io.BytesIO(data))
        self._dwarf: Any = self._elf.get_dwarf_info() if self._elf.has_dwarf_info() else None

    def describe(self, addresses: list[int]) -> Iterator[str]:
        for place in addresses[:_MOST_FRAMES]:
            if place not in self._known:
                name, line = self._function(place) or hex(place), self._line(place)
                self._known[place] = f"{name} ({line})" if line else name
            yield self._known[place]

    def _function(self, address: int) -> str:
        for section in (".symtab", ".dynsym"):
            table: Any = self._elf.get_section_by_name(section)
            for symbol in table.iter_symbols() if table is not None else ():
                start = symbol["st_value"]
                if symbol["st_info"]["type"] == "STT_FUNC" and start <= address < start + max(1, symbol["st_size"]):
                    return _readable(str(symbol.name))
        return ""

    def _units(self, address: int) -> Iterator[Any]:
        if self._dwarf is None:
            return
        table = self._dwarf.get_aranges()
        unit = table.cu_offset_at_addr(address) if table is not None else None
        if unit is None:
            yield from self._dwarf.iter_CUs()
        else:
            yield self._dwarf.get_CU_at(unit)

    def _line(self, address: int) -> str:
        for unit in self._units(address):
            program: Any = self._dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            before: Any = None
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if before is not None and not before.end_sequence and before.address <= address < state.address:
                    return f"{_file(program, before.file)}:{before.line}"
                before = state
        return ""


def _file(program: Any, number: int) -> str:
    index = number if program.header.version >= 5 else number - 1  # noqa: PLR2004 - DWARF 5 counts from 0
    return PurePath(program["file_entry"][index].name.decode("utf-8", "replace")).name


def _readable(symbol: str) -> str:
    """Return a symbol as it is written in its source, as far as that can be told."""
    name = _ADDED.sub("", symbol)
    if not name.startswith("_Z"):
        return name
    with suppress(OSError, AttributeError):
        demangle = ctypes.CDLL("libstdc++.so.6")["__cxa_demangle"]
        demangle.restype = ctypes.c_void_p
        status = ctypes.c_int()
        text = demangle(name.encode(), None, None, ctypes.byref(status))
        if text:
            return _without_arguments(ctypes.string_at(text).decode("utf-8", "replace"))
    return name


def _without_arguments(name: str) -> str:
    """Leave out of a long C++ name what its templates are made with, then its parameters; cut what is still long."""
    for brackets in ("<>", "()"):
        if len(name) > _LONG_NAME:
            name = _emptied(name, *brackets)
    return name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}…"


def _emptied(name: str, opening: str, closing: str) -> str:
    kept, depth = "", 0
    for letter in name:
        inside = depth
        if letter == opening and not kept.endswith(_OPERATORS):
            depth += 1
        elif letter == closing and depth > 0:
            depth -= 1
        if inside == 0 or depth == 0:
            kept += f"{letter}…" if depth > inside else letter
    return kept
