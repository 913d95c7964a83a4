"""The doctor and the program agree: for a small library with each hazard, the verdict is what becomes of it.

Would catch: a hazard that isn't named, a verdict that a real load and unload contradicts, a load that ends the program.

Hazards of FACTS.md that aren't a library's own, and so aren't the doctor's: the same path with new bytes, links and
reused descriptors, overwriting and truncating a mapped file, namespaces that run out, a call in flight and a kept
function pointer, what counting calls costs.  tests/hazards has those.  Who is still inside when a library is closed
only shows while it runs: here is that the doctor says what to look out for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from tests.doctor.libraries import HAZARDS, LIVING, MISSING, Hazard, go, rust

if TYPE_CHECKING:
    from tests.conftest import Workshop

ROOT = Path(__file__).parents[2]
_FINDING = re.compile(r'(?:Finding|_Trait)\(\s*"([a-z-]+)"')
_OF_REFUSALS = {"wrong-machine", "sanitizer", "nodelete", "on-exit"}
VERDICTS = {
    "unloaded": "swappable",
    "resident": "swappable, stays resident",
    "worker": "needs a worker",
    "refused": "refused",
}
NAMES = [
    name
    for name, hazard in HAZARDS.items()
    if not (hazard.make is rust and "rustc" in MISSING) and not (hazard.make is go and "go" in MISSING)
]
FACTS = {
    "dlopen of a corrupt file can crash the process": ("corrupt file",),
    "unique symbols pin a library for ever": ("STB_GNU_UNIQUE",),
    "a thread_local with a destructor pins it until the thread ends": ("thread_local with a destructor",),
    "so does Rust's thread_local! with Drop, and a thread spawned and joined; println! doesn't": (
        "Rust, thread_local! with Drop", "Rust, the same, optimised", "Rust, a thread", "Rust, println!",
    ),
    "-z nodelete pins it": ("DF_1_NODELETE",),
    "what is pinned keeps what it is bound to": ("a needed library that stays and is bound to it",),
    "exit handlers and destructors run when it is closed, others later": ("atexit, destructors", "on_exit"),
    "a thread that is still inside ends the process": ("a thread that has ended", "std::thread"),
    "so does a key's destructor": ("a destructor of a thread-specific key",),
    "and a function of it that somebody kept": ("a signal handler", "timers", "a handler of C++'s", "fork handlers"),
    "a handle that somebody kept": ("dlopen",),
    "CPython never closes extension modules": ("Python extension module",),
    "Go's libraries can't be unloaded, and two runtimes disturb each other": ("Go, c-shared",),
    "Go's plugins are never freed": ("Go, a plugin",),
    "room for static thread-local data runs out": (
        "static thread-local data", "more static thread-local data than there is room for",
    ),
    "a library says by itself what it needs of its host": ("a function of the host's", "a variable of the host's"),
    "a sanitizer's runtime ends a process that it wasn't started with": ("AddressSanitizer", "ThreadSanitizer"),
}  # fmt: skip
"""What is known of libraries, each with those that show it."""

PLAINLY = {
    "nothing at all": "gone",
    "STB_GNU_UNIQUE": "stays",
    "thread_local with a destructor": "stays",
    "Rust, thread_local! with Drop": "stays",
    "Rust, a thread": "stays",
    "Rust, println!": "gone",
    "DF_1_NODELETE": "stays",
    "a needed library that stays and is bound to it": "stays",
    "on_exit": "the process ends",
    "atexit, destructors": "gone",
    "Go, c-shared": "stays",
    "AddressSanitizer": "the process ends",
    "more static thread-local data than there is room for": "isn't opened",
    "a newer glibc": "isn't opened",
    "a library that isn't found": "isn't opened",
    "a variable of the host's": "isn't opened",
    "another machine": "isn't opened",
}
"""What becomes of some by nothing but dlopen, a call and dlclose."""

PLAIN = """
import ctypes, _ctypes, sys
try:
    library = ctypes.CDLL(sys.argv[1])
except OSError:
    print("isn't opened")
    sys.exit()
library.add(2, 3)
_ctypes.dlclose(library._handle)
print("stays" if sys.argv[1] in open("/proc/self/maps").read() else "gone")
"""
LIVES = """
import sys, midflight
try:
    m = midflight.load(sys.argv[1], {0})
