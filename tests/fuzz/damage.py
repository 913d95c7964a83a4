"""Damages libraries.  What is made depends on the original, the seed and the number only."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.originals import Original

_HEADER, _SEGMENT, _SECTION = 64, 56, 64
_TABLES = {
    "dynamic": (".dynamic",),
    "relocations": (".rela.dyn", ".rela.plt", ".relr.dyn"),
    "symbols": (".dynsym", ".symtab"),
    "names": (".dynstr", ".strtab", ".shstrtab"),
    "versions": (".gnu.version", ".gnu.version_r", ".gnu.version_d"),
    "hash tables": (".gnu.hash", ".hash"),
    "notes": (".note.gnu.property", ".note.gnu.build-id"),
    "unwinding": (".eh_frame", ".eh_frame_hdr", ".gcc_except_table"),
    "debug entries": (".debug_info", ".debug_abbrev", ".debug_types"),
    "debug tables": (".debug_str", ".debug_line", ".debug_line_str"),
    "debug ranges": (".debug_rnglists", ".debug_ranges", ".debug_loclists", ".debug_aranges"),
    "lists of functions": (".init_array", ".fini_array", ".got", ".got.plt", ".data.rel.ro"),
}


class Part(NamedTuple):
    """A range of a file, in units of ``width`` bytes."""

    name: str
    at: int
    size: int
    width: int = 8


class Damaged(NamedTuple):
    """A damaged copy, and in words what was done to it."""

    data: bytes
    how: str


class _Plan:
    """Where the parts of an undamaged library are."""

    def __init__(self, data: bytes) -> None:
        self.program_at, self.sections_at = struct.unpack_from("<QQ", data, 32)
        self.segments, self.count, names = (
            struct.unpack_from("<H", data, 56)[0],
            *struct.unpack_from("<HH", data, 60),
        )
        rows = [struct.unpack_from("<IIQQQQIIQQ", data, self.sections_at + i * _SECTION) for i in range(self.count)]
        strings = rows[names][4]
        self.sections = [
            Part(data[strings + row[0] : data.index(b"\0", strings + row[0])].decode(), row[4], row[5])
            for row in rows
            if row[1] not in {0, 8} and row[5]  # SHT_NULL, SHT_NOBITS
        ]

    def named(self, names: tuple[str, ...]) -> list[Part]:
        return [part for part in self.sections if part.name in names]


def damage(original: Original, seed: int, index: int) -> Damaged:
    """Return the copy of an original that a seed and a number stand for."""
    dice = random.Random(f"{seed}:{index}:{original.name}")
    data, done = bytearray(original.data), []
    plan = _Plan(original.data)
    left = dice.choice((1, 1, 1, 2, 3))
    while left > 0 or data == original.data:  # some ways happen to change nothing
        left -= 1
        name = dice.choice(tuple(_WAYS))
        done.append(f"{name}: {_WAYS[name](data, original.data, plan, dice)}")
    return Damaged(bytes(data), "; ".join(done))


# ---- ways -----------------------------------------------------------------------------------------------------------


def _flip_bits(data: bytearray, _whole: bytes, _plan: _Plan, dice: random.Random) -> str:
    count = dice.choice((1, 1, 2, 8, 64))
    for _ in range(count if data else 0):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return f"{count}"


def _truncate(data: bytearray, _whole: bytes, plan: _Plan, dice: random.Random) -> str:
    edge = dice.choice(plan.sections)
    size = dice.choice((dice.randrange(len(data) + 1), edge.at, edge.at + edge.size - 1, dice.randrange(_HEADER + 1)))
    del data[size:]
    return f"to {size} bytes"


def _swap_sections(data: bytearray, whole: bytes, plan: _Plan, dice: random.Random) -> str:
    """Exchange two sections' contents, or what the section table says about them."""
    one, other = dice.sample(plan.sections, 2)
    if dice.random() < 0.5:
        size = min(one.size, other.size)
        data[one.at : one.at + size], data[other.at : other.at + size] = (
            whole[other.at : other.at + size],
            whole[one.at : one.at + size],
        )
        return f"contents of {one.name} and {other.name}"
    first, second = (plan.sections_at + dice.randrange(plan.count) * _SECTION for _ in range(2))
    data[first : first + _SECTION], data[second : second + _SECTION] = (
        whole[second : second + _SECTION],
        whole[first : first + _SECTION],
    )
    return f"headers at {first:#x} and {second:#x}"


