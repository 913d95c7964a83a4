"""What debug information a library has, and where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from midflight.inspection.model import DebugInformation, Finding, readable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._errors import MidflightError
    from midflight.artifact.elf import Elf
    from midflight.artifact.interface import Interface

_COMPRESSED = 0x800
_NOTE_HEADER = 12
_BUILD_ID = 3
_SYSTEM = Path("/usr/lib/debug")
_LONGEST_NAME = 4096


def describe(elf: Elf, interface: Interface | None, trouble: MidflightError | None, origin: Path) -> DebugInformation:
    """Return the state of the debug information; ``trouble``: why it couldn't be read as an interface."""
    build_id = _build_id(elf)
    link = _link(elf)
    has_debug = ".debug_info" in elf.sections or ".zdebug_info" in elf.sections
    read = interface is not None and interface.origin == "dwarf"
    state: Literal["full", "partial", "split", "separate", "damaged", "none"] = "none"
    if trouble is not None and ".dwo" in trouble.what:
        state = "split"
    elif read and interface is not None:
        state = "none" if interface.unknown and not interface.functions else "partial" if interface.unknown else "full"
    elif has_debug:
        state = "damaged" if trouble is not None else "full"
    elif link:
        state = "separate"
    return DebugInformation(
        state,
        symbols=".symtab" in elf.sections,
        language=interface.language if interface is not None else "",
        compressed=_compression(elf),
        build_id=build_id,
        separate=_find_separate(link, build_id, origin) if link else None,
    )


def _compression(elf: Elf) -> str:
    if ".zdebug_info" in elf.sections:
        return "zlib"
    section = elf.sections.get(".debug_info")
    if section is None or not section.flags & _COMPRESSED:
        return ""
    return {1: "zlib", 2: "zstd"}.get(int.from_bytes(elf.data[section.offset : section.offset + 4], "little"), "?")


def _build_id(elf: Elf) -> str:
    note = elf.section(".note.gnu.build-id")
    if len(note) < _NOTE_HEADER or int.from_bytes(note[8:12], "little") != _BUILD_ID:
        return ""
    name, size = (int.from_bytes(note[at : at + 4], "little") for at in (0, 4))
    start = _NOTE_HEADER + (name + 3 & ~3)
    return note[start : start + size].hex()


def _link(elf: Elf) -> str:
    """Return the name of the file that the debug information was moved to."""
    for name in (".gnu_debuglink", ".debug_sup", ".gnu_debugaltlink"):
        raw = elf.section(name)
        if raw:
            raw = raw[3:] if name == ".debug_sup" else raw  # its version, and whether it is the supplement itself
            return os.fsdecode(raw.split(b"\0", 1)[0][:_LONGEST_NAME])
    return ""


def _find_separate(link: str, build_id: str, origin: Path) -> str | None:
    """Look for that file where debuggers do."""
    places = [origin / link, origin / ".debug" / link, Path(f"{_SYSTEM}{origin}", link)]
    if build_id:
        places.append(_SYSTEM / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug")
    for place in places:
        try:
            if place.is_file():
                return readable(str(place))
        except (OSError, ValueError):
            continue
    return None


def findings(debug: DebugInformation, interface: Interface | None, trouble: MidflightError | None) -> Iterator[Finding]:
    """Say whether `load` can tell what the library offers."""
    if interface is None or (interface.unknown and not interface.functions):
        yield Finding(
            "interface-unknown", "condition",
            f"its functions' types aren't known: {_why(debug, trouble)}",
            "load() must be told what it offers.",
            _MENDS.get(debug.state, "build it with -g") + "; or give load() a header or declarations: interface=",
        )  # fmt: skip
    elif interface.unknown:
        names = interface.unknown
        yield Finding(
            "partly-described", "warning",
            f"no debug information describes {len(names):,} of its exported functions",
            "These can't be called.",
            "build all of it with -g, or say what they are by interface=",
            names,
        )  # fmt: skip


_MENDS = {
    "split": "build it without -gsplit-dwarf",
    "separate": "use a build that isn't stripped",
    "none": "build it with -g, and don't strip it",
    "damaged": "build it again",
}


def _why(debug: DebugInformation, trouble: MidflightError | None) -> str:
    match debug.state:
        case "split":
            return "its debug information is in separate .dwo files"
        case "separate":
            where = debug.separate or "which isn't on this machine"
            return f"its debug information was moved to another file ({where})"
        case "none":
            return "it has no debug information" + ("" if debug.symbols else " (it is stripped)")
        case _:
            return trouble.what if trouble is not None else "its debug information can't be read"
