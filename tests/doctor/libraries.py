"""A small library for each hazard, and how a program uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Workshop

ADD = "int add(int a, int b) { return a + b; }\n"


@dataclass(frozen=True)
class Hazard:
    """``use``: Python that uses ``m``, the module; ``given``: what `load` must be told, as Python.

    ``outcome``: what really becomes of a version that was used: "unloaded", "resident", "worker" or "refused".
    """

    text: str
    finding: str
    verdict: str
    outcome: str
    flags: tuple[str, ...] = ()
    suffix: str = ".c"
    use: str = "m.add(2, 3)"
    given: str = ""
    make: Callable[[Workshop, Hazard], Path] | None = None

    def build(self, workshop: Workshop) -> Path:
        """Return the library."""
        if self.make is not None:
            return self.make(workshop, self)
        return workshop.library("hazard", self.text, *self.flags, suffix=self.suffix)


# ---- other ways to make a library --------------------------------------------------------------------------------


def patched(old: bytes, new: bytes) -> Callable[[Workshop, Hazard], Path]:
    """Build it, and change bytes."""

    def make(workshop: Workshop, hazard: Hazard) -> Path:
        path = workshop.library("hazard", hazard.text, *hazard.flags, suffix=hazard.suffix)
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))
        return path

    return make


def truncated(workshop: Workshop, hazard: Hazard) -> Path:
    """Build it, and lose its second half."""
    path = workshop.library("hazard", hazard.text)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def for_another_machine(workshop: Workshop, hazard: Hazard) -> Path:
    """Build it, and say that it is for a processor that nobody has."""
    path = workshop.library("hazard", hazard.text)
    data = bytearray(path.read_bytes())
    data[18:20] = (243 if os.uname().machine != "riscv64" else 62).to_bytes(2, "little")
    path.write_bytes(data)
    return path


def needing(workshop: Workshop, hazard: Hazard) -> Path:
    """Link it with a library that is gone afterwards."""
    other = workshop.library("libgone", "int gone(void) { return 1; }", "-Wl,-soname,libgone.so.1")
    path = workshop.library("hazard", hazard.text, str(other))
    other.unlink()
    return path


def held(workshop: Workshop, hazard: Hazard) -> Path:
    """Link it with a library that is never unloaded, and that takes a function from it which both have."""
    other = workshop.library(
        "libheld", "int both(void) { return 1; } int other(void) { return both(); }", *hazard.flags
    )
    where = ("-Wl,--no-as-needed", str(other))
    return workshop.library("hazard", hazard.text, *where)


def rust(workshop: Workshop, hazard: Hazard) -> Path:
    """Build a cdylib."""
    source, output = workshop.write("hazard.rs", hazard.text), workshop.root / "hazard.so"
    subprocess.run(["rustc", "-g", "--crate-type=cdylib", *hazard.flags, "-o", output, source], check=True)
    return output


def go(workshop: Workshop, hazard: Hazard) -> Path:
    """Build a Go library."""
    source, output = workshop.write("hazard/hazard.go", hazard.text), workshop.root / "hazard.so"
    command = ["go", "build", *hazard.flags, "-o", str(output), source.name]
    subprocess.run(command, check=True, cwd=source.parent)
    return output


# ---- the table ---------------------------------------------------------------------------------------------------

SWAPPABLE, RESIDENT, WORKER, REFUSED = "swappable", "swappable, stays resident", "needs a worker", "refused"
INTERFACE = 'interface="int add(int a, int b);"'

UNIQUE = """
template <typename T> struct Holder { static int kept; };
template <typename T> int Holder<T>::kept = 7;
extern "C" int add(int a, int b) { return Holder<int>::kept += a + b; }
"""
THREAD_LOCAL = """
struct Kept { int n = 1; ~Kept() { n = 0; } };
static thread_local Kept kept;
extern "C" int add(int a, int b) { return kept.n += a + b; }
"""
JOINED = """
#include <pthread.h>
static void *work(void *sum) { ++*(int *)sum; return 0; }
int add(int a, int b)
{
    int sum = a + b;
    pthread_t t;
    return pthread_create(&t, 0, work, &sum) || pthread_join(t, 0) ? -1 : sum;
}
"""
CXX_JOINED = """
#include <thread>
extern "C" int add(int a, int b) { int n = 0; std::thread([&] { n = a + b; }).join(); return n; }
"""
KEYED = """
#include <pthread.h>
static pthread_key_t key;
static void forget(void *p) { (void)p; }
int add(int a, int b) { pthread_key_create(&key, forget); pthread_setspecific(key, &key); return a + b; }
"""
HANDLER = """
#include <signal.h>
static void handle(int number) { (void)number; }
int add(int a, int b) { signal(SIGUSR1, handle); signal(SIGUSR1, SIG_DFL); return a + b; }
"""
LIVING = """
#include <pthread.h>
#include <unistd.h>
static void *work(void *p) { for (;;) pause(); return p; }
int add(int a, int b)
{
    pthread_t t;
    return pthread_create(&t, 0, work, 0) || pthread_detach(t) ? -1 : a + b;
}
"""
ENDINGS = """
#include <stdlib.h>
static int n;
static void bye(void) { n = 0; }
struct Static { ~Static() { n = 1; } };
static Static object;
__attribute__((destructor)) static void leave() { n = 2; }
__attribute__((constructor)) static void enter() { n = 3; }
extern "C" int add(int a, int b) { return atexit(bye) ? -1 : a + b; }
"""
ON_EXIT = """
#define _DEFAULT_SOURCE
#include <stdlib.h>
static int n;
static void bye(int status, void *p) { (void)p; n = status; }
int add(int a, int b) { return on_exit(bye, 0) ? -1 : a + b; }
"""
OPENMP = """
int add(int a, int b)
{
    int sum = 0;
    #pragma omp parallel for reduction(+:sum) num_threads(2)
    for (int i = a; i <= b; i++) sum += i;
    return sum;
}
"""
OPENS = """
#include <dlfcn.h>
int add(int a, int b) { void *self = dlopen(0, RTLD_NOW); return self ? a + b + dlclose(self) : -1; }
"""
TIMER = """
#include <signal.h>
#include <time.h>
int add(int a, int b)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    return timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_delete(timer) ? -1 : a + b;
}
"""
TERMINATE = """
#include <exception>
extern "C" int add(int a, int b) { std::set_terminate(std::get_terminate()); return a + b; }
"""
ATFORK = (
    "#include <pthread.h>\nstatic void n(void) {}\nint add(int a, int b) { return a + b + pthread_atfork(0, 0, n); }"
)
STATIC_TLS = """
static __thread __attribute__((tls_model("initial-exec"))) char kept[SIZE];
int add(int a, int b) { kept[a & 7]++; return a + b; }
"""
EXTENSION = """
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "hazard", 0, -1, 0};
PyMODINIT_FUNC PyInit_hazard(void) { return PyModule_Create(&definition); }
"""
RUST_PLAIN = '#[no_mangle] pub extern "C" fn add(a: i32, b: i32) -> i32 { println!("{}", a); a + b }'
RUST_KEPT = """
use std::cell::RefCell;
struct Kept(i32);
impl Drop for Kept { fn drop(&mut self) { self.0 = 0; } }
thread_local! { static KEPT: RefCell<Kept> = RefCell::new(Kept(1)); }
#[no_mangle] pub extern "C" fn add(a: i32, b: i32) -> i32 { KEPT.with(|kept| kept.borrow().0 + a + b) }
"""
RUST_THREAD = (
    '#[no_mangle] pub extern "C" fn add(a: i32, b: i32) -> i32 { std::thread::spawn(move || a + b).join().unwrap() }'
)
GO = 'package main\n\nimport "C"\n\n//export add\nfunc add(a, b C.int) C.int { return a + b }\n\nfunc main() {}\n'
GO_PLUGIN = "package main\n\nfunc Add(a, b int) int { return a + b }\n"

HAZARDS = {
    "nothing at all": Hazard(ADD, "", SWAPPABLE, "unloaded"),
    "corrupt file": Hazard(ADD, "damaged", REFUSED, "refused", make=truncated),
    "another machine": Hazard(ADD, "wrong-machine", REFUSED, "refused", make=for_another_machine),
    "STB_GNU_UNIQUE": Hazard(UNIQUE, "gnu-unique", SWAPPABLE, "unloaded", suffix=".cc"),
    "thread_local with a destructor": Hazard(
        THREAD_LOCAL, "thread-destructors", RESIDENT, "resident", suffix=".cc"
    ),
    "Rust, thread_local! with Drop": Hazard(RUST_KEPT, "thread-destructors", RESIDENT, "resident", make=rust),
    "Rust, the same, optimised": Hazard(
        RUST_KEPT, "thread-destructors", RESIDENT, "resident", flags=("-O",), make=rust
    ),
    "Rust, a thread": Hazard(RUST_THREAD, "thread-destructors", RESIDENT, "resident", make=rust),
    "Rust, println!": Hazard(RUST_PLAIN, "rust-runtime", SWAPPABLE, "unloaded", make=rust),
    "DF_1_NODELETE": Hazard(ADD, "nodelete", WORKER, "worker", flags=("-Wl,-z,nodelete",)),
    "a needed library that stays and is bound to it": Hazard(
        "int other(void); int both(void) { return 2; } int add(int a, int b) { return a + b + other() - 2; }",
        "held-by-needed", RESIDENT, "resident", flags=("-Wl,-z,nodelete",), make=held,
    ),
    "atexit, destructors": Hazard(ENDINGS, "exit-handlers", SWAPPABLE, "unloaded", suffix=".cc"),
    "on_exit": Hazard(ON_EXIT, "on-exit", WORKER, "worker"),
    "fork handlers": Hazard(ATFORK, "fork-handlers", SWAPPABLE, "unloaded"),
    "a thread that has ended": Hazard(JOINED, "threads", SWAPPABLE, "unloaded"),
    "std::thread": Hazard(CXX_JOINED, "threads", SWAPPABLE, "unloaded", suffix=".cc"),
    "OpenMP": Hazard(OPENMP, "openmp", SWAPPABLE, "unloaded", flags=("-fopenmp",)),
    "a destructor of a thread-specific key": Hazard(KEYED, "thread-keys", SWAPPABLE, "unloaded"),
    "a signal handler": Hazard(HANDLER, "signal-handlers", SWAPPABLE, "unloaded"),
    "timers": Hazard(TIMER, "timers", SWAPPABLE, "unloaded"),
    "a handler of C++'s": Hazard(TERMINATE, "global-handlers", SWAPPABLE, "unloaded", suffix=".cc"),
    "dlopen": Hazard(OPENS, "opens-libraries", SWAPPABLE, "unloaded"),
    "Go, c-shared": Hazard(
        GO, "go-runtime", WORKER, "worker", flags=("-buildmode=c-shared",), make=go, given=INTERFACE
    ),
    "Go, a plugin": Hazard(
        GO_PLUGIN, "go-runtime", WORKER, "worker", flags=("-buildmode=plugin",), make=go, use="m.Add(2, 3)"
    ),
    "Python extension module": Hazard(
        EXTENSION, "python-extension", REFUSED, "refused", flags=("-I" + sysconfig.get_paths()["include"],)
    ),
    "executable stack": Hazard(ADD, "executable-stack", SWAPPABLE, "unloaded", flags=("-Wl,-z,execstack",)),
    "text relocations": Hazard(
        "int kept = 3; int *where(void) { return &kept; }" + ADD, "text-relocations", SWAPPABLE, "unloaded",
        flags=("-fno-pic", "-mcmodel=large", "-Wl,-z,notext"),
    ),
    "static thread-local data": Hazard(
        STATIC_TLS, "static-tls", SWAPPABLE, "unloaded", flags=("-DSIZE=64",)
    ),
    "more static thread-local data than there is room for": Hazard(
        STATIC_TLS, "static-tls", REFUSED, "refused", flags=("-DSIZE=8192",)
    ),
    "AddressSanitizer": Hazard(ADD, "sanitizer", REFUSED, "refused", flags=("-fsanitize=address",)),
    "ThreadSanitizer": Hazard(ADD, "sanitizer", REFUSED, "refused", flags=("-fsanitize=thread",)),
    "UndefinedBehaviorSanitizer": Hazard(
        ADD, "sanitizer-runtime", SWAPPABLE, "unloaded", flags=("-fsanitize=undefined",)
    ),
    "a library that isn't found": Hazard(
        "int gone(void); int add(int a, int b) { return a + b + gone(); }", "missing-library", REFUSED, "refused",
        make=needing,
    ),
    "a newer glibc": Hazard(
        '#include <stdio.h>\nint add(int a, int b) { return puts("") + a + b; }', "missing-version", REFUSED,
        "refused", make=patched(b"GLIBC_2.2.5", b"GLIBC_9.2.5"),
    ),
    "a function of the host's": Hazard(
        "int ask(int a); int add(int a, int b) { return ask(a) + b; }", "host-functions", SWAPPABLE, "unloaded",
        given='provides={"ask": lambda a: a}',
    ),
    "a variable of the host's": Hazard(
        "extern int asked; int add(int a, int b) { return asked + a + b; }", "unresolved-variable", REFUSED, "refused",
    ),
    "stripped": Hazard(ADD, "interface-unknown", SWAPPABLE, "unloaded", flags=("-s",), given=INTERFACE),
    "split debug information": Hazard(
        ADD, "interface-unknown", SWAPPABLE, "unloaded", flags=("-gsplit-dwarf",), given=INTERFACE
    ),
}  # fmt: skip

MISSING = [tool for tool in ("rustc", "go") if shutil.which(tool) is None]
