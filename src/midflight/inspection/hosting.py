"""Where a library's code can run: in this process, in a worker, or nowhere.  `lanes.choose` decides by this.

Only what the file says is asked, and none of it is run.
"""

from __future__ import annotations

import re
from pathlib import Path

from midflight import _core
from midflight._errors import BadLibraryError, InterfaceError, LoadError, WrongMachineError
from midflight.artifact import dynamic
from midflight.artifact.elf import Elf

NODELETE = "it can't be unloaded (DF_1_NODELETE, as Go's libraries have it)"
GO_RUNTIME = "Go's runtime can't be unloaded"
EXIT_HANDLERS = "it calls on_exit, and what that registers runs when the process ends, unloaded or not"

GO_MARK = b"\xff Go buildinf:"
_LINK = "link it with -shared"
_AGAIN = "build it again, under another name that is renamed when it is complete"
_SANITIZERS = re.compile(r"lib(?P<gcc>hwasan|asan|tsan)\.so|libclang_rt\.(?P<clang>hwasan|asan|tsan)")
_NAMES = {"asan": "AddressSanitizer", "hwasan": "HWAddressSanitizer", "tsan": "ThreadSanitizer"}
_ENTRIES = {kind: f"\0__{kind}_init\0".encode() for kind in _NAMES}
_FLAGS = {"asan": "address", "hwasan": "hwaddress", "tsan": "thread"}
CXX_RUNTIMES = frozenset({"libstdc++.so.6", "libc++.so.1"})
"""What is loaded before a library that needs it, and kept: see `midflight.lanes.native.runtimes`."""

_BY_THE_WAY = re.compile(r"_init$|_fini$|__cxa_|_Z(?:GTt)?(?:N?K?St|NK?St|n[wa]|d[la]|NK?9__gnu_cxx|NK?10__cxxabiv1)")
"""What a linker or a C++ compiler adds, and nobody means to export."""


def reason_for_worker(data: bytes) -> str:
    """Return why the library can't be unloaded from a process that goes on; "" if it can, as far as the file says.

    Raises `BadLibraryError` or `WrongMachineError` for what can't be loaded at all, `LoadError` or `InterfaceError`
    for what mustn't be.
    """
    unloadable = _check(data)
    refuse_sanitizer(_core.needs(data)[0])
    refuse_runtime(data)
    refuse_extension(data)
    if GO_MARK in data:
        return GO_RUNTIME if unloadable else NODELETE
    if not unloadable:
        return NODELETE
    return EXIT_HANDLERS if b"\0on_exit\0" in data and imports(data, "on_exit") else ""


def _check(data: bytes) -> bool:
    """Return whether the library can be unloaded; say what to do about one that can't even be read."""
    try:
        return _core.check(data)
    except WrongMachineError as error:
        error.todo = error.todo or "build it for this machine"
        raise
    except BadLibraryError as error:
        error.todo = error.todo or (_LINK if "not a shared library" in error.what else _AGAIN)
        raise


def imports(data: bytes, name: str) -> bool:
    """Tell whether a library needs a symbol, of whatever version."""
    return any(symbol.name == name and not symbol.defined for symbol in dynamic.read(dynamic.Held(data)).symbols)


def refuse_sanitizer(needed: list[str]) -> None:
    """Raise `LoadError` for a sanitizer's runtime that isn't in this process: it would end it."""
    for name in needed:
        kind = sanitizer_of(name)
        if kind and not _is_loaded(name):
            what = f"it was built with {_NAMES[kind]}, whose runtime ends a process that it wasn't started with"
            todo = f"start Python with LD_PRELOAD={name}, or build it without -fsanitize={_FLAGS[kind]}"
            raise LoadError(what, todo=todo)


def refuse_runtime(data: bytes) -> None:
    """Raise `LoadError` for a sanitizer's runtime itself, which ends a process that goes on without it."""
    for kind, mark in _ENTRIES.items():
        if mark in data and mark.strip(b"\0").decode() in Elf(data).exports:
            what = f"it is {_NAMES[kind]}'s runtime, which ends a process that it wasn't started with"
            todo = "start Python with it in LD_PRELOAD, and load what was built with it, not it"
            raise LoadError(what, todo=todo)


def sanitizer_of(name: str) -> str:
    """Return which sanitizer's runtime a library is that must be the process's first, or ""."""
    match = _SANITIZERS.match(name)
    return (match["gcc"] or match["clang"]) if match else ""


def _is_loaded(name: str) -> bool:
    return f"/{name.split('.so', 1)[0]}.so" in Path("/proc/self/maps").read_text("utf-8", "surrogateescape")


def refuse_extension(data: bytes) -> None:
    """Raise `InterfaceError` for a Python extension module that offers nothing else."""
    if b"\0PyInit_" not in data:
        return
    functions = [name for name, symbol in Elf(data).exports.items() if symbol.is_function and not symbol.weak]
    own = [name for name in functions if not name.startswith("PyInit_") and not _BY_THE_WAY.match(name)]
    if functions and not own:
        what = f"it is a Python extension module ({functions[0]}), and midflight can't swap these yet"
        todo = "import it as Python does; or export C functions from it, which midflight serves"
        raise InterfaceError(what, todo=todo)
