"""A library's global and static variables, and what a swap would do with each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from midflight.artifact import dynamic
from midflight.artifact.gaps import find_gaps
from midflight.artifact.layout import size_of
from midflight.inspection.model import DataSummary, Finding, StaticVariable
from midflight.state import forecast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midflight.artifact.dynamic import Dynamic
    from midflight.artifact.elf import Elf
    from midflight.artifact.interface import Interface
    from midflight.artifact.symbol_table import Name

_WRITABLE, _RELRO_PARTS = 2, (".data", ".bss", ".ldata", ".lbss", ".tdata", ".tbss")
_MOST = 3
_ALIGNED = 32
_CPP_RUNTIME = re.compile(r"^_ZG?V?Z?N?K?(St|9__gnu_cxx|10__cxxabiv1)")


def describe(
    interface: Interface | None, elf: Elf | None, library: Dynamic, names: Sequence[Name], *, is_rust: bool
) -> DataSummary:
    """Return all that is known of the data, from debug information or else from symbols."""
    tls = library.segment(dynamic.TLS)
    variables = _described(interface) if interface is not None else ()
    undescribed = runtime = 0
    if elf is not None:
        if interface is None or interface.origin == "declared":
            variables = (*variables, *_named(elf, names, {one.name for one in variables}))
        unknown = list(find_gaps(elf, interface, names))
        undescribed = sum(size for _, size in unknown)
        runtime = undescribed if is_rust else _of_runtime(unknown, names)
    return DataSummary(
        variables=tuple(variables),
        writable=_writable(elf, library),
        undescribed=undescribed,
        runtime=runtime,
        thread_local=tls.memory_size if tls is not None else 0,
    )


def _described(interface: Interface) -> tuple[StaticVariable, ...]:
    return tuple(
        StaticVariable(
            variable.name,
            interface.spell(variable.type),
            size_of(interface.types, variable.type) or 0,
            variable.thread_local,
            variable.exported,
            fate.what,
            fate.how,
        )
        for variable, fate in forecast.of_itself(interface)
    )


def _named(elf: Elf, names: Sequence[Name], known: set[str]) -> Iterator[StaticVariable]:
    """Return what the symbols name in writable sections, where no debug information tells more."""
    places = _places(elf)
    seen = set(known)
    for one in sorted(names, key=lambda one: one.address):
        inside = any(start <= one.address < end for start, end in places)
        if one.is_function or not one.size or not inside or one.name in seen:
            continue
        seen.add(one.name)
        exported = one.name in elf.exports
        yield StaticVariable(one.name, "", one.size, False, exported, "left", "its type isn't known")


def _of_runtime(unknown: Sequence[tuple[int, int]], names: Sequence[Name]) -> int:
    """Return how much of some places belongs to C++'s standard library, which has no state that people know of."""
    own = [one for one in names if not one.is_function and _CPP_RUNTIME.match(one.name)]
    sizes = {one.address: one.size for one in own if any(at <= one.address < at + size for at, size in unknown)}
    padding = sum(-size % _ALIGNED for size in sizes.values())
    return min(sum(sizes.values()) + padding, sum(size for _, size in unknown))


def _places(elf: Elf) -> list[tuple[int, int]]:
    return [
        (section.address, section.address + section.size)
        for section in elf.sections.values()
        if section.name.startswith(_RELRO_PARTS[:4]) and not section.name.startswith(".data.rel.ro")
    ]


def _writable(elf: Elf | None, library: Dynamic) -> int:
    if elf is not None and elf.sections:
        return sum(end - start for start, end in _places(elf))
    return sum(one.memory_size for one in library.segments if one.type == dynamic.LOAD and one.flags & _WRITABLE)


def findings(data: DataSummary, interface: Interface | None) -> Iterator[Finding]:
    """Say what a swap would refuse to carry, or leave behind."""
    refused = [one for one in data.variables if one.fate == "refused"]
    if refused:
        yield Finding(
            "data-refused", "warning",
            f"{_count(len(refused), 'variable')} can't be carried by copying: {_few(refused)}",
            "If the program has changed one, a swap that carries data refuses, and nothing changes.",
            'move them by hooks (midflight_save, midflight_restore), or start fresh: swap(…, carry="fresh")',
            tuple(one.name for one in refused),
        )  # fmt: skip
    own = [one for one in data.variables if one.thread_local]
    if own or data.thread_local:
        yield Finding(
            "thread-local", "note" if not own else "warning",
            f"it has {data.thread_local} bytes of thread_local data" + (f": {_few(own)}" if own else ""),
            "Every thread has its own, so these aren't carried: each version begins with its initial values.",
            "keep what must survive a swap in an ordinary variable" if own else "",
            tuple(one.name for one in own),
        )  # fmt: skip
    left = [one for one in data.variables if one.fate == "left" and not one.thread_local and one.type]
    if left:
        yield Finding(
            "data-split", "warning",
            f"the compiler has split {_count(len(left), 'variable')}: {_few(left)}",
            "Their values aren't carried by a swap.",
            "build with -O1, or declare them volatile",
            tuple(one.name for one in left),
        )  # fmt: skip
    unknown = data.undescribed - data.runtime
    if unknown > 0 and interface is not None:  # else nothing is described, and another finding says so
        yield Finding(
            "data-undescribed", "warning",
            f"no debug information describes {unknown:,} of {data.writable:,} bytes of its data",
            "What the program has changed there isn't carried by a swap; the swap's report says so.",
            "build all of it with -g",
        )  # fmt: skip


def _few(variables: Sequence[StaticVariable]) -> str:
    names = ", ".join(one.name for one in variables[:_MOST])
    return f"{names} and {len(variables) - _MOST} more" if len(variables) > _MOST else names


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
