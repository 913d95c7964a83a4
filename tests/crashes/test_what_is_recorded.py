"""Each way in which a version can go wrong: which of them leave a record.

What each does to the program is test_matrix.py's.  Would catch: an end that isn't recorded; a record of an exit, of an
exception, or of a crash that was raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Workshop
from tests.crashes.conftest import remembered

if TYPE_CHECKING:
    from pathlib import Path

LOAD = """
import threading
module = midflight.load(sys.argv[1], name="crashing", on_crash=sys.argv[3])
midflight.swap(module, sys.argv[2], compat="any", probe=False)
def attempt(function, *values):
    try:
        say(function(*values))
    except midflight.MidflightError as error:
        say(type(error).__name__, module.whoami())
def say(*words):
    print(*words, flush=True)
"""
TEXT = """
int leave(void) { exit(4); }
__attribute__((destructor)) static void end(void) { if (data == 77) write_wild(); }
"""
CXX = """
#include <pthread.h>
#include <stdexcept>
extern "C" int whoami(void) { return 2; }
extern "C" int fail(void) { throw std::runtime_error("no"); }
extern "C" int terminate(void) noexcept { throw std::runtime_error("no"); }
static void *run(void *) { throw 1; }
extern "C" int throw_in_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, nullptr, run, nullptr);
    return pthread_join(thread, nullptr);
}
"""
THOUSANDTH = "[module.crash_at(1000) for _ in range(999)]; attempt(module.crash_at, 1000)"
UNLOAD = """
midflight.variables(module)["data"] = 77
midflight.swap(module, sys.argv[1], compat="any", carry="fresh", probe=False)
say(module.whoami())
"""
HANG = """
inside, go_on = threading.Event(), threading.Event()
other = threading.Thread(target=module.meet, args=(lambda value: [inside.set(), go_on.wait(60), value][2], 1))
other.start()
inside.wait(60)
midflight.swap(module, sys.argv[1], compat="any", carry="fresh", probe=False)
say(module.whoami())
go_on.set()
other.join()
"""
RAISED = "ModuleCrashed 1\n"


@dataclass
class Way:
    """What a version does.  ``guarded``: what is printed then; None: it ends as it does unguarded.

    ``signal`` and ``status`` are how it ends unguarded, ``out`` what it has printed before.
    """

    action: str
    guarded: str | None
    signal: int = 0
    status: int = 0
    out: str = ""


WAYS = {
    "first call": Way("attempt(module.crash_at, 1)", RAISED, 11),
    "1,000th call": Way(THOUSANDTH, RAISED, 11),
    "stack": Way("attempt(module.fall, 1)", RAISED, 11),
    "abort": Way("attempt(module.stop)", RAISED, 6),
    "unload": Way(UNLOAD, "1\n", 11),
    "thread of its own": Way("attempt(module.start_thread)", None, 11),
    "exit": Way("attempt(module.leave)", None, status=4),
    "hang": Way(HANG, None, out="1\n"),
    "C++ exception": Way("attempt(module.fail)", None, out="NativeExceptionError 2\n"),
    "C++ terminate": Way("attempt(module.terminate)", RAISED, 6),
    "C++ exception in a thread of its own": Way("attempt(module.throw_in_thread)", None, 6),
}


@pytest.fixture(scope="module")
def cxx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version in C++."""
    return Workshop(tmp_path_factory.mktemp("cxx")).library("cxx", CXX, "-O1", suffix=".cc")


@pytest.mark.parametrize("on_crash", ["raise", "end"])
@pytest.mark.parametrize("name", WAYS)
def test_each_way(crashing, cxx, programs, name, on_crash) -> None:
    """The second version does it; the first one is there to go back to.  What is raised isn't recorded."""
    way = WAYS[name]
    second = cxx if name.startswith("C++") else crashing.make(2, TEXT)
    ended = programs.run(LOAD + way.action, crashing.make(1), second, on_crash)
    crashes = remembered(programs).crashes
    if on_crash == "raise" and way.guarded is not None:
        assert (ended.out, ended.signal, ended.status) == (way.guarded, 0, 0), ended.err
        assert crashes == []
    else:
        assert (ended.out, ended.signal, ended.status) == (way.out, way.signal, way.status), ended.err
        assert [(one.signal, one.version) for one in crashes] == ([(way.signal, 2)] if way.signal else [])
