"""Makes an `Inspection` of a library's bytes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midflight._errors import InterfaceError, LoadError, MidflightError, WrongMachineError
from midflight.artifact import dynamic, reader
from midflight.artifact.dynamic import Tag
from midflight.artifact.elf import Elf
from midflight.artifact.symbol_table import read_names
from midflight.inspection import binding, debug, hardening, hosting, imports, loading
from midflight.inspection import data as own_data
from midflight.inspection.model import (
    SEVERITIES,
    ExportedFunction,
    Exports,
    Finding,
    Inspection,
    Needs,
    readable,
    verdict_of,
)
from midflight.inspection.scope import look_around, tell_undefined, tell_versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midflight.artifact.dynamic import Dynamic
    from midflight.artifact.interface import Interface
    from midflight.artifact.symbol_table import Name

_MACHINES = {3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC 64", 22: "S/390", 40: "ARM", 62: "x86-64", 183: "AArch64",
             243: "RISC-V", 258: "LoongArch"}  # fmt: skip
_GNU_UNIQUE = 10
_INTERPRETER = "Py_InitializeFromConfig"
_SCRIPT = 256
_ALWAYS_AFFORDABLE = 32 << 20
"""What compressed debug information may take in memory, however small the file is; else four thirds of the file, as
reading it takes half as much again, and all together at most three times the file."""

_DEBUG_SECTIONS = ("abbrev", "addr", "info", "line", "line_str", "str", "str_offsets", "types")
"""What is read of the debug information."""

_TODO = {
    "wrong-machine": "build it for this machine",
    "damaged": "check that the file is a shared library and was written completely, or build it again",
}
"""What to do where the refusal itself doesn't say."""

_DF_1_NODELETE = 8


@dataclass
class _Subject:
    """A library that is being looked at, and what is known of it so far."""

    path: str
    bytes: bytes
    origin: Path
    declared: Any = None
    findings: list[Finding] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    interface: Interface | None = None
    trouble: MidflightError | None = None


def examine(path: str, data: bytes, origin: Path, declared: Any = None) -> Inspection:
    """Judge a library by its bytes.  ``origin``: the directory it lies in; ``declared``: as for ``interface=``.

    Raises nothing for what the bytes are.
    """
    subject = _Subject(path, data, origin, declared)
    machine, bits = _machine(data)
    try:
        try:
            subject.findings += _hosting(data)
        except (LoadError, InterfaceError) as error:  # it is a library, and there is more to tell
            subject.findings.append(_refused(error, data))
        library = dynamic.read(dynamic.Held(data))
        elf = Elf(data)
        found = _look(subject, library, elf)
    except MidflightError as error:
        found = {}
        subject.findings = [_refused(error, data)]
    findings = tuple(sorted(subject.findings, key=lambda one: -SEVERITIES.index(one.severity)))
    return Inspection(
        path=readable(path),
        verdict=verdict_of(findings),
        needs=_needs(findings),
        findings=findings,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        machine=machine,
        bits=bits,
        unread=tuple(subject.unread),
        **{"kind": "", **found},
    )


def _machine(data: bytes) -> tuple[str, int]:
    """Return the processor and the class that an ELF file is for."""
    if len(data) < 20 or data[:4] != b"\x7fELF":  # noqa: PLR2004 - up to and with e_machine
        return "", 0
    order = "big" if data[5] == 2 else "little"  # noqa: PLR2004 - ELFDATA2MSB
    number = int.from_bytes(data[18:20], order)  # type: ignore[arg-type]
    return _MACHINES.get(number, f"ELF machine {number}"), {1: 32, 2: 64}.get(data[4], 0)


def _refused(error: MidflightError, data: bytes) -> Finding:
    """Turn the refusal that `load` would raise into a finding."""
    if b"GNU ld script" in data[:_SCRIPT]:
        what, todo = "it is a linker script, the text by which the linker finds a library", "give the library it names"
        return Finding("damaged", "refused", what, "load() is refused, before any of it runs.", todo)
    kinds = {WrongMachineError: "wrong-machine", LoadError: "sanitizer", InterfaceError: "python-extension"}
    name = kinds.get(type(error), "damaged")
    return Finding(name, "refused", error.what, "load() is refused, before any of it runs.", error.todo or _TODO[name])


