"""What a library's imports say about what it leaves behind: threads, handlers, and pointers into it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from midflight.inspection.model import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from midflight.inspection.model import Severity

_STRONG_DESTRUCTORS = frozenset({"__cxa_thread_atexit", "__cxa_thread_atexit_impl"})
_RUST_DESTROY = re.compile(r"^_ZN3std3sys.*thread_local.*7destroy17h|^_R.*12thread_local.*7destroy")
_RUST_STD = re.compile(r"Cs[0-9A-Za-z]*_3std")
_RUST_IMPORTS = frozenset({"__cxa_thread_atexit_impl", "_Unwind_Backtrace", "_Unwind_GetIPInfo"})
_BASE_62 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class _Trait(NamedTuple):
    name: str
    severity: Severity
    symbols: tuple[str, ...]
    what: str
    means: str
    mend: str = ""


_TRAITS = (
    _Trait(
        "threads", "warning",
        ("pthread_create", "thrd_create", "_ZNSt6thread15_M_start_thread", "_ZNSt6__ndk16threadC", "_ZNSt3__16threadC"),
        "it can start threads",
        "An old version stays loaded for as long as a thread that it started is alive, and says so.",
        "end its threads in a hook, int midflight_unloading(void)",
    ),
    _Trait(
        "openmp", "note", ("GOMP_", "__kmpc_", "omp_"),
        "it uses OpenMP",
        "OpenMP's runtime keeps threads of its own; midflight keeps that runtime loaded, and unloads this library.",
    ),
    _Trait(
        "thread-keys", "note", ("pthread_key_create", "tss_create"),
        "it makes thread-specific keys",
        "Their destructors are turned off and the keys deleted when a version is unloaded.",
    ),
    _Trait(
        "signal-handlers", "warning", ("sigaction", "signal", "__sysv_signal", "bsd_signal", "sigset"),
        "it can install signal handlers",
        "An old version stays loaded while a handler that lies in it is installed.",
        "give the signal back in a hook, int midflight_unloading(void)",
    ),
    _Trait(
        "exit-handlers", "note", ("atexit", "__cxa_atexit", "at_quick_exit", "__cxa_at_quick_exit"),
        "it registers functions or destructors that run at exit (atexit, C++ static objects)",
        "They run when a version is unloaded, once for each version.",
    ),
    _Trait(
        "fork-handlers", "note", ("pthread_atfork", "__register_atfork"),
        "it registers functions that run at fork",
        "They are forgotten when a version is unloaded.",
    ),
    _Trait(
        "timers", "warning", ("timer_create", "mq_notify", "aio_read", "aio_write", "getaddrinfo_a", "lio_listio"),
        "it can ask the system to call it back later",
        "A call that comes after its version was unloaded ends the program.",
        "delete its timers and requests in a hook, int midflight_unloading(void)",
    ),
    _Trait(
        "global-handlers", "warning",
        (
            "_ZSt13set_terminatePFvvE", "_ZSt15set_new_handlerPFvvE", "_ZSt14set_unexpectedPFvvE",
            "register_printf_specifier", "register_printf_function", "register_printf_modifier",
            "error_print_progname", "obstack_alloc_failed_handler",
        ),
        "it can install handlers for the whole program",
        "Nothing takes them back when a version is unloaded: the next call of one ends the program.",
        "put the handler before it back in a hook, int midflight_unloading(void)",
    ),
    _Trait(
        "sanitizer-runtime", "note", ("__ubsan_", "__lsan_", "__sanitizer_"),
        "it was built with a sanitizer that may come into a running program",
        "It reports to standard error as usual.",
    ),
    _Trait(
        "opens-libraries", "note", ("dlopen", "dlmopen"),
        "it opens libraries itself",
        "If it opens itself, or a library that needs it, an old version stays loaded until that is closed.",
    ),
)  # fmt: skip


def traits(names: Collection[str], *, has_constructors: bool) -> Iterator[Finding]:
    """Return what the names of a library's imports say."""
    for one in _TRAITS:
        found = tuple(sorted(name for name in names if _matches(name, one.symbols)))
        if found:
            at_once = has_constructors and one.name == "threads"
            what = f"{one.what}, and has constructors, which may start some at once" if at_once else one.what
            yield Finding(one.name, one.severity, what, one.means, one.mend, found)


def _matches(name: str, wanted: tuple[str, ...]) -> bool:
    return name in wanted or any(name.startswith(one) for one in wanted if one.endswith("_") or one.startswith("_ZN"))


# ---- thread_local variables with destructors ---------------------------------------------------------------------

_STAYS = (
    "An old version stays loaded until all threads that used these variables have ended; the main thread never does."
)
_MEND = "keep such data in something that the caller passes in, or call the library only from threads that end"


def thread_destructors(imports: dict[str, bool], names: Collection[str], *, all_names: bool) -> Iterator[Finding]:
    """Say whether it has thread_local variables with destructors.

    ``imports``: names, and whether each is weak; ``names``: all symbols of its own; ``all_names``: whether these are
    all, so that what isn't among them isn't there.
    """
    if "__cxa_thread_atexit" in names:
        return  # the C++ runtime itself: what it registers is its callers'
    strong = tuple(sorted(name for name in _STRONG_DESTRUCTORS & imports.keys() if not imports[name]))
    if strong:
        what = "it has thread_local variables with destructors"
        yield Finding("thread-destructors", "resident", what, _STAYS, _MEND, strong)
        return
    if "__cxa_thread_atexit_impl" not in imports or not is_rust(names, imports):
        return
    own = tuple(sorted(name for name in names if _RUST_DESTROY.match(name) and not _is_std(name)))
    if own:
        what = "it has thread_local! variables that implement Drop"
        yield Finding("thread-destructors", "resident", what, _STAYS, _MEND, own)
    elif "pthread_create" in imports:
        what = "it starts threads by Rust's standard library, which then keeps thread_local data of its own"
        mend = "start threads from Python, or call what starts them only from threads that end"
        yield Finding("thread-destructors", "resident", what, _STAYS, mend, ("pthread_create",))
    elif all_names:
        what = "Rust's standard library can have thread_local data; nothing in this one makes it use them"
        yield Finding("rust-runtime", "note", what, "A version is unloaded at once.")
    else:
        what = "Rust's standard library can have thread_local data, and the symbols that would tell are stripped"
        means = "If the library uses them, an old version stays loaded until the threads that used them have ended."
        yield Finding(
            "rust-runtime", "warning", what, means, "leave the symbols in (strip = false), so that it can be told"
        )


def is_rust(names: Collection[str], imports: Collection[str]) -> bool:
    """Tell whether Rust's standard library is in it."""
    if "rust_eh_personality" in names or any(name.startswith(("_ZN3std", "_ZN4core", "_R")) for name in names):
        return True
    return set(imports) >= _RUST_IMPORTS


def _is_std(name: str) -> bool:
    """Tell whether std made a generic function for itself: a v0 name ends with the crate that did."""
    crate = _RUST_STD.search(name)
    if not name.startswith("_R") or crate is None:
        return False
    place, digits = crate.start() - len("_R") - 1, ""
    while place or not digits:
        place, digit = divmod(place, len(_BASE_62))
        digits = _BASE_62[digit] + digits
    return name.endswith(f"B{digits}_")
