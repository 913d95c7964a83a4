"""What an inspection tells: plain data, the same in Python and in ``midflight doctor --json`` (docs/doctor.md).

Everything has a value in every inspection; what couldn't be read is empty, and ``unread`` says so.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["swappable", "swappable, stays resident", "needs a worker", "refused"]
Severity: TypeAlias = Literal["note", "warning", "condition", "resident", "worker", "refused"]

SEVERITIES: tuple[Severity, ...] = ("note", "warning", "condition", "resident", "worker", "refused")
VERDICTS: tuple[Verdict, ...] = ("swappable", "swappable, stays resident", "needs a worker", "refused")
_VERDICT_OF: dict[str, Verdict] = {
    "resident": "swappable, stays resident",
    "worker": "needs a worker",
    "refused": "refused",
}
FORMAT = 1


class Finding(msgspec.Struct, frozen=True):
    """One thing that matters for swapping or unloading.

    ``name``: what it is, the same for all libraries.  ``severity``: ``note`` (midflight sees to it), ``warning`` (mind
    it), ``condition`` (`load` must be told something), ``resident`` (old versions stay), ``worker`` (it runs in a
    process of its own), ``refused``.  ``what`` was found, what it ``means``, how to ``mend`` it ("": nothing to do),
    and the ``symbols`` or libraries that show it.
    """

    name: str
    severity: Severity
    what: str
    means: str
    mend: str = ""
    symbols: tuple[str, ...] = ()


class Needed(msgspec.Struct, frozen=True):
    """A library that this one needs.  ``path``: where it was found, None if it wasn't.  ``how``: by what.

    ``by``: which library needs it; "" for this one.
    """

    name: str
    path: str | None
    how: str
    by: str = ""


class Undefined(msgspec.Struct, frozen=True):
    """A symbol that the library uses and doesn't have.

    ``found_in``: who has it, None if nobody has.  ``weak``: it can do without.  ``declaration``: as the library's debug
    information declares it, "" where it doesn't.
    """

    name: str
    version: str
    weak: bool
    found_in: str | None
    declaration: str = ""


class VersionNeeded(msgspec.Struct, frozen=True):
    """The newest version of a library's symbols that is wanted (GLIBC, GLIBCXX, CXXABI …), and the newest there is.

    ``here`` is None where the library wasn't found.
    """

    library: str
    wanted: str
    here: str | None
    there: bool


class ExportedFunction(msgspec.Struct, frozen=True):
    """A function that `load` offers.  ``name``: its attribute, "" where only `midflight.function` finds it."""

    name: str
    qualified: str
    declaration: str
    declared_in: str


class StaticVariable(msgspec.Struct, frozen=True):
    """A global or static variable that isn't constant.

    ``type`` is "" and ``size`` may be 0 where nothing tells.  ``fate``: what a swap to a version with the same types
    does with it if the program has changed it: "carried", "refused", "left" or "initialised"; ``why``, where that
    isn't "carried".
    """

    name: str
    type: str
    size: int
    thread_local: bool
    exported: bool
    fate: str
    why: str = ""


class Exports(msgspec.Struct, frozen=True):
    """What the library offers.

    ``undescribed``: exported functions that nothing says the parameters of.  ``symbols``: how many symbols it exports
    in all.
    """

    functions: tuple[ExportedFunction, ...] = ()
    undescribed: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    symbols: int = 0


class DataSummary(msgspec.Struct, frozen=True):
    """Its data.

    ``writable``: bytes in all; ``undescribed``: bytes of these that no debug information describes; ``runtime``: bytes
    of these that belong to the language's own library.
    """

    variables: tuple[StaticVariable, ...] = ()
    writable: int = 0
    undescribed: int = 0
    runtime: int = 0
    thread_local: int = 0


class DebugInformation(msgspec.Struct, frozen=True):
    """Its debug information.

    ``state``: "full", "partial" (of some functions nothing is said), "split" (in .dwo files), "separate" (in another
    file: ``separate``, found or None), "damaged", or "none".  ``symbols``: whether the full symbol table is there.
    """

    state: Literal["full", "partial", "split", "separate", "damaged", "none"]
    symbols: bool
    language: str = ""
    compressed: str = ""
    build_id: str = ""
    separate: str | None = None


class Hardening(msgspec.Struct, frozen=True):
    """How it was hardened.  ``fortify``: checked functions it calls; ``cet``: "IBT", "SHSTK" (x86), "BTI", "PAC"."""

    relro: Literal["full", "partial", "none"]
    bind_now: bool
    stack_protector: bool
    fortify: tuple[str, ...]
    cet: tuple[str, ...]
    executable_stack: bool
    text_relocations: bool
    writable_code: bool


class Needs(msgspec.Struct, frozen=True):
    """What `load` must be told for the verdict to hold: ``interface=``, and functions by ``provides=``."""

    interface: bool = False
    provides: tuple[str, ...] = ()


class Inspection(msgspec.Struct, frozen=True):
    """What `midflight.inspect` has found out about a library, without loading it.

    ``verdict``: what a swap does with it; it follows from the ``findings``, worst first.  ``kind``: "library", "Go
    library", "Go host" (a Go package that midflight has built), "Python extension", or "" where it is none.
    """

    path: str
    verdict: Verdict
    needs: Needs
    findings: tuple[Finding, ...]
    size: int
    sha256: str
    kind: str
    machine: str = ""
    bits: int = 0
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    needed: tuple[Needed, ...] = ()
    versions: tuple[VersionNeeded, ...] = ()
    undefined: tuple[Undefined, ...] = ()
    exports: Exports = Exports()
    data: DataSummary = DataSummary()
    constructors: tuple[str, ...] = ()
    destructors: tuple[str, ...] = ()
    debug: DebugInformation | None = None
    hardening: Hardening | None = None
    unread: tuple[str, ...] = ()
    format: int = FORMAT

    def finding(self, name: str) -> Finding | None:
        """Return the finding of a name, None if there is none."""
        return next((one for one in self.findings if one.name == name), None)


def readable(text: str) -> str:
    """Return a path as text that can be written down, whatever bytes it has."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """Return what the findings amount to."""
    worst = max((SEVERITIES.index(one.severity) for one in findings), default=0)
    return _VERDICT_OF.get(SEVERITIES[worst], "swappable")