def _hosting(data: bytes) -> Iterator[Finding]:
    """Say where the code can run; raises for nowhere."""
    reason = hosting.reason_for_worker(data)
    mend = {
        hosting.GO_RUNTIME: "",
        hosting.NODELETE: "link it without -z nodelete",
        hosting.EXIT_HANDLERS: "use atexit, whose functions run when a version is unloaded",
    }
    name = {hosting.GO_RUNTIME: "go-runtime", hosting.NODELETE: "nodelete", hosting.EXIT_HANDLERS: "on-exit"}
    if hosting.GO_MARK in data:
        yield Finding(
            "go-runtime", "worker",
            "it is a Go library (c-shared, or a plugin): it brings Go's runtime along",
            "The runtime can't be unloaded, and two of them in one process disturb each other; so each version runs in"
            " a process of its own, which ends with it.",
            "load the Go package itself, so that midflight builds it for its Go lane",
        )  # fmt: skip
    elif reason:
        yield Finding(
            name[reason], "worker", reason,
            "Each version runs in a process of its own, which ends with it; with lane='here' old versions stay.",
            mend[reason],
        )  # fmt: skip


def _look(subject: _Subject, library: Dynamic, elf: Elf) -> dict[str, Any]:
    """Look at everything, and note what is found."""
    _read_interface(subject, elf)
    names = read_names(elf)
    own = {one.name for one in names} | set(elf.exports)
    wanted = {one.name: one.binding == 2 for one in library.symbols if not one.defined}  # noqa: PLR2004 - STB_WEAK
    scope = look_around(library, subject.origin)
    stated = debug.describe(elf, subject.interface, subject.trouble, subject.origin)
    described = own_data.describe(subject.interface, elf, library, names, is_rust=imports.is_rust(own, wanted))
    constructors, destructors = _startup(library, names)
    if not subject.unread:
        subject.findings += debug.findings(stated, subject.interface, subject.trouble)
    subject.findings += loading.findings(scope, subject.interface)
    subject.findings += binding.findings(scope)
    subject.findings += _unique(library)
    subject.findings += imports.thread_destructors(wanted, own, all_names=stated.symbols)
    subject.findings += imports.traits(wanted, has_constructors=bool(constructors))
    if not any(one.name == "python-extension" for one in subject.findings):
        subject.findings += _extension(elf)
    subject.findings += own_data.findings(described, subject.interface)
    return {
        "kind": _kind(subject.bytes, elf),
        "soname": library.soname,
        "rpath": library.rpath,
        "runpath": library.runpath,
        "needed": tuple(scope.needed),
        "versions": tell_versions(scope),
        "undefined": tell_undefined(scope, subject.interface),
        "exports": _exports(subject.interface, elf),
        "data": described,
        "constructors": constructors,
        "destructors": destructors,
        "debug": stated,
        "hardening": hardening.describe(library, wanted, own),
    }