def _blank(data: bytearray, _whole: bytes, plan: _Plan, dice: random.Random) -> str:
    """Overwrite a stretch, as a write that was interrupted leaves it."""
    part = dice.choice(plan.sections)
    at, size = part.at + dice.randrange(part.size), dice.choice((1, 8, 64, part.size))
    fill = dice.choice((b"\0", b"\xff", b"\x80", b"A"))
    data[at : at + size] = fill * len(data[at : at + size])
    return f"{size} bytes at {at:#x} ({part.name})"


def _randomise(data: bytearray, _whole: bytes, plan: _Plan, dice: random.Random) -> str:
    part = dice.choice(plan.sections)
    at, size = part.at + dice.randrange(part.size), dice.choice((1, 4, 16, 64))
    data[at : at + size] = dice.randbytes(len(data[at : at + size]))
    return f"{size} bytes at {at:#x} ({part.name})"


def _elf_header(data: bytearray, whole: bytes, _plan: _Plan, dice: random.Random) -> str:
    return _strike(data, whole, Part("ELF header", 0, _HEADER, 2), dice)


def _program_headers(data: bytearray, whole: bytes, plan: _Plan, dice: random.Random) -> str:
    return _strike(data, whole, Part("program headers", plan.program_at, plan.segments * _SEGMENT), dice)


def _section_headers(data: bytearray, whole: bytes, plan: _Plan, dice: random.Random) -> str:
    return _strike(data, whole, Part("section headers", plan.sections_at, plan.count * _SECTION), dice)


def _table(names: tuple[str, ...]) -> Callable[[bytearray, bytes, _Plan, random.Random], str]:
    def strike(data: bytearray, whole: bytes, plan: _Plan, dice: random.Random) -> str:
        parts = plan.named(names)
        return _strike(data, whole, dice.choice(parts or plan.sections), dice)

    return strike


def _strike(data: bytearray, whole: bytes, part: Part, dice: random.Random) -> str:
    """Change some words of a table; the new values are such as tables have."""
    told = []
    for _ in range(dice.choice((1, 1, 2, 4))):
        width = dice.choice((1, 2, 4, 8, 8))
        at = part.at + dice.randrange(max(1, part.size // width)) * width
        old = int.from_bytes(whole[at : at + width], "little")
        new = _wild(whole, part, old, dice) & ((1 << 8 * width) - 1)
        if at + width <= len(data):
            data[at : at + width] = new.to_bytes(width, "little")
            told.append(f"{at:#x}={new:#x}")
    return f"{part.name} {' '.join(told)}"


def _wild(whole: bytes, part: Part, old: int, dice: random.Random) -> int:
    match dice.randrange(9):
        case 0:
            return 0
        case 1:
            return (1 << dice.randrange(65)) - 1
        case 2:
            return 1 << dice.randrange(64)
        case 3:
            return old + dice.randrange(64)
        case 4:
            return max(0, old - dice.randrange(64))
        case 5:
            return old ^ 1 << dice.randrange(64)
        case 6:
            at = part.at + dice.randrange(max(1, part.size // 8)) * 8
            return int.from_bytes(whole[at : at + 8], "little")
        case 7:
            return dice.randrange(len(whole))
        case _:
            return dice.getrandbits(64)


_WAYS: dict[str, Callable[[bytearray, bytes, _Plan, random.Random], str]] = {
    "flipped bits": _flip_bits,
    "truncated": _truncate,
    "swapped sections": _swap_sections,
    "blanked": _blank,
    "randomised": _randomise,
    "ELF header": _elf_header,
    "program headers": _program_headers,
    "section headers": _section_headers,
    **{name: _table(sections) for name, sections in _TABLES.items()},
}