except midflight.MidflightError as error:
    print("refused", error)
    sys.exit()
{1}
version = midflight.unload(m)
print("worker" if version.lane != "here" else version.status, version.held_by)
"""


def outcome(path: object, hazard: Hazard) -> str:
    """Use a library in a program of its own, which must end well, and say what became of it."""
    script = LIVES.format(hazard.given, hazard.use)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1].split()[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_what_becomes_of_it(name: str, workshop: Workshop) -> None:
    hazard = HAZARDS[name]
    path = hazard.build(workshop)
    found = midflight.inspect(path)
    said = outcome(path, hazard)
    assert said == hazard.outcome
    assert found.verdict == hazard.verdict == VERDICTS[said]
    if hazard.finding:
        finding = found.finding(hazard.finding)
        assert finding is not None, [one.name for one in found.findings]
        assert finding.what
        assert finding.means
    else:
        assert [one for one in found.findings if one.severity != "note"] == []
    told = set(
        filter(None, ("interface=" if found.needs.interface else "", "provides=" if found.needs.provides else ""))
    )
    if found.verdict != "refused" and "Go" not in found.kind:
        assert told == ({hazard.given.partition("=")[0] + "="} if hazard.given else set())


@pytest.mark.parametrize("name", [name for name in NAMES if name in PLAINLY])
def test_what_becomes_of_it_without_midflight(name: str, workshop: Workshop) -> None:
    path = HAZARDS[name].build(workshop)
    done = subprocess.run([sys.executable, "-c", PLAIN, str(path)], capture_output=True, text=True, check=False)
    happened = "the process ends" if done.returncode else done.stdout.splitlines()[-1]
    assert happened == PLAINLY[name], done.stderr


def test_each_fact_is_shown_by_a_library_and_each_library_is_used() -> None:
    shown = {name for names in FACTS.values() for name in names}
    assert shown <= HAZARDS.keys()
    assert all(HAZARDS[name].finding for name in shown)
    assert PLAINLY.keys() <= HAZARDS.keys()


def test_a_thread_that_lives_on_holds_its_version_and_is_warned_of(workshop: Workshop) -> None:
    hazard = Hazard(LIVING, "threads", "swappable", "resident")
    path = hazard.build(workshop)
    found = midflight.inspect(path)
    assert (found.verdict, found.finding("threads").severity) == ("swappable", "warning")
    assert "stays loaded for as long as a thread that it started is alive" in found.finding("threads").means
    assert outcome(path, hazard) == "resident"


def test_every_finding_is_described_and_shown() -> None:
    """A finding that the page doesn't explain, one on it that is gone, one that no library here shows."""
    sources = [path.read_text("utf-8") for path in (ROOT / "src/midflight").rglob("*.py")]
    made = {name for text in sources for name in _FINDING.findall(text)} | _OF_REFUSALS
    page = (ROOT / "docs/doctor.md").read_text("utf-8")
    table = page[page.index("| name | severity |") : page.index("## What else it tells")]
    told = set(re.findall(r"`([a-z-]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    assert made == told
    tests = "".join(
        path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py") if path.name != Path(__file__).name
    )
    assert [name for name in made if f'"{name}"' not in tests] == []


@pytest.mark.parametrize("name", [name for name in NAMES if HAZARDS[name].given and HAZARDS[name].make is None])
def test_what_load_must_be_told_it_must_be_told(name: str, workshop: Workshop) -> None:
    hazard = HAZARDS[name]
    path = hazard.build(workshop)
    with pytest.raises(midflight.MidflightError):
        midflight.load(path)


def test_an_interface_that_is_given_is_taken(workshop: Workshop) -> None:
    path = HAZARDS["stripped"].build(workshop)
    found = midflight.inspect(path, interface="int add(int a, int b);")
    assert (found.verdict, found.needs.interface) == ("swappable", False)
    assert [one.declaration for one in found.exports.functions] == ["int add(int a, int b)"]


def test_every_finding_says_how_to_mend_it_or_that_nothing_is_to_be_done(workshop: Workshop) -> None:
    for name in ("DF_1_NODELETE", "on_exit", "stripped", "a function of the host's", "executable stack"):
        for finding in midflight.inspect(HAZARDS[name].build(workshop)).findings:
            assert finding.mend or finding.severity == "note", finding