def _read_interface(subject: _Subject, elf: Elf) -> None:
    """Read what is offered; without that `load` must be told."""
    size = _inflated_size(elf)
    if subject.declared is None and size > max(_ALWAYS_AFFORDABLE, 4 * len(subject.bytes) // 3):
        what = f"its debug information is compressed and takes {size >> 20:,} MB: what it offers isn't told here"
        subject.unread.append(f"{what}; load() reads it")
        return
    digest = hashlib.sha256(subject.bytes).hexdigest()
    try:
        subject.interface = reader.read_interface(subject.bytes, sha256=digest, declared=subject.declared)
    except InterfaceError as error:
        subject.trouble = error


def _inflated_size(elf: Elf) -> int:
    """Return how much memory the compressed debug sections take when they are read."""
    return sum(elf.inflated_size(f".debug_{name}") for name in _DEBUG_SECTIONS)


def _unique(library: Dynamic) -> Iterator[Finding]:
    names = tuple(one.name for one in library.symbols if one.binding == _GNU_UNIQUE)
    if names:
        yield Finding(
            "gnu-unique", "note",
            f"it has {len(names):,} STB_GNU_UNIQUE symbol{'' if len(names) == 1 else 's'} (templates, inline statics)",
            "The loader would keep it for ever, and bind later versions to this one's variables; midflight rewrites the"
            " symbols to weak ones in its private copy, so that neither happens.",
            "",
            names,
        )  # fmt: skip


def _extension(elf: Elf) -> Iterator[Finding]:
    names = tuple(name for name in elf.exports if name.startswith("PyInit_"))
    if _INTERPRETER in elf.exports:
        yield Finding(
            "python-interpreter", "warning",
            "it is CPython itself",
            "A copy has a state of its own: its functions know none of the program's objects.",
            "use ctypes.pythonapi for the functions of the interpreter that runs the program",
        )  # fmt: skip
    elif names:
        yield Finding(
            "python-extension", "warning",
            f"it is a Python extension module ({names[0]}) that exports C functions too",
            "midflight offers the C functions only, and calls them without the GIL; it can't swap the module yet.",
            f"import the module as Python does, and don't call {names[0]}",
            names,
        )  # fmt: skip


def _kind(data: bytes, elf: Elf) -> str:
    if hosting.GO_MARK in data:
        return "Go library"
    is_extension = _INTERPRETER not in elf.exports and any(name.startswith("PyInit_") for name in elf.exports)
    return "Python extension" if is_extension else "library"


def _startup(library: Dynamic, names: tuple[Name, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the functions that run when it is loaded and unloaded, by name where there is one."""
    at = {one.address: one.name for one in names if one.is_function}
    return tuple(
        tuple(
            at.get(address, f"{address:#x}") for address in _listed(library, *tags) if at.get(address) not in _STARTUP
        )
        for tags in ((Tag.INIT_ARRAY, Tag.INIT_ARRAYSZ), (Tag.FINI_ARRAY, Tag.FINI_ARRAYSZ))
    )  # type: ignore[return-value]


_STARTUP = frozenset({"frame_dummy", "__do_global_dtors_aux"})
"""The compiler's own, in every library."""


def _listed(library: Dynamic, place: int, size: int) -> Iterator[int]:
    """Return the addresses of a list of functions, which relocations fill in."""
    start, length = library.tags.get(place, 0), library.tags.get(size, 0)
    if not start or not length:
        return
    filled = {
        start + 8 * index: value for index, (value,) in enumerate(struct.iter_unpack("<Q", library.at(start, length)))
    }
    for where, target in _relocations(library):
        if where in filled and target:
            filled[where] = target
    yield from (address for address in filled.values() if address not in {0, 2**64 - 1})


def _relocations(library: Dynamic) -> Iterator[tuple[int, int]]:
    """Return the places that relocations write to, and what a relative one writes there."""
    start, size = library.tags.get(Tag.RELA, 0), library.tags.get(Tag.RELASZ, 0)
    for where, _, addend in struct.iter_unpack("<QQq", library.at(start, size)) if size else ():
        yield where, addend


def _exports(interface: Interface | None, elf: Elf) -> Exports:
    if interface is None:
        undescribed = tuple(sorted(name for name, one in elf.exports.items() if one.is_function and name[0] != "_"))
        return Exports(undescribed=undescribed, symbols=len(elf.exports))
    functions = tuple(
        ExportedFunction(one.name, one.qualified, interface.describe(one), one.declared_in)
        for one in interface.functions
    )
    hooks = tuple(one.name for one in (*interface.hooks, *interface.migrations))
    return Exports(functions, interface.unknown, hooks, len(elf.exports))


def _needs(findings: tuple[Finding, ...]) -> Needs:
    by_name = {one.name: one for one in findings}
    provides = by_name.get("host-functions")
    return Needs("interface-unknown" in by_name, provides.symbols if provides is not None else ())
