"""How a library was hardened by those who built it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from midflight.artifact import dynamic
from midflight.artifact.dynamic import Tag
from midflight.inspection.model import Hardening

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from midflight.artifact.dynamic import Dynamic

_EXECUTABLE, _WRITABLE = 1, 2
_DF_TEXTREL, _DF_BIND_NOW, _DF_1_NOW = 4, 8, 1
_PROPERTY = struct.Struct("<II")
_NOTE_HEADER = 16
_CET = {(62, 0xC0000002): ("IBT", "SHSTK"), (183, 0xC0000000): ("BTI", "PAC")}
"""By machine and kind of property."""


def describe(library: Dynamic, imports: Collection[str], names: Collection[str]) -> Hardening:
    """Return how it was hardened.  ``names``: its own symbols."""
    now = bool(Tag.BIND_NOW in library.tags or library.flags & _DF_BIND_NOW or library.flags_1 & _DF_1_NOW)
    relro = library.segment(dynamic.RELRO) is not None
    return Hardening(
        relro=("full" if now else "partial") if relro else "none",
        bind_now=now,
        stack_protector="__stack_chk_fail" in imports or "__stack_chk_fail_local" in names,
        fortify=tuple(sorted(name for name in imports if name.startswith("__") and name.endswith("_chk"))),
        cet=tuple(_cet(library)),
        executable_stack=has_executable_stack(library),
        text_relocations=has_text_relocations(library),
        writable_code=any(
            one.type == dynamic.LOAD and one.flags & _EXECUTABLE and one.flags & _WRITABLE for one in library.segments
        ),
    )


def has_executable_stack(library: Dynamic) -> bool:
    """Whether loading it makes all stacks of the process executable."""
    stack = library.segment(dynamic.STACK)
    return stack is None or bool(stack.flags & _EXECUTABLE)


def has_text_relocations(library: Dynamic) -> bool:
    """Whether the loader has to write into its code."""
    return Tag.TEXTREL in library.tags or bool(library.flags & _DF_TEXTREL)


def _cet(library: Dynamic) -> Iterator[str]:
    """Read .note.gnu.property, as the kernel does: one note, of properties that are padded to 8 bytes."""
    segment = library.segment(dynamic.PROPERTY)
    if segment is None:
        return
    note = library.source.read(segment.offset, min(segment.file_size, 1024))[_NOTE_HEADER:]
    at = 0
    while at + _PROPERTY.size <= len(note):
        kind, size = _PROPERTY.unpack_from(note, at)
        value = int.from_bytes(note[at + 8 : at + 12], "little")
        for bit, name in enumerate(_CET.get((library.machine, kind), ())):
            if value >> bit & 1:
                yield name
        at += _PROPERTY.size + (size + 7 & ~7)
