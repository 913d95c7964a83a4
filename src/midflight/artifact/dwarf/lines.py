"""File names from the headers of .debug_line, for "declared in file:line"."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from midflight.artifact.dwarf.constants import At, Form
from midflight.artifact.dwarf.forms import DwarfError, read_form, read_uleb

if TYPE_CHECKING:
    from midflight.artifact.dwarf.entries import Entry, Unit
    from midflight.artifact.dwarf.forms import Value

_PATH, _DIRECTORY = 1, 2
_MOST_FILES = 1 << 16
_NEWEST = 5


class FileNames:
    """The files that entries were declared in."""

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], list[str]] = {}

    def place(self, entry: Entry) -> str:
        """Return ``file:line`` of an entry's declaration, "" where it isn't said."""
        line, index = entry.number(At.DECL_LINE), entry.number(At.DECL_FILE)
        if not line:
            return ""
        name = self.file(entry.unit, index or 0)
        return f"{name}:{line}" if name else ""

    def file(self, unit: Unit, index: int) -> str:
        """Return the path of a unit's file with a number, as the compiler was given it."""
        start = unit.top.number(At.STMT_LIST)
        if start is None:
            return unit.top.name
        key = (start, unit.offset)
        if key not in self._tables:
            try:
                self._tables[key] = _read(unit, start)
            except (DwarfError, struct.error, IndexError, ValueError):
                self._tables[key] = []
        table = self._tables[key]
        return table[index] if 0 <= index < len(table) else unit.top.name


def _read(unit: Unit, at: int) -> list[str]:
    data = unit.debug.section(".debug_line")
    length, at = struct.unpack_from("<I", data, at)[0], at + 4
    wide = length == 0xFFFFFFFF  # noqa: PLR2004 - the mark of the 64-bit format
    if wide:
        at += 8
    version = struct.unpack_from("<H", data, at)[0]
    at += 2 + (2 if version >= _NEWEST else 0) + (8 if wide else 4)
    at += 1 + (1 if version >= 4 else 0) + 3  # noqa: PLR2004 - operations per instruction came with version 4
    at += data[at]  # the opcodes' lengths: one byte for each but opcode 0, after the byte that counts them
    return _table_5(unit, data, at) if version >= _NEWEST else _table_2(unit, data, at)


def _table_5(unit: Unit, data: bytes, at: int) -> list[str]:
    directories, at = _entries(unit, data, at)
    files, _ = _entries(unit, data, at)
    names = [str(row.get(_PATH, "")) for row in directories]
    found = []
    for row in files:
        index = row.get(_DIRECTORY, 0)
        directory = names[index] if isinstance(index, int) and 0 < index < len(names) else ""
        found.append(_joined(unit, directory, str(row.get(_PATH, ""))))
    return found


def _entries(unit: Unit, data: bytes, at: int) -> tuple[list[dict[int, str | int]], int]:
    count, at = data[at], at + 1
    formats = []
    for _ in range(count):
        kind, at = read_uleb(data, at)
        form, at = read_uleb(data, at)
        formats.append((kind, form))
    rows, at = read_uleb(data, at)
    found: list[dict[int, str | int]] = []
    for _ in range(min(rows, _MOST_FILES)):
        row: dict[int, str | int] = {}
        for kind, form in formats:
            value, at = read_form(data, unit.width(form), at)
            row[kind] = _plain(unit, form, value)
        if at > len(data):
            break
        found.append(row)
    return found, at


def _plain(unit: Unit, form: int, value: Value) -> str | int:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if form == Form.STRING else ""
    if form in {Form.STRP, Form.LINE_STRP}:
        return unit.string(form, value)
    return value


def _table_2(unit: Unit, data: bytes, at: int) -> list[str]:
    directories = [""]
    while data[at]:
        end = data.index(b"\0", at)
        directories.append(data[at:end].decode("utf-8", "replace"))
        at = end + 1
    at += 1
    found = [unit.top.name]
    while data[at] and len(found) < _MOST_FILES:
        end = data.index(b"\0", at)
        name = data[at:end].decode("utf-8", "replace")
        index, at = read_uleb(data, end + 1)
        _, at = read_uleb(data, at)
        _, at = read_uleb(data, at)
        found.append(_joined(unit, directories[index] if index < len(directories) else "", name))
    return found


def _joined(unit: Unit, directory: str, name: str) -> str:
    """Join a file's name to its directory; the unit's own file keeps the name that the compiler was given."""
    own = unit.top.name
    if not directory or name.startswith("/"):
        return own if own.endswith(f"/{name}") else name
    path = f"{directory}/{name}"
    return own if own.endswith(path) or path.endswith(f"/{own}") else path
