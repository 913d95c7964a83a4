"""How values and entries are stored: the widths of forms, variable-length numbers, and abbreviations.

An abbreviation is the shape that many entries share; from its forms follows how to step over such an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from midflight.artifact.dwarf.constants import Form

if TYPE_CHECKING:
    from collections.abc import Callable

Value: TypeAlias = "int | bytes"

# These need to match native/dies.h.
LEB, STRING, _BLOCK1, _BLOCK2, _BLOCK4, _BLOCK, INDIRECT, SIGNED_LEB = -1, -2, -3, -4, -5, -6, -7, -8
_LONGEST_LEB = 10
_OLDEST = 2

_WIDTHS = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, Form.REF1: 1, Form.REF2: 2, Form.REF4: 4, Form.REF8: 8,
    Form.FLAG_PRESENT: 0, Form.DATA16: 16, Form.REF_SIG8: 8, Form.IMPLICIT_CONST: 0,
    Form.STRX1: 1, Form.STRX2: 2, Form.STRX3: 3, Form.STRX4: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
    0x1C: 4, 0x24: 8,
    Form.SDATA: SIGNED_LEB, Form.UDATA: LEB, Form.REF_UDATA: LEB, Form.STRX: LEB, Form.ADDRX: LEB,
    Form.LOCLISTX: LEB, Form.RNGLISTX: LEB, Form.GNU_ADDR_INDEX: LEB, Form.GNU_STR_INDEX: LEB,
    Form.STRING: STRING, Form.BLOCK1: _BLOCK1, Form.BLOCK2: _BLOCK2, Form.BLOCK4: _BLOCK4,
    Form.BLOCK: _BLOCK, Form.EXPRLOC: _BLOCK, Form.INDIRECT: INDIRECT,
}  # fmt: skip
_OFFSET_FORMS = frozenset({
    Form.STRP, Form.LINE_STRP, Form.SEC_OFFSET, Form.STRP_SUP, Form.GNU_REF_ALT, Form.GNU_STRP_ALT,
})  # fmt: skip


class DwarfError(Exception):
    """The debug information is damaged, or of a kind that isn't read."""


Specs: TypeAlias = "tuple[tuple[int, int, int, int], ...]"
"""Of each attribute: its number, its form, that form's width, and the value where the form says it."""


class Abbreviation:
    """The shape of an entry: its tag, whether it has children, and its attributes' forms."""

    __slots__ = ("children", "forms", "indirect", "specs", "tag")

    def __init__(self, tag: int, children: bool, specs: Specs) -> None:  # noqa: FBT001
        self.tag = tag
        self.children = children
        self.specs = specs
        self.forms = {attribute: form for attribute, form, _, _ in specs}
        self.indirect = Form.INDIRECT in self.forms.values()


Known: TypeAlias = dict[tuple[int, bool, Specs], Abbreviation]


def form_width(form: int, version: int, address_size: int, offset_size: int) -> int:
    """Return a form's width in bytes, or the negative number of a way to find it out."""
    if form == Form.ADDR:
        return address_size
    if form in _OFFSET_FORMS:
        return offset_size
    if form == Form.REF_ADDR:
        return address_size if version == _OLDEST else offset_size
    width = _WIDTHS.get(form)
    if width is None:
        msg = f"form {form:#x} isn't known"
        raise DwarfError(msg)
    return width


def read_abbreviations(data: bytes, at: int, width: Callable[[int], int], known: Known) -> dict[int, Abbreviation]:
    """Read the table of abbreviations at an offset; ``width`` gives the width of a form.

    Units have tables of their own that hold the same shapes over and over: ``known`` keeps one of each.
    """
    found: dict[int, Abbreviation] = {}
    while True:
        code, at = read_uleb(data, at)
        if not code:
            return found
        tag, at = read_uleb(data, at)
        children = data[at] == 1
        at += 1
        specs: list[tuple[int, int, int, int]] = []
        while True:
            attribute, at = read_uleb(data, at)
            form, at = read_uleb(data, at)
            if not attribute and not form:
                break
            implicit = 1
            if form == Form.IMPLICIT_CONST:
                implicit, at = read_sleb(data, at)
            specs.append((attribute, form, width(form), implicit))
        shape = (tag, children, tuple(specs))
        if shape not in known:
            known[shape] = Abbreviation(*shape)
        found[code] = known[shape]


def read_uleb(data: bytes, at: int) -> tuple[int, int]:
    """Return the unsigned LEB128 number at an offset, and the offset behind it."""
    value = data[at]
    at += 1
    if value < 0x80:  # noqa: PLR2004 - the continuation bit
        return value, at
    value &= 0x7F
    for shift in range(7, 7 * _LONGEST_LEB, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, at
    msg = "a number is too long"
    raise DwarfError(msg)


def read_sleb(data: bytes, at: int) -> tuple[int, int]:
    """Return the signed LEB128 number at an offset, and the offset behind it."""
    value, end = read_uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if value >> (bits - 1) else value), end


def read_block(data: bytes, width: int, at: int) -> tuple[int, int]:
    """Return where the contents of a block at an offset start and end."""
    if width == _BLOCK:
        size, at = read_uleb(data, at)
    else:
        count = {_BLOCK1: 1, _BLOCK2: 2, _BLOCK4: 4}[width]
        size, at = int.from_bytes(data[at : at + count], "little"), at + count
    if at + size > len(data):
        msg = "a block lies outside its section"
        raise DwarfError(msg)
    return at, at + size


def read_form(data: bytes, width: int, at: int) -> tuple[Value, int]:
    """Return the value that a form of a width has at an offset of a section, and the offset behind it."""
    if width >= 0:
        return int.from_bytes(data[at : at + width], "little") if width else 1, at + width
    if width == LEB:
        return read_uleb(data, at)
    if width == SIGNED_LEB:
        return read_sleb(data, at)
    if width == STRING:
        end = data.index(b"\0", at)
        return data[at:end], end + 1
    if width == INDIRECT:
        msg = "a form is indirect where none can be"
        raise DwarfError(msg)
    start, end = read_block(data, width, at)
    return data[start:end], end
