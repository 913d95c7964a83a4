"""What stands in the way of loading a library, and what loading it does to the program."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from midflight.artifact import dynamic
from midflight.inspection.hardening import has_executable_stack, has_text_relocations
from midflight.inspection.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.dynamic import Dynamic
    from midflight.artifact.interface import Interface
    from midflight.inspection.scope import Scope

_DF_STATIC_TLS = 0x10
_SURPLUS = 1664
"""Bytes that glibc keeps for the static thread-local data of libraries that are opened later (dl-tls.c)."""

_NO_EXECUTABLE_STACKS = (2, 41)
_OBJECT = 1
_SANITIZERS = ("__asan_", "__hwasan_", "__msan_", "__tsan_")
_MOST = 6


def findings(scope: Scope, interface: Interface | None) -> Iterator[Finding]:
    """Go through all that the loader wants, and all that it would do."""
    yield from _missing_libraries(scope)
    yield from _missing_versions(scope)
    yield from _unresolved(scope, interface)
    yield from _static_tls(scope)
    library = scope.library
    if has_executable_stack(library):
        yield _executable_stack()
    if has_text_relocations(library):
        yield Finding(
            "text-relocations", "warning",
            "the loader has to write into its code (DT_TEXTREL)",
            "Each version has its own copy of all its code, and hardened systems refuse to load it.",
            "compile all of it with -fPIC",
        )  # fmt: skip
    yield from _run_paths(library)


def _missing_libraries(scope: Scope) -> Iterator[Finding]:
    names = tuple(f"{one.name} (needed by {one.by})" if one.by else one.name for one in scope.missing)
    if names:
        yield Finding(
            "missing-library", "refused",
            f"a library that it needs isn't found: {_few(names)}",
            "load() is refused by the loader.",
            "install it, or add its directory to LD_LIBRARY_PATH or to this library's run path (-Wl,-rpath)",
            tuple(one.name for one in scope.missing),
        )  # fmt: skip


def _missing_versions(scope: Scope) -> Iterator[Finding]:
    missing = tuple(
        f"{one.version} of {one.library}" for one, there in scope.versions() if there is False and not one.weak
    )
    if missing:
        yield Finding(
            "missing-version", "refused",
            f"it was built against a newer library than there is here: it wants {_few(missing)}",
            "load() is refused by the loader.",
            "build it on a system as old as this one, or update this system",
            missing,
        )  # fmt: skip


def _unresolved(scope: Scope, interface: Interface | None) -> Iterator[Finding]:
    if scope.missing:
        return  # it may be there
    unresolved = scope.unresolved()
    variables = set(interface.needs_variables) if interface is not None else set()
    yield from _sanitizer(tuple(one.name for one in unresolved if one.name.startswith(_SANITIZERS)))
    unresolved = [one for one in unresolved if not one.name.startswith(_SANITIZERS)]
    own = tuple(one.name for one in unresolved if one.name in variables or one.kind == _OBJECT)
    if own:
        yield Finding(
            "unresolved-variable", "refused",
            f"it uses {'variables' if len(own) > 1 else 'a variable'} that nothing here has: {_few(own)}",
            "load() is refused by the loader; only functions can be provided by the program.",
            "link it with the library that has them, or define them",
            own,
        )  # fmt: skip
    functions = tuple(one.name for one in unresolved if one.name not in own)
    if functions:
        them = "it" if len(functions) == 1 else "them"
        yield Finding(
            "host-functions", "condition",
            f"it calls {'functions' if len(functions) > 1 else 'a function'} that nothing here has: {_few(functions)}",
            f"The program must provide {them}, else load() is refused.",
            f"load(…, provides={{…}}) or @midflight.provide; or link it with the library that has {them}",
            functions,
        )  # fmt: skip


def _sanitizer(names: tuple[str, ...]) -> Iterator[Finding]:
    if names:
        yield Finding(
            "sanitizer", "refused",
            f"it was built with a sanitizer whose runtime the program would have to be linked with: {_few(names)}",
            "load() is refused by the loader.",
            "build it without -fsanitize=",
            names,
        )  # fmt: skip


def _static_tls(scope: Scope) -> Iterator[Finding]:
    there = scope.program.keys()  # these have their place already
    others = ((name, library) for name, library in scope.found.items() if name not in there)
    size, holder = max((_static_tls_of(library), name) for name, library in (("", scope.library), *others))
    if not size:
        return
    whose = f"{holder}, which it needs, has" if holder else "it has"
    large = size > _room()
    yield Finding(
        "static-tls", "refused" if large else "warning",
        f"{whose} {size:,} bytes of static thread-local data (DF_STATIC_TLS)",
        f"glibc keeps {_room():,} bytes for all such libraries together"
        + (": load() is refused by the loader." if large else ", so that loading too many versions at a time fails."),
        "compile it without -ftls-model=initial-exec"
        + (f", or start Python with GLIBC_TUNABLES=glibc.rtld.optional_static_tls={size + _SURPLUS}" if large else ""),
    )  # fmt: skip


def _static_tls_of(library: Dynamic) -> int:
    data = library.segment(dynamic.TLS)
    return data.memory_size if data is not None and library.flags & _DF_STATIC_TLS else 0


def _room() -> int:
    """Return how much glibc keeps, with what this program was started with."""
    for setting in os.environ.get("GLIBC_TUNABLES", "").split(":"):
        name, _, value = setting.partition("=")
        if name == "glibc.rtld.optional_static_tls" and value.isdecimal():
            return _SURPLUS + int(value)
    return _SURPLUS


def _executable_stack() -> Finding:
    refused = _glibc() >= _NO_EXECUTABLE_STACKS
    return Finding(
        "executable-stack", "refused" if refused else "warning",
        "it wants executable stacks (PT_GNU_STACK)",
        "load() is refused by the loader (glibc 2.41 and later)."
        if refused
        else "Loading it makes all stacks of the program executable, for good; glibc 2.41 and later refuse to.",
        'mark its assembler files (.section .note.GNU-stack,"",%progbits), or link with -z noexecstack',
    )  # fmt: skip


def _glibc() -> tuple[int, ...]:
    version = platform.libc_ver()[1].split(".")
    return tuple(int(part) for part in version) if all(map(str.isdecimal, version)) else ()


def _run_paths(library: Dynamic) -> Iterator[Finding]:
    paths = (*library.rpath, *library.runpath)
    relative = tuple(one for one in paths if not one.startswith(("/", "$")))
    if relative:
        yield Finding(
            "relative-run-path", "warning",
            f"its run path depends on the working directory: {_few(tuple(repr(one) for one in relative))}",
            "What it is linked to depends on where the program was started.",
            "link it with -Wl,-rpath,'$ORIGIN/…' or an absolute path",
            relative,
        )  # fmt: skip
    beside = tuple(one for one in paths if one.startswith(("$ORIGIN", "${ORIGIN}")))
    if beside:
        yield Finding(
            "origin", "note",
            f"it looks for libraries beside itself: {_few(beside)}",
            "midflight looks in the same places, though the private copy lies elsewhere; a changed library of the same"
            " name isn't taken while another one uses the old.",
            "",
            beside,
        )  # fmt: skip


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
